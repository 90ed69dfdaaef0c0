"""What the user says of a library's classifier is checked before anything is built."""

from typing import Any

import pytest

from inr_xai.classifier import from_timm, from_torchvision
from inr_xai.classifier.options import read_options
from inr_xai.errors import UserError


def test_what_is_not_said_is_left_to_the_library() -> None:
    options = read_options(None, None, None, None)
    assert (options.size, options.mean, options.std, options.model_args) == (None, None, None, {})


def test_the_input_size_may_stand_among_the_arguments_of_the_builder() -> None:
    options = read_options(None, [0, 0.5, 1], [1, 2, 3], {"img_size": 64, "depth": 3})
    assert (options.size, options.model_args) == ((64, 64), {"depth": 3})
    assert (options.mean, options.std) == ((0.0, 0.5, 1.0), (1.0, 2.0, 3.0))
    assert read_options([64, 96], None, None, {"image_size": [64, 96]}).size == (64, 96)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"input_size": "large"}, r"classifier\.input_size='large' is not allowed; give pixels from 1 to 8192, or"),
        ({"input_size": 0}, r"classifier\.input_size=0 is not allowed"),
        ({"input_size": True}, r"classifier\.input_size=True is not allowed"),
        ({"input_size": 10**8}, r"classifier\.input_size=100000000 is not allowed"),
        ({"input_size": 64, "model_args": {"img_size": 96}}, r"give two input sizes \(\[\(64, 64\), \(96, 96\)\]\)"),
        ({"mean": [0.5]}, r"classifier\.mean=\[0\.5\] is not allowed; give 3 finite numbers, one per channel"),
        ({"mean": [0.5, 0.5, float("nan")]}, r"classifier\.mean=\[0\.5, 0\.5, nan\] is not allowed"),
        ({"std": [0, 1, 1]}, r"classifier\.std=\[0, 1, 1\] is not allowed; give 3 finite numbers above 0"),
        ({"std": 1.0}, r"classifier\.std=1\.0 is not allowed"),
        ({"model_args": 3}, r"classifier\.model_args=3 is not allowed; give \{ARGUMENT: VALUE\}"),
        ({"model_args": {"pretrained": True}}, r"classifier\.model_args\.pretrained is not allowed; classifier\.pretr"),
        (
            {"model_args": {"checkpoint_path": "a"}},
            r"model_args\.checkpoint_path is not allowed; classifier\.checkpoint",
        ),
        ({"model_args": {"features_only": True}}, r"features_only is not allowed; a model of features has no classes"),
        ({"model_args": {"in_chans": 1}}, r"model_args\.in_chans=1 is not allowed; photos have 3 channels"),
    ],
)
def test_other_values_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_options(*(given.get(name) for name in ("input_size", "mean", "std", "model_args")))


@pytest.mark.parametrize("source", [from_timm, from_torchvision])
def test_the_libraries_sources_check_them(source: Any) -> None:
    with pytest.raises(UserError, match=r"classifier\.std=\[0, 1, 1\] is not allowed"):
        source("resnet18", pretrained=False, std=[0, 1, 1])

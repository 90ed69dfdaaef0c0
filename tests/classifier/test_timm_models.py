"""timm's models with a local file of weights: built as the file was, or refused, and never with changed values."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from inr_xai.classifier import FrozenClassifier, from_timm
from inr_xai.classifier.conversion import changed_keys
from inr_xai.errors import UserError

State = dict[str, Tensor]
SMALL = "test_vit"  # timm's own tiny network, of 160 x 160 pixels


def made(path: Path, name: str = SMALL, change: Callable[[State], Any] = lambda state: state, **options: Any) -> Any:
    """Makes a network of timm with random weights, stores them in path / "a.pth" and returns the network."""
    import timm

    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = timm.create_model(name, **options).eval()
    torch.save(change(dict(model.state_dict())), path / "a.pth")
    return model


def same_logits(classifier: FrozenClassifier, model: nn.Module) -> bool:
    """Whether the classifier computes the function of the model at its own input size, up to rounding.

    Kernels may depend on where in the memory weights lie, so that two copies of a model differ by single bits.
    """
    images = torch.rand(2, 3, *classifier.preprocessing.size, generator=torch.Generator().manual_seed(1))
    mean, std = (
        torch.tensor(part)[:, None, None] for part in (classifier.preprocessing.mean, classifier.preprocessing.std)
    )
    with classifier.frozen("cpu", torch.float32), torch.no_grad():
        return torch.allclose(classifier(images), model((images - mean) / std), rtol=0, atol=1e-5)


def flat_patches(state: State) -> State:
    return state | {"patch_embed.proj.weight": state["patch_embed.proj.weight"].flatten(1)}


def open_clip(state: State) -> State:
    """The names of OpenCLIP, whose head has no bias."""
    state["head.bias"].zero_()
    trunk = {f"visual.trunk.{key}": value for key, value in state.items() if not key.startswith("head")}
    return trunk | {"visual.head.proj.weight": state["head.weight"], "logit_scale": torch.ones(())}


@pytest.mark.parametrize(
    ("name", "options", "side"),
    [
        (SMALL, {"img_size": 64}, 64),
        (SMALL, {"img_size": 48, "num_classes": 7}, 48),
        (SMALL, {"img_size": 224}, 224),
        pytest.param("vit_tiny_patch16_224", {"img_size": 64}, 64, marks=pytest.mark.slow),
        ("test_vit3", {"img_size": 128}, 128),
        pytest.param("mixer_s16_224", {"img_size": 96}, 96, marks=pytest.mark.slow),
        pytest.param("beit_base_patch16_224", {"img_size": 64}, 64, marks=pytest.mark.slow),
        pytest.param("swin_tiny_patch4_window7_224", {"img_size": 96}, 96, marks=pytest.mark.slow),
        pytest.param("eva02_tiny_patch14_336", {"img_size": 70}, 70, marks=pytest.mark.slow),
        pytest.param("mvitv2_tiny", {"img_size": 96}, 96, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_a_checkpoint_of_another_size_is_built_at_its_size(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, options: dict[str, Any], side: int
) -> None:
    model = made(tmp_path, name, **options)
    classifier = from_timm(name, checkpoint=tmp_path / "a.pth")
    assert classifier.preprocessing.size == (side, side)
    assert same_logits(classifier, model)
    assert f"classifier {name} is built for the checkpoint's input of {side} x {side} pixels" in caplog.text


def test_the_photo_is_resized_as_the_new_size_needs(tmp_path: Path) -> None:
    made(tmp_path, img_size=64)
    usual = from_timm(SMALL, pretrained=False).preprocessing
    built = from_timm(SMALL, checkpoint=tmp_path / "a.pth").preprocessing
    assert (usual.size, usual.resize) == ((160, 160), 168)  # of the crop's share .95
    assert (built.size, built.resize) == ((64, 64), 67)


@pytest.mark.parametrize("change", [flat_patches, open_clip])
@pytest.mark.slow
def test_translated_names_are_built_at_the_checkpoints_size_too(tmp_path: Path, change: Any) -> None:
    model = made(tmp_path, change=change, img_size=64)
    classifier = from_timm(SMALL, checkpoint=tmp_path / "a.pth")
    assert classifier.preprocessing.size == (64, 64)
    assert same_logits(classifier, model)


@pytest.mark.parametrize(
    ("options", "given", "message"),
    [
        (
            {"img_size": 64},
            {"input_size": 96},
            r"input of 96 x 96 pixels: pos_embed is \(1, 17, 64\) in the file and \(1, 37, 6",
        ),
        (
            {"img_size": (64, 96)},
            {},
            r"pos_embed is \(1, 25, 64\), the model's is \(1, 101, 64\).*built for an input of 160 x",
        ),
        (
            {"patch_size": 8},
            {},
            r"patch_embed\.proj\.weight is \(64, 3, 8, 8\) in the file and \(64, 3, 16, 16\) in the mod",
        ),
        ({"global_pool": "avg"}, {}, r"2 keys are missing \(first: norm\.weight\), 2 are unexpected \(first: fc_norm"),
        ({"reg_tokens": 4}, {}, r"1 are unexpected \(first: reg_token\)"),
        ({"depth": 7}, {}, r"12 are unexpected \(first: blocks\.6\.norm1\.weight\)"),
        ({"in_chans": 1}, {}, r"patch_embed\.proj\.weight is \(64, 1, 16, 16\), the model's is \(64, 3, 16, 16\)"),
    ],
    ids=str,
)
@pytest.mark.slow
def test_what_only_fits_after_a_change_is_refused(
    tmp_path: Path, options: dict[str, Any], given: dict[str, Any], message: str
) -> None:
    made(tmp_path, **options)
    with pytest.raises(UserError, match=message):
        from_timm(SMALL, checkpoint=tmp_path / "a.pth", **given)


@pytest.mark.parametrize(
    ("options", "given"),
    [
        ({"patch_size": 8, "img_size": 64}, {"model_args": {"patch_size": 8}}),
        ({"global_pool": "avg"}, {"model_args": {"global_pool": "avg"}}),
        ({"img_size": 96}, {"model_args": {"img_size": 96}}),
        ({"img_size": 96}, {"input_size": 96}),
        ({"reg_tokens": 4}, {"model_args": {"reg_tokens": 4}}),
    ],
    ids=str,
)
@pytest.mark.slow
def test_arguments_of_the_builder_are_given(tmp_path: Path, options: dict[str, Any], given: dict[str, Any]) -> None:
    model = made(tmp_path, **options)
    assert same_logits(from_timm(SMALL, checkpoint=tmp_path / "a.pth", **given), model)


def test_a_network_of_convolutions_takes_the_size_and_the_statistics(tmp_path: Path) -> None:
    model = made(tmp_path, "test_resnet")
    given = {"input_size": 96, "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
    classifier = from_timm("test_resnet", checkpoint=tmp_path / "a.pth", **given)
    preprocessing = classifier.preprocessing
    assert (preprocessing.size, preprocessing.resize) == ((96, 96), 101)
    assert (preprocessing.mean, preprocessing.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    classifier.memory_format = torch.contiguous_format
    assert same_logits(classifier, model)


def test_a_hubs_weights_are_not_resampled_for_a_size(tmp_path: Path) -> None:
    """A folder with weights stands for the hub."""
    from safetensors.torch import save_file

    from tests.classifier.test_sources import CONFIG

    model = made(tmp_path)
    (tmp_path / "config.json").write_bytes(CONFIG)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(
        UserError, match=r"for an input of 96 x 96 pixels: .*pos_embed is \(1, 101, 64\), the model's is"
    ):
        from_timm(f"local-dir:{tmp_path}", input_size=96)
    assert same_logits(from_timm(f"local-dir:{tmp_path}", input_size=160), model)


def test_an_argument_that_the_builder_does_not_have_is_named() -> None:
    with pytest.raises(UserError, match=r"classifier\.model_args\.foo is no argument of timm's test_resnet \(ResNet"):
        from_timm("test_resnet", pretrained=False, model_args={"foo": 1})


# The comparison of values before and after a filter


def stack(state: State) -> nn.Module:
    """A module that has these tensors."""
    model = nn.Module()
    for key, value in state.items():
        model.register_parameter(key, nn.Parameter(value.clone()))
    return model


def test_renaming_reshaping_splitting_and_joining_change_no_value() -> None:
    a, b, c, d = torch.randn(4, 6, 5, generator=torch.Generator().manual_seed(0)).unbind()
    model = stack({"a": a.T, "b": b.flatten(), "cd": torch.cat([c, d]), "zero": torch.zeros(7)})
    assert changed_keys(model, {"x": a, "y": b, "z": c, "w": d, "unused": torch.rand(9)}) == []
    halves = stack({"first": a[:3], "second": a[3:], "b": b})
    assert changed_keys(halves, {"qk": a, "b": b}) == []
    assert changed_keys(stack({"a": a.half().float()}), {"x": a.half()}) == []


def test_resampled_cut_and_foreign_tensors_are_seen() -> None:
    a, b = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(0)).unbind()
    resampled = nn.functional.interpolate(a[None, None], (9, 5), mode="bilinear")[0, 0]
    assert changed_keys(stack({"a": resampled, "b": b}), {"a": a, "b": b}) == ["a"]
    assert changed_keys(stack({"a": a[:4], "b": b}), {"a": a, "b": b}) == ["a"]
    assert changed_keys(stack({"a": a, "b": a.sum(0, keepdim=True)}), {"a": a}) == ["b"]
    assert changed_keys(stack({"a": a, "b": 2 * b}), {"a": a, "b": b}) == ["b"]
    assert changed_keys(stack({"a": a, "norm": b[0].abs()}), {"a": a, "norm": b[0]}) == []  # a normalisation's form

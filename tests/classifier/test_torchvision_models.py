"""torchvision's networks with a local file of weights: older names of keys, and the size of the checkpoint."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from inr_xai.classifier import from_torchvision
from inr_xai.classifier.torchvision_models import side_of_positions
from inr_xai.errors import UserError
from tests.classifier.test_timm_models import same_logits

State = dict[str, Tensor]


def made(path: Path, name: str, change: Callable[[State], State] = lambda state: state, **options: Any) -> Any:
    """Makes a network of torchvision with random weights, stores them in path / "a.pth" as files of old were."""
    import torchvision

    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = torchvision.models.get_model(name, weights=None, **options).eval()
    torch.save(change(dict(model.state_dict())), path / "a.pth", _use_new_zipfile_serialization=False)
    return model


def old_densenet(state: State) -> State:
    return {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", key): value for key, value in state.items()}


def old_transformer(state: State) -> State:
    return {key.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."): v for key, v in state.items()}


@pytest.mark.parametrize(
    ("name", "change", "old"),
    [
        ("densenet121", old_densenet, "features.denseblock1.denselayer1.norm.1.weight"),
        pytest.param(
            "vit_b_32", old_transformer, "encoder.layers.encoder_layer_0.mlp.linear_1.weight", marks=pytest.mark.slow
        ),
    ],
)
def test_names_of_torchvisions_older_files_are_known(tmp_path: Path, name: str, change: Any, old: str) -> None:
    model = made(tmp_path, name, change)
    assert old in torch.load(tmp_path / "a.pth", weights_only=True)
    classifier = from_torchvision(name, checkpoint=tmp_path / "a.pth")
    assert all(torch.equal(a, b) for a, b in zip(classifier.model.parameters(), model.parameters(), strict=True))


def test_auxiliary_heads_below_a_prefix_are_loaded(tmp_path: Path) -> None:
    model = made(
        tmp_path,
        "googlenet",
        lambda state: {f"module.{key}": value for key, value in state.items()},
        init_weights=False,
        transform_input=True,
    )
    loaded = from_torchvision("googlenet", checkpoint=tmp_path / "a.pth").model
    assert torch.equal(loaded.aux1.fc2.weight, model.aux1.fc2.weight)
    assert torch.equal(loaded.fc.weight, model.fc.weight)


@pytest.mark.parametrize(("theirs", "side"), [(96, 96), (64, None)])
def test_the_positions_of_a_transformer_tell_its_size(theirs: int, side: int | None) -> None:
    from torchvision.models import VisionTransformer

    def tiny(image_size: int) -> VisionTransformer:
        return VisionTransformer(image_size, patch_size=32, num_layers=1, num_heads=1, hidden_dim=8, mlp_dim=8)

    assert side_of_positions(tiny(theirs).state_dict(), tiny(64)) == side


@pytest.mark.slow
def test_a_transformers_checkpoint_of_another_size_is_built_at_its_size(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = made(tmp_path, "vit_b_32", image_size=64, num_classes=5)
    classifier = from_torchvision("vit_b_32", checkpoint=tmp_path / "a.pth")
    assert (classifier.preprocessing.size, classifier.preprocessing.resize) == ((64, 64), 73)
    assert same_logits(classifier, model)
    assert "classifier vit_b_32 is built for the checkpoint's input of 64 x 64 pixels" in caplog.text
    with pytest.raises(UserError, match=r"encoder\.pos_embedding is \(1, 5, 768\), the model's is \(1, 10, 768\)"):
        from_torchvision("vit_b_32", checkpoint=tmp_path / "a.pth", input_size=96)


def test_a_network_of_convolutions_takes_the_size_and_the_statistics(tmp_path: Path) -> None:
    model = made(tmp_path, "squeezenet1_1", num_classes=4)
    given = {"input_size": 64, "mean": [0.5] * 3, "std": [0.5] * 3, "model_args": {"dropout": 0.1}}
    classifier = from_torchvision("squeezenet1_1", checkpoint=tmp_path / "a.pth", **given)
    assert (classifier.preprocessing.size, classifier.preprocessing.resize) == ((64, 64), 73)
    classifier.memory_format = torch.contiguous_format
    assert same_logits(classifier, model)


def test_what_torchvision_cannot_build_is_one_sentence() -> None:
    with pytest.raises(UserError, match=r"classifier\.model_args\.foo is no argument of torchvision's squeezenet1_1"):
        from_torchvision("squeezenet1_1", model_args={"foo": 1})
    with pytest.raises(
        UserError, match=r"input_size=\[64, 32\] is not supported for torchvision's models; give a square"
    ):
        from_torchvision("squeezenet1_1", input_size=[64, 32])
    with pytest.raises(UserError, match=r"torchvision cannot make classifier\.name='maxvit_t' \(Input size \(25, 25\)"):
        from_torchvision("maxvit_t", input_size=100)

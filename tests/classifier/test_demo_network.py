"""The shipped demo classifier: its accuracy with each cue, and its training."""

import math
from importlib.resources import files
from pathlib import Path
from types import ModuleType

import pytest
import torch

from inr_xai.classifier.demo_network import CLASSES, MEAN, SIZE, STD, demo_network
from inr_xai.data.scenes.scene import CHANCES, draw
from inr_xai.seeding import generator
from tests.helpers.scripts import script_module


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return script_module("train_demo_classifier")


def scenes(name: str, count: int, *, with_object: bool = True, with_texture: bool = True) -> torch.Tensor:
    """Draws `count` images, of each class in turn."""
    random = generator(2024, name)
    chances = torch.rand(count, CHANCES, generator=random)
    noise = torch.randn(count, 3, SIZE, SIZE, generator=random)
    parts = {"with_object": torch.full((count,), with_object), "with_texture": torch.full((count,), with_texture)}
    return draw(torch.arange(count) % CLASSES, chances, noise, **parts).images


@torch.no_grad()
def probabilities(images: torch.Tensor) -> torch.Tensor:
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    return demo_network()((images - mean) / std).softmax(1)


@pytest.mark.parametrize(
    ("with_object", "with_texture", "least"), [(True, True, 0.97), (True, False, 0.90), (False, True, 0.90)]
)
@pytest.mark.slow
def test_accuracy_with_each_cue(with_object: bool, with_texture: bool, least: float) -> None:
    images = scenes("accuracy", 400, with_object=with_object, with_texture=with_texture)
    right = probabilities(images).argmax(1) == torch.arange(400) % CLASSES
    assert right.float().mean() >= least
    assert right.reshape(50, 8).float().mean(0).min() >= least - 0.15  # no class is left out


@pytest.mark.slow
def test_the_classifier_is_unsure_if_nothing_can_be_seen(script: ModuleType) -> None:
    images = scenes("nothing", 128)
    colour = images.mean((2, 3), True).expand_as(images)
    noise = (colour + 0.25 * torch.randn(images.shape, generator=generator(1, "noise"))).clamp(0, 1)
    for empty in (colour, noise):
        assert probabilities(empty).amax(1).mean() < 0.25
    assert probabilities(script.blurred(images, 20 * SIZE / 224)).amax(1).mean() < 0.4
    assert probabilities(images).amax(1).mean() > 0.85


def test_logits_do_not_depend_on_the_batch() -> None:
    network = demo_network().double()
    images = scenes("batch", 6).double()
    with torch.no_grad():
        together = network(images)
        alone = torch.cat([network(image[None]) for image in images])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-10)


@torch.no_grad()
def test_object_and_ground_of_different_classes_share_the_probability(script: ModuleType) -> None:
    """If an object is on the texture of another class, both classes are likely and all others are not."""
    of_object, of_ground = script.conflict(demo_network(), images=256, seed=77)
    assert of_object > 0.5
    assert of_ground > 0.2
    assert of_object + of_ground > 0.85


def test_the_weights_are_small() -> None:
    assert len((files("inr_xai") / "weights" / "demo.safetensors").read_bytes()) < 1_000_000


def test_soft_targets(script: ModuleType) -> None:
    share = torch.zeros(4, 2, CLASSES)
    share[1, 0, 2], share[1, 1, 2] = 1.0, 0.5
    share[2, 0, 2], share[2, 1, 5] = 1.0, 1.0
    share[3, 1, 4] = 0.5
    targets = script.soft_targets(share)
    torch.testing.assert_close(targets.sum(1), torch.ones(4))
    torch.testing.assert_close(targets[0], torch.full((CLASSES,), 1 / CLASSES))
    assert targets[1, 2] == 1
    torch.testing.assert_close(targets[2, [2, 5]], torch.tensor([2 / 3, 1 / 3]))
    torch.testing.assert_close(targets[3, 4], torch.tensor(0.5 + 0.5 / CLASSES))


def test_evidence_is_that_of_the_pixels_that_are_kept(script: ModuleType) -> None:
    """With all pixels both cues are seen in full, with the object alone no ground, without pixels neither."""
    coverage = torch.zeros(1, SIZE, SIZE)
    coverage[:, 30:60, 30:60] = 1
    keeps = [torch.ones_like(coverage), coverage, torch.zeros_like(coverage)]
    kinds, grounds, textured = torch.tensor([3]), torch.tensor([5]), torch.tensor([True])
    seen = [script.evidence(kinds, grounds, keep, coverage, textured)[0] for keep in keeps]
    assert [(share[0, 3].item(), share[1, 5].item()) for share in seen] == [(1, 1), (1, 0), (0, 0)]
    assert [share.sum().item() for share in seen] == [2, 1, 0]


def test_blur_agrees_with_a_loop(script: ModuleType) -> None:
    """One pixel spreads as the product of two normalised Gaussians."""
    image = torch.zeros(1, 1, SIZE, SIZE)
    image[0, 0, 50, 40] = 1
    weights = [math.exp(-0.5 * (k / 3) ** 2) for k in range(-8, 9)]
    result = script.blurred(image, 3.0)[0, 0]
    for down, across in [(0, 0), (3, -2), (-8, 8), (9, 0)]:
        inside = max(abs(down), abs(across)) <= 8
        expected = weights[down + 8] * weights[across + 8] / sum(weights) ** 2 if inside else 0.0
        assert result[50 + down, 40 + across].item() == pytest.approx(expected, abs=1e-7)


@pytest.mark.slow
def test_training_is_deterministic_and_leaves_one_file(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    for name in ("a", "b"):
        output = tmp_path / name / "demo.safetensors"
        small = ["--epochs", "1", "--images", "48", "--batch", "16", "--test-images", "16"]
        monkeypatch.setattr("sys.argv", ["train", *small, "--output", str(output)])
        try:
            script.main()
        finally:
            torch.use_deterministic_algorithms(False)
        written.append(output.read_bytes())
        assert [path.name for path in output.parent.iterdir()] == ["demo.safetensors"]
    assert written[0] == written[1]

"""`inr-xai explain`: its arguments as options of a run, which Hydra reads back as they were meant."""

from pathlib import Path

import pytest
from PIL import Image

from inr_xai.config import composed
from inr_xai.config.photos import overrides_of
from inr_xai.errors import UserError
from tests.helpers.program import status


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two photos, of which one has a name with what Hydra gives a meaning, and a file of weights."""
    for name in ("a.png", "it's [1] = {b}.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    (tmp_path / "w=1.pth").touch()
    return tmp_path


def test_photos_with_any_names_are_the_data(folder: Path) -> None:
    strange = str(folder / "it's [1] = {b}.png")
    overrides, out = overrides_of([strange, "--classifier", "demo", "steps=7", "--explanations", "3", "areas=[0.1]"])
    cfg = composed(*overrides)
    assert (cfg.data.root, cfg.data.targets, cfg.steps, cfg.explanations, cfg.areas) == (
        strange,
        "predicted",
        7,
        3,
        [0.1],
    )
    assert (cfg.classifier._target_, cfg.logger.wandb, str(out)) == ("inr_xai.classifier.demo", None, cfg.out)
    assert out.parts[:2] == ("outputs", "explain")
    both, _ = overrides_of(
        [str(folder / "a.png"), strange, "--classifier", "demo", "--target", "3", "--preset", "fast"]
    )
    cfg = composed(*both)
    assert (cfg.data.root, cfg.data.targets, cfg.steps) == ([str(folder / "a.png"), strange], 3, 25)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], {"_target_": "inr_xai.classifier.from_timm", "pretrained": True}),
        (["--classifier", "vit_x.y"], {"name": "vit_x.y", "pretrained": True}),
        (["--classifier", "hf-hub:a/b"], {"_target_": "inr_xai.classifier.from_timm", "name": "hf-hub:a/b"}),
        (
            ["--classifier", "torchvision:resnet18"],
            {"_target_": "inr_xai.classifier.from_torchvision", "name": "resnet18", "pretrained": True},
        ),
        (
            ["--classifier", "vit_tiny", "--checkpoint", "w=1.pth", "--classes", "a.png"],
            {"name": "vit_tiny", "pretrained": False, "checkpoint": "w=1.pth", "classes": "a.png"},
        ),
    ],
)
@pytest.mark.slow
def test_classifiers(folder: Path, arguments: list[str], expected: dict[str, object]) -> None:
    overrides, _ = overrides_of([str(folder / "a.png"), *arguments])
    assert {key: value for key, value in composed(*overrides).classifier.items() if key in expected} == expected


@pytest.mark.usefixtures("command_line")
@pytest.mark.slow
def test_refusals_and_help(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="needs a photo"):
        overrides_of(["steps=3"])
    assert status("explain", "--help") == 0
    assert capsys.readouterr().out.startswith("usage: inr-xai explain")
    assert status("explain", "absent.jpg", "--classifier", "demo") == 2
    assert "data.root=absent.jpg does not exist" in capsys.readouterr().err
    assert status("explain", str(folder / "a.png"), "--classifier", "demo", "stps=3") == 2
    assert "did you mean steps" in capsys.readouterr().err

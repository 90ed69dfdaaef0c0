"""The shipped classifiers of ShapesInContext: accuracy, what they rely on, and their training."""

from importlib.resources import files
from pathlib import Path
from types import ModuleType

import pytest
import torch

from inr_xai.audit.intervention import Intervention, intervene
from inr_xai.classifier.context import SIZE, ContextNetwork, classifier_of, shapes_in_context
from inr_xai.data.scenes.context_scene import CHANCES, Kinds, draw
from inr_xai.data.scenes.shapes_in_context import COUNTS, SETTINGS, ShapesInContext
from inr_xai.errors import UserError
from inr_xai.seeding import generator
from tests.helpers.scripts import script_module


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return script_module("train_context_classifiers")


def accuracy(setting: str, images: int) -> float:
    classifier, data = shapes_in_context(setting), ShapesInContext(setting, size=images, seed=11)
    columns = zip(*(data.kinds(name).values() for name in data.ids), strict=True)
    kinds = Kinds(**{factor: torch.tensor(column) for factor, column in zip(COUNTS, columns, strict=True)})
    random = generator(11, "accuracy", setting)
    chances = torch.rand(images, CHANCES, generator=random)
    scenes = draw(kinds, chances, torch.randn(images, 3, SIZE, SIZE, generator=random)).images
    labels = torch.tensor([data.label(name) for name in data.ids])
    return (classifier(scenes).argmax(1) == labels).float().mean().item()


def measured_reliance(setting: str, images: int) -> Intervention:
    data = ShapesInContext(setting, size=images, seed=11)
    return intervene(shapes_in_context(setting), data, data.ids, draws=2)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.slow
def test_accuracy(setting: str) -> None:
    assert accuracy(setting, 64) >= 0.95


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS)
def test_accuracy_on_more_images(setting: str) -> None:
    assert accuracy(setting, 512) >= 0.97


@pytest.mark.parametrize(("setting", "low", "high"), [("object_only", 0.97, 1), ("both", 0.3, 0.7)])
def test_reliance(setting: str, low: float, high: float) -> None:
    assert low <= measured_reliance(setting, 2).object_share <= high


@pytest.mark.slow
def test_reliance_on_more_images() -> None:
    """A cue that alone determines the label has all of the reliance; if both do, each has about half."""
    result = {setting: measured_reliance(setting, 128) for setting in SETTINGS}
    assert result["object_only"].object_effect.mean() > 0.95
    assert result["object_only"].background_effect.abs().mean() < 0.02
    assert result["context_only"].background_effect.mean() > 0.93
    assert result["context_only"].object_effect.abs().mean() < 0.02
    for effect in (result["both"].object_effect, result["both"].background_effect):
        assert 0.4 < effect.mean() < 0.65
    ascending = "context_only", "context_object_25", "context_object_95", "both", "object_context_95"
    shares = [result[name].object_share.item() for name in (*ascending, "object_context_25", "object_only")]
    assert shares == sorted(shares)
    assert shares[1] < 0.12
    assert 0.3 < shares[2] < 0.5
    assert 0.58 < shares[4] < 0.76
    assert 0.88 < shares[5] < 0.97


def test_interventions_agree_with_a_loop_over_all_other_kinds() -> None:
    classifier, data = shapes_in_context("both"), ShapesInContext("both", size=1, seed=4)
    result = intervene(classifier, data, data.ids, draws=7)

    def answer_for(name: str, **swap: int) -> tuple[float, float]:
        answer = classifier(data.swapped(name, classifier.preprocessing, **swap).image[None]).softmax(1)[0].double()
        return answer[data.label(name)].item(), float(answer.argmax() == data.label(name))

    for index, name in enumerate(data.ids):
        probability, right = answer_for(name)
        assert result.right[index] == right
        for part, effect, errors in (
            ("object", result.object_effect, result.object_errors),
            ("background", result.background_effect, result.background_errors),
        ):
            others = [answer_for(name, **{part: kind}) for kind in range(8) if kind != data.label(name)]
            assert effect[index].item() == pytest.approx(sum(probability - p for p, _ in others) / 7, abs=1e-5)
            assert errors[index].item() == pytest.approx(sum(right - r for _, r in others) / 7, abs=1e-6)
    assert min(result.object_effect.min(), result.background_effect.min()) > 0.1


def test_share_of_the_object() -> None:
    zero = torch.zeros(2)
    for of_object, of_ground, share in [(0.6, 0.2, 0.75), (0.3, -0.1, 1.0), (-0.2, 0.4, 0.0)]:
        spread = torch.tensor([-0.1, 0.1])
        result = Intervention(of_object + spread, of_ground - spread, zero, zero, zero)
        assert result.object_share.item() == pytest.approx(share)
    assert Intervention(zero, zero, zero, zero, zero).object_share.isnan()


def test_wrong_options_are_named() -> None:
    with pytest.raises(UserError, match=r"classifier\.name='shape'.*object_only"):
        shapes_in_context("shape")
    with pytest.raises(ValueError, match="draws is 8"):
        intervene(shapes_in_context(), ShapesInContext(size=1), ["00000"], draws=8)


def test_the_networks_are_small() -> None:
    assert sum(parameter.numel() for parameter in ContextNetwork().parameters()) < 200_000
    weights = list((files("inr_xai") / "weights" / "shapes_in_context").iterdir())
    assert sorted(file.name for file in weights) == sorted(f"{setting}.safetensors" for setting in SETTINGS)
    assert sum(len(file.read_bytes()) for file in weights) < 3_000_000


@pytest.mark.parametrize("setting", SETTINGS)
def test_scenes_of_a_setting(script: ModuleType, setting: str) -> None:
    """Shape and ground of whole scenes agree as often as the correlation says; targets are the classes of the cues."""
    random = torch.Generator().manual_seed(0)
    shapes, grounds = torch.randint(8, (2, 4000), generator=random)
    grounds[:1000] = shapes[:1000]
    lacks = torch.randint(16, (4000,), generator=random)
    pool = script.Pool(torch.zeros(4000, 3, 1, 1, dtype=torch.uint8), shapes, grounds, lacks != 0, lacks != 1)
    weaker_share = script.WEAKER_SHARE.get(setting)
    chances, targets = script.chances_and_targets(pool, SETTINGS[setting], weaker_share=weaker_share)
    cues = SETTINGS[setting]
    shape, ground = (cues.get(cue, 0.0) for cue in ("object_shape", "background_texture"))
    whole, agree, weaker = (lacks > 1), shapes == grounds, min(shape, ground)
    if weaker < 1:
        share = chances[whole & agree].sum() / chances[whole].sum()
        torch.testing.assert_close(share, torch.tensor(weaker + (1 - weaker) / 8), rtol=1e-4, atol=0)
        assert (chances[~whole] > 0).any()
    for index in torch.cat([torch.arange(20), torch.arange(3900, 4000)]).tolist():
        visible = {"shape": lacks[index].item() != 0, "ground": lacks[index].item() != 1}
        worth = {"shape": float(shape == 1), "ground": float(ground == 1)}
        if weaker_share is not None:
            worth = {cue: 1 - weaker_share if certain else weaker_share for cue, certain in worth.items()}
        seen = {cue: worth[cue] * visible[cue] for cue in worth}
        if weaker_share is None:
            assert any(seen.values()) or chances[index] == 0
            seen = {cue: value / max(sum(seen.values()), 1) for cue, value in seen.items()}
        missing = 0.0 if weaker_share is None else (1 - sum(seen.values())) / 8
        expected = [missing] * 8
        expected[shapes[index].item()] += seen["shape"]
        expected[grounds[index].item()] += seen["ground"]
        assert targets[index].tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.slow
def test_training_is_deterministic_and_leaves_one_file(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = ["--settings", "both", "--steps", "2", "--scenes", "16", "--test-images", "4"]
    monkeypatch.setattr("sys.argv", ["train", *small, "--output", str(tmp_path / "first")])
    script.main()
    (first,) = (tmp_path / "first").iterdir()
    assert first.name == "both.safetensors"
    network = script.fresh_network(seed=0)
    pool = script.drawn_pool(16, seed=0)
    chances, targets = script.chances_and_targets(pool, SETTINGS["both"])
    script.train(network, pool.images, chances, targets, steps=2, seed=0)
    script.write(network, tmp_path / "second")
    assert first.read_bytes() == (tmp_path / "second").read_bytes()


def status(script: ModuleType, patch: pytest.MonkeyPatch, *arguments: str) -> int:
    patch.setattr("sys.argv", ["train", *arguments, "--test-images", "2"])
    return script.main()


@pytest.mark.slow
def test_a_single_setting_starts_from_the_network_of_the_package(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    new, small = tmp_path / "new", ["--settings", "object_only", "--tuning-steps", "2", "--scenes", "32"]
    with caplog.at_level("INFO"):
        assert status(script, monkeypatch, *small, "--output", str(new)) == 0
    assert f"{new} has no network of both; starting from that of the package" in caplog.text
    (written,) = new.iterdir()
    network = script.stored_network(script.PACKAGED, "both")
    pool = script.drawn_pool(32, seed=0)
    chances, targets = script.chances_and_targets(pool, SETTINGS["object_only"])
    script.train(network, pool.images, chances, targets, steps=2, seed=0)
    script.write(network, tmp_path / "expected")
    assert (written.name, written.read_bytes()) == ("object_only.safetensors", (tmp_path / "expected").read_bytes())


def test_the_networks_of_a_folder_are_measured(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measure = ["--measure", "--settings", "both", "--output", str(tmp_path)]
    assert status(script, monkeypatch, *measure) == 2
    assert capsys.readouterr() == (
        "",
        f"error: {tmp_path / 'both.safetensors'} does not exist; give the --output that it was written to, or train "
        "it: --settings both\n",
    )
    network = script.fresh_network(seed=0)
    script.write(network, tmp_path / "both.safetensors")
    assert status(script, monkeypatch, *measure) == 0
    untrained = script.measured(classifier_of(network), "both", images=2, seed=0)
    assert capsys.readouterr().out == (
        "| Classifier | Accuracy | p_t lost: object swapped | ground swapped | Accuracy lost: object | ground | "
        f"Object's share |\n|---|---|---|---|---|---|---|\n| {' | '.join(untrained)} |\n"
    )
    assert untrained != script.measured(shapes_in_context("both"), "both", images=2, seed=0)

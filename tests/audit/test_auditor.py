"""Finished runs are audited by the command and at a run's end: files, numbers, what is stored, and what is refused."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

import inr_xai
from inr_xai.audit import measure as measuring
from inr_xai.audit.__main__ import main as audit
from inr_xai.audit.report import ImageReport
from inr_xai.audit.verdict import LEAST_PROBABILITY
from inr_xai.data import Synthetic
from inr_xai.errors import UserError
from inr_xai.instantiate import instantiate, make_photo_pool, stored_configuration
from inr_xai.runs.files import read_json, write_json
from inr_xai.runs.folder import RunFolder
from inr_xai.scoring.masked_model import MaskedModel
from inr_xai.types import Preprocessing, Sample
from tests.helpers.games import CHEAP
from tests.helpers.runs import TINY, allowing, explain, files_below, network, table

main = allowing(audit)

IDS = ["00000-disc", "00001-square"]
SURE = "classifier.model._target_=tests.audit.test_auditor.sure"
BASE = [*TINY, *CHEAP, SURE, "data.limit=2"]
QUICK = ["--control", "1", "--no-figures"]


def sure() -> nn.Sequential:
    """Returns the small classifier, so sure of one class that others are absent, as the control needs it."""
    module = network()
    with torch.no_grad():
        next(iter(module[-1].parameters())).mul_(6)
    return module


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs that differ in their seed alone."""
    folders = [tmp_path_factory.mktemp("first"), tmp_path_factory.mktemp("second")]
    for seed, folder in enumerate(folders, start=1):
        explain(folder, f"seed={seed}", base=BASE)
    return folders


@pytest.fixture(scope="module")
def audited(runs: list[Path]) -> Path:
    """The first run, audited by the command."""
    assert main([str(runs[0]), "--control", "2"]) == 0
    return runs[0]


@pytest.fixture
def copied(audited: Path, tmp_path: Path) -> Path:
    """A copy of the audited run, which a test may change."""
    return Path(shutil.copytree(audited, tmp_path / "copied"))


def rows(run: Path) -> dict[str, dict[str, str]]:
    """Returns the rows of the audit by image."""
    return {row["sample_id"]: row for row in table(run / "audit")}


def values(run: Path, name: str) -> torch.Tensor:
    """Returns the stored values of an image's games: fits x baselines x sets."""
    return torch.tensor(read_json(run / "audit" / "plays" / f"{name}.json")["values"], dtype=torch.float64)


def forbid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes every fit and every game fail."""

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("nothing is to be computed")

    monkeypatch.setattr("inr_xai.runner.fit_masks", fail)
    monkeypatch.setattr(MaskedModel, "probability", fail)


@pytest.mark.slow
def test_files(audited: Path) -> None:
    names = set(files_below(audited / "audit"))
    games = {f"plays/{folder}{name}.json" for folder in ("", "control/") for name in IDS}
    assert {name for name in names if not name.startswith("control/")} == games | {
        "report.md",
        "per_image.csv",
        "groups.csv",
        *(f"figures/{name}.png" for name in IDS),
    }
    assert {f"control/masks/{name}.safetensors" for name in IDS} <= names
    assert not [name for name in names if name.startswith("control/figures")]
    report = (audited / "audit" / "report.md").read_text()
    assert "- runs: 1\n- area: 0.1\n- images: 2\n- wrong-target control: 2 images; more than " in report
    assert all(f"| {name} |" in report for name in IDS)


def test_figures(audited: Path) -> None:
    """Panels are 2.1 inches wide: the image, two explanations, and their parts on the object and beside it."""
    for name in IDS:
        with Image.open(audited / "audit" / "figures" / f"{name}.png") as figure:
            assert (figure.format, figure.size) == ("PNG", (2100, 620))


def test_numbers_are_the_scores_of_the_run(audited: Path) -> None:
    """The scores are those of the explanations at the audited area, as the run's own CSV has them."""
    columns = {
        "p_full": "p_full",
        "preservation_hard_mean": "alone_{}",
        "deletion_hard_mean": "without_{}",
        "chance": "chance_{}",
        "union_hard_mean": "union_{}",
        "remaining_hard_mean": "remaining_{}",
    }
    scores = [row for row in table(audited) if row["area"] == "0.1"]
    assert len(scores) == 4
    for score in scores:
        row = rows(audited)[score["sample_id"]]
        assert (row["target"], row["explanations"]) == (score["target"], "2")
        for column, name in columns.items():
            assert float(row[name.format(score["explanation"])]) == pytest.approx(float(score[column]), abs=2e-5)


def test_numbers_are_those_of_the_game(audited: Path, tmp_path: Path) -> None:
    run = inr_xai.load(audited)
    cfg = stored_configuration(run.info["config"], ["allow_targets=[tests]"])
    data, classifier = instantiate(cfg.data), instantiate(cfg.classifier)
    pool = make_photo_pool(run.info["scoring_pool"], data, classifier)
    context = measuring.AuditContext(data, classifier, pool, torch.device("cpu"), seed=1, masks_per_forward=5)
    for name, row in rows(audited).items():
        image = measuring.measure_image([run], name, context, area=0.1, cache=tmp_path)
        (game,) = image.games
        shapley = game.shapley.mean(0).tolist()
        expected = {f"shapley_{k}": value for k, value in zip((1, 2, "rest"), shapley, strict=True)}
        expected |= {"p_nothing": game.nothing.mean().item(), "joint": game.joint.mean().item()}
        expected |= {f"on_object_{k}": image.on_object[0][k - 1].item() for k in (1, 2)}  # type: ignore[index]
        assert {key: float(row[key]) for key in expected} == pytest.approx(expected, abs=1e-5)
        assert sum(shapley) == pytest.approx(float(row["p_full"]) - float(row["p_nothing"]), abs=1e-5)
        assert (row["class"], row["group"]) == (data.class_names[int(row["target"])],) * 2


def test_the_limit_is_that_of_the_control(audited: Path) -> None:
    """The limit of two images is the larger joint value; the control explains other classes than the run."""
    control, run = inr_xai.load(audited / "audit" / "control"), inr_xai.load(audited)
    joint = {}
    for name in IDS:
        assert control[name].target != run[name].target
        v = torch.tensor(read_json(audited / "audit" / "plays" / "control" / f"{name}.json")["values"][0]).mean(0)
        joint[name] = float(v[3] - v[0] + v[7] - v[4]) / 2
    assert f"more than {max(joint.values()):.3f} must" in (audited / "audit" / "report.md").read_text()
    for name, row in rows(audited).items():
        (random_values,) = read_json(audited / "audit" / "plays" / f"{name}.json")["chances"]
        limit = max(*joint.values(), *(sum(region) / len(region) for region in random_values))
        assert int(row["admitted"]) == (float(row["joint"]) > limit and float(row["p_full"]) >= LEAST_PROBABILITY)


@pytest.mark.slow
def test_a_second_audit_computes_nothing(
    copied: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    before = {name: (copied / "audit" / name).read_bytes() for name in files_below(copied / "audit")}
    forbid(monkeypatch)
    caplog.set_level("INFO")
    assert main([str(copied), "--control", "2", "--no-figures"]) == 0
    names = [name for name in before if not name.startswith("control/")]
    assert {name: (copied / "audit" / name).read_bytes() for name in names} == {name: before[name] for name in names}
    assert before["report.md"].decode() in caplog.text


@pytest.mark.slow
def test_a_folder_may_have_an_equals_sign_in_its_name(
    audited: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Path(shutil.copytree(audited, tmp_path / "seed=1"))
    (run / "audit" / "report.md").unlink()
    forbid(monkeypatch)
    assert main([str(run), "masks_per_forward=3", "--control", "2", "--no-figures"]) == 0
    assert (run / "audit" / "report.md").is_file()


@pytest.mark.slow
def test_only_masks_that_changed_are_played_again(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {name: values(copied, name) for name in IDS}
    folder = RunFolder(copied)
    record = folder.read(IDS[0])
    folder.masks_file(IDS[0]).unlink()
    assert folder.commit(replace(record, masks=record.masks.flip(-1)))
    played = []
    play = measuring.play_coalitions
    monkeypatch.setattr(
        measuring, "play_coalitions", lambda model, regions: played.append(regions) or play(model, regions)
    )
    assert main([str(copied), "--control", "2", "--no-figures"]) == 0
    assert len(played) == 1
    assert torch.equal(values(copied, IDS[1]), before[IDS[1]])
    changed = values(copied, IDS[0]) - before[IDS[0]]
    assert changed[..., [0, 7]].abs().max() == 0
    assert changed[..., 1].abs().min() > 0


@pytest.mark.slow
def test_two_runs(copied: Path, runs: list[Path]) -> None:
    """Values are means over both runs; an image of only one of them is left out."""
    (copied / "masks" / f"{IDS[1]}.safetensors").unlink()
    assert main([str(copied), str(runs[1]), *QUICK]) == 0
    assert "- runs: 2\n" in (copied / "audit" / "report.md").read_text()
    assert list(rows(copied)) == IDS[:1]
    stored, row = values(copied, IDS[0]), rows(copied)[IDS[0]]
    assert stored.shape == (2, 4, 8)
    assert float(row["alone_1"]) == pytest.approx(stored[..., 1].mean().item(), abs=1e-5)
    assert float(row["without_2"]) == pytest.approx(stored[..., 5].mean().item(), abs=1e-5)
    assert torch.equal(stored[0], values(runs[0], IDS[0])[0])
    scores = [score for score in table(runs[1]) if (score["sample_id"], score["area"]) == (IDS[0], "0.1")]
    grey = [float(score["preservation_hard_grey"]) for score in scores]  # noise and photos differ by seed
    assert stored[1, 1, [1, 2]].tolist() == pytest.approx(grey, abs=1e-5)


@pytest.mark.slow
def test_another_area_and_groups_of_the_user(copied: Path, tmp_path: Path) -> None:
    groups = tmp_path / "groups.csv"
    groups.write_text("class,group\n0,round\nsquare on dots,pointed\n")
    assert main([str(copied), "--area", "0.3", "--groups", str(groups), *QUICK]) == 0
    images = rows(copied)
    assert [row["group"] for row in images.values()] == ["round", "pointed"]
    scores = [score for score in table(copied) if (score["area"], score["explanation"]) == ("0.3", "1")]
    expected = [float(score["preservation_hard_mean"]) for score in scores]
    assert [float(row["alone_1"]) for row in images.values()] == pytest.approx(expected, abs=2e-5)
    assert [row["group"] for row in table(copied / "audit", "groups.csv")] == ["all images", "pointed", "round"]


@pytest.mark.slow
def test_a_run_of_an_earlier_version(copied: Path) -> None:
    """The control is fitted although the run.json has no option `audit`."""
    shutil.rmtree(copied / "audit")
    info = read_json(copied / "run.json")
    del info["config"]["audit"]
    write_json(copied / "run.json", info)
    assert main([str(copied), *QUICK]) == 0
    assert list(rows(copied)) == IDS
    assert read_json(copied / "audit" / "control" / "run.json")["config"]["audit"] is None


def test_a_run_that_lacks_an_option_of_every_run(
    copied: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control is refused before it is fitted."""
    info = read_json(copied / "run.json")
    del info["config"]["nested"]
    write_json(copied / "run.json", info)
    forbid(monkeypatch)
    assert "run.json has no config.nested" in refusal(capsys, copied)


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """Returns the one sentence with which the command refuses its arguments."""
    assert main([str(argument) for argument in arguments]) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert message.count("\n") == 1
    return message


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--area", "0.2"], ["area=0.2", "[0.1,0.3]"]),
        (["--control", "0"], ["control=0", "at least 1"]),
        (["--groups", "nowhere.csv"], ["nowhere.csv", "cannot be read"]),
        (["data.roots=x"], ["data.roots=x", "run.json"]),
        (["data.image_size=90"], ["leave out what changes data.image_size", "now 90"]),
        (["nowhere"], ["run.json does not exist"]),
    ],
)
def test_refusals(
    audited: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: list[str],
) -> None:
    """The command refuses before anything is fitted or played."""
    forbid(monkeypatch)
    message = refusal(capsys, audited, *arguments)
    assert all(word in message for word in words)


def test_a_command_without_a_run_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "name the folder" in refusal(capsys, "data.root=x")


def one_explanation(config: dict[str, Any]) -> None:
    config["explanations"] = 1


def penalty(config: dict[str, Any]) -> None:
    config["exclusion"]["mode"] = "penalty"


def other_areas(config: dict[str, Any]) -> None:
    config["areas"] = [0.3]


def other_images(config: dict[str, Any]) -> None:
    config["data"]["seed"] = 5


def other_classifier(config: dict[str, Any]) -> None:
    config["classifier"]["head"] = "sigmoid"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (one_explanation, ["explanations=2", "not explanations=1"]),
        (penalty, ["disjoint", "exclusion.mode=exclude"]),
        (other_areas, ["audit.area=0.1", "areas=[0.3]"]),
    ],
)
@pytest.mark.parametrize("alone", [True, False])
def test_a_run_that_cannot_be_audited(
    copied: Path,
    audited: Path,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[dict[str, Any]], None],
    words: list[str],
    alone: bool,
) -> None:
    """The run is refused alone as well as after another run."""
    info = read_json(copied / "run.json")
    change(info["config"])
    write_json(copied / "run.json", info)
    message = refusal(capsys, *([copied] if alone else [audited, copied]))
    assert all(word in message for word in words)


@pytest.mark.parametrize(("change", "group"), [(other_images, "data"), (other_classifier, "classifier")])
def test_runs_of_different_data_or_classifiers(
    copied: Path,
    audited: Path,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[dict[str, Any]], None],
    group: str,
) -> None:
    info = read_json(copied / "run.json")
    change(info["config"])
    write_json(copied / "run.json", info)
    message = refusal(capsys, audited, copied)
    assert f"differ in {group}" in message
    assert "seed alone" in message


def test_the_same_run_twice_is_refused(copied: Path, audited: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "two of these runs have one seed (1, 1)" in refusal(capsys, audited, copied)


def test_runs_with_different_options_of_the_fit(
    copied: Path, runs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    info = read_json(copied / "run.json")
    info["config"]["steps"] += 1
    write_json(copied / "run.json", info)
    assert "differ in steps (was " in refusal(capsys, runs[1], copied)


def test_runs_without_a_common_image(copied: Path, runs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    for name in IDS:
        (copied / "masks" / f"{name}.safetensors").unlink()
    assert "no image is in all of these runs" in refusal(capsys, runs[1], copied)
    assert "no image" in refusal(capsys, copied)


@pytest.mark.slow
def test_a_broken_image_costs_itself_alone(
    copied: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control does without it as well. The object of the other image is unknown, and nothing is said of it."""
    load, broken = Synthetic.load, IDS[:1]

    def broken_load(data: Synthetic, sample_id: str, preprocessing: Preprocessing) -> Sample:
        if sample_id in broken:
            raise UserError("the file is cut off")
        return replace(load(data, sample_id, preprocessing), segmentation=None)

    monkeypatch.setattr(Synthetic, "load", broken_load)
    monkeypatch.setattr("inr_xai.audit.auditor.draw_audit", lambda *_, **__: b"drawn")
    assert main([str(copied), "--control", "2"]) == 3
    assert f"{IDS[0]} failed: the file is cut off" in caplog.text
    assert list(rows(copied)) == IDS[1:]
    assert not [column for column in rows(copied)[IDS[1]] if "object" in column or "where" in column]
    assert "1 images; more than" in (copied / "audit" / "report.md").read_text()
    drawn = {file.name: file.read_bytes() == b"drawn" for file in (copied / "audit" / "figures").iterdir()}
    assert drawn == {f"{IDS[0]}.png": False, f"{IDS[1]}.png": True}
    assert (
        main([str(copied), "--control", "1", "--no-figures"]) == 2
    )  # the other image does not take its place in the control
    broken += IDS[1:]
    assert main([str(copied), "--control", "2"]) == 2


@pytest.mark.slow
def test_an_image_that_cannot_be_drawn_is_not_in_the_report(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def draw(report: ImageReport, *_: object, **__: object) -> bytes:
        if report.sample_id == IDS[0]:
            raise OSError("no space left")
        return b"drawn"

    monkeypatch.setattr("inr_xai.audit.auditor.draw_audit", draw)
    assert main([str(copied), "--control", "2"]) == 3
    assert list(rows(copied)) == IDS[1:]
    assert "- images: 1, and 1 that failed" in (copied / "audit" / "report.md").read_text()


@pytest.mark.slow
def test_a_run_can_end_with_its_audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inr_xai.audit.auditor.draw_audit", lambda *_, **__: b"drawn")
    explain(tmp_path, "audit={area:0.3,control:1}", "data.limit=1", base=BASE)
    assert "- area: 0.3\n" in (tmp_path / "audit" / "report.md").read_text()
    assert (tmp_path / "audit" / "figures" / f"{IDS[0]}.png").is_file()
    assert json.loads((tmp_path / "summary.json").read_text())["images"] == 1
    assert len(inr_xai.load(tmp_path / "audit" / "control")) == 1


@pytest.mark.slow
def test_an_audit_that_is_refused_costs_no_explanation(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """No class is absent from an image if the classifier is not sure of any class."""
    unsure = [option for option in BASE if option != SURE]
    outcome = explain(tmp_path, "audit={area:0.1,control:1}", "data.limit=1", base=unsure)
    assert outcome.failures == 0
    assert list(inr_xai.load(tmp_path)) == IDS[:1]
    assert "not audited: the wrong-target control has no image" in caplog.text
    assert not (tmp_path / "audit" / "report.md").exists()

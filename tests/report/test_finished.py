"""Pages of finished runs: at the end of a run, by the verb, several side by side, and beside another method's maps."""

import copy
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from inr_xai import load
from inr_xai.errors import RunFault, UserError
from inr_xai.report import __main__ as report
from inr_xai.report import content, finished
from inr_xai.report.content import CHANCE, KEPT
from inr_xai.report.finished import facts_of_run, labels_of, open_runs, report_of, worst_images
from inr_xai.runs.masks_file import SampleRecord
from tests.helpers.report_pages import content_of_page
from tests.helpers.runs import FOLDER, allowing, explain, photos, table

ALLOW = ["allow_targets=[tests]"]
main = allowing(report.main)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three drawn images, which wrote its page at the end."""
    folder = tmp_path_factory.mktemp("run") / "first"
    explain(folder, "report=true")
    return folder


@pytest.fixture
def copied(out: Path, tmp_path: Path) -> Path:
    """A copy of the run without its page."""
    folder = tmp_path / "copy"
    shutil.copytree(out, folder)
    (folder / "report.html").unlink()
    return folder


@pytest.mark.slow
def test_a_run_writes_its_page_at_the_end(out: Path, copied: Path) -> None:
    written = (out / "report.html").read_text()
    content = content_of_page(written)
    assert {image["name"] for image in content["images"]} == set(load(out))
    assert main([str(copied)]) == 0
    assert content_of_page((copied / "report.html").read_text())["images"] == content["images"]


def test_the_page_has_the_scores_of_the_table(out: Path) -> None:
    images = {
        image["name"]: image["entries"][0] for image in content_of_page((out / "report.html").read_text())["images"]
    }
    for row in table(out):
        entry = images[row["sample_id"]]
        a = entry["areas"].index(float(row["area"]))
        for column in (KEPT, CHANCE, "area_error"):
            value = entry["scores"][column][int(row["explanation"]) - 1][a]
            assert value == pytest.approx(float(row[column]), rel=1e-3, abs=1e-9)
        assert (entry["target"], entry["predicted"]) == (row["target_name"], row["predicted_name"])


@pytest.mark.slow
def test_a_run_of_many_images_has_no_page_until_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(finished, "MOST", 1)
    with caplog.at_level("INFO"):
        explain(tmp_path, "report=true", "data.size=2")
    assert not (tmp_path / "report.html").exists()
    assert f"no page of 2 images; inr-xai report {tmp_path} makes one of the 1 worst" in caplog.text
    assert main([str(tmp_path), "--limit", "1"]) == 0
    page = (tmp_path / "report.html").read_text()
    (image,) = content_of_page(page)["images"]
    assert "The page has the 1 worst images; the run has 1 more." in page
    gains = dict[str, list[float]]()
    for row in table(tmp_path):
        if row["explanation"] == "1":
            gains.setdefault(row["sample_id"], []).append(float(row[KEPT]) - float(row[CHANCE]))
    assert image["name"] == min(gains, key=lambda name: np.mean(gains[name])) == worst_images(load(tmp_path), 1)[0]


@pytest.mark.parametrize("fault", [RunFault("no space left"), RuntimeError("a bug")])
@pytest.mark.slow
def test_a_page_that_fails_costs_the_run_nothing(
    fault: Exception, out: Path, copied: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*arguments: object) -> str:
        raise fault

    monkeypatch.setattr(finished, "report_of", fail)
    outcome = explain(copied, "report=true")
    assert (outcome.failures, outcome.folder) == (0, copied)
    (record,) = [record for record in caplog.records if "no page was written" in record.getMessage()]
    assert str(fault) in record.getMessage()
    assert bool(record.exc_info) == isinstance(fault, RuntimeError)
    assert not (copied / "report.html").exists()


def test_a_page_with_half_a_character_is_written(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finished, "report_of", lambda *arguments: "a \ud800")
    explain(copied, "report=true")
    assert (copied / "report.html").read_text() == "a \\ud800"


@pytest.mark.slow
def test_a_page_is_drawn_again_only_if_something_is_newer(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    monkeypatch.setattr(finished, "report_of", lambda runs: str(drawn.append(len(runs[0].run))))
    explain(copied, "report=true")
    explain(copied, "report=true")
    assert drawn == [3]
    (copied / "audit").mkdir()
    (copied / "audit" / "per_image.csv").write_text("sample_id\n")
    explain(copied, "report=true")
    assert drawn == [3, 3]


@pytest.mark.slow
def test_the_last_shard_writes_the_page_of_all_images(tmp_path: Path) -> None:
    explain(tmp_path, "report=true", "data.size=2", "shard.count=2", "shard.index=1")
    assert not (tmp_path / "report.html").exists()
    explain(tmp_path, "report=true", "data.size=2", "shard.count=2", "shard.index=0")
    assert len(content_of_page((tmp_path / "report.html").read_text())["images"]) == 2


@pytest.mark.slow
def test_two_runs_are_named_by_what_differs_and_shown_beside_maps(out: Path, tmp_path: Path) -> None:
    explain(tmp_path / "second", "steps=3", "data.size=2")
    names = list(load(tmp_path / "second"))
    heatmap = np.arange(24 * 24, dtype=np.float32).reshape(24, 24)
    (tmp_path / "mine").mkdir()
    np.save(tmp_path / "mine" / f"{names[0]}.npy", heatmap)
    file = tmp_path / "page.html"
    arguments = [str(out), str(tmp_path / "second"), "--maps", str(tmp_path / "mine"), "--out", str(file)]
    assert main(arguments) == 0
    content = content_of_page(file.read_text())
    assert content["runs"] == ["first: data.size=3, steps=2", "second: data.size=2, steps=3", "mine"]
    has = {image["name"]: [entry is not None for entry in image["entries"]] for image in content["images"]}
    assert has[names[0]] == [True, True, True]
    assert has[names[1]] == [True, True, False]
    assert sorted(has.values()) == [[True, False, False], [True, True, False], [True, True, True]]
    assert "mine has no scores of images that first: data.size=3, steps=2 has." in file.read_text()
    assert not (out / "comparison.html").exists()


def test_audit_and_evaluation_of_the_run_stand_on_its_page(copied: Path) -> None:
    name = next(iter(load(copied)))
    (copied / "audit").mkdir()
    (copied / "audit" / "per_image.csv").write_text(f"sample_id,evidence,where,shapley_1\n{name},spread,,0.25\n")
    (copied / "evaluation").mkdir()
    (copied / "evaluation" / "masks.csv").write_text(f"sample_id,target,road,digest,failed\n{name},0,0.5,x,\n")
    page = report_of(open_runs([copied], ALLOW))
    entries = {image["name"]: image["entries"][0] for image in content_of_page(page)["images"]}
    assert entries[name]["audit"] == {"evidence": "spread", "shapley_1": "0.25"}
    assert entries[name]["metrics"] == {"road": 0.5}
    assert "The audit&#39;s verdicts on 1 image: spread 1." in page


def test_paths_of_this_machine_do_not_stand_on_the_page(out: Path) -> None:
    (one,) = open_runs([out], ALLOW)
    named = {"name": "/home/me/models/vit", "checkpoint": "/home/me/a.pt", "classes": "~/me/names.txt"}
    for changes in (named, named | {"checkpoint": "../me/b.pt", "classes": "C:\\me\\names.txt"}):
        config = one.run.config | {"classifier": one.run.config["classifier"] | changes}
        run = copy.copy(one.run)
        run.info = run.info | {"config": config}
        other = replace(one, path=Path("second"), run=run)
        assert facts_of_run(other)["classifier.name"] == "vit"
        words = labels_of([one, other])[1]
        assert re.findall(r"checkpoint=(\S+), ", words) == [Path(changes["checkpoint"]).name]
        assert "classes=names.txt" in words
        assert "me/" not in words


def test_images_that_the_page_lacks_are_counted(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, *_ = load(copied)

    def entry_of(record: SampleRecord, *arguments: object, **options: object) -> object:
        if record.sample_id == first:
            raise UserError(f"{copied}/masks/a.safetensors names a class that is gone")
        return content.entry_of(record, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(finished, "entry_of", entry_of)
    (copied / "failures.csv").write_text("image_id,reason\nx,no file\ny,no file\n")
    page = report_of(open_runs([copied], ALLOW))
    (note,) = re.findall(r'<p class="note">(1 image.*?)</p>', page)
    assert note == (
        "1 image is not shown: masks/a.safetensors names a class that is gone. "
        "2 images could not be explained; failures.csv of the run says why."
    )


@pytest.mark.slow
def test_a_photo_that_is_gone_costs_its_picture_alone(tmp_path: Path) -> None:
    root = photos(tmp_path / "photos", "a.png", "b.png", "c.png")
    explain(tmp_path / "run", f"data.root={root}", "data.targets=1", base=FOLDER)
    (root / "b.png").unlink()
    images = content_of_page(report_of(open_runs([tmp_path / "run"], ALLOW)))["images"]
    assert {image["name"]: image["entries"][0]["photo"] is None for image in images} == {
        "a": False,
        "b": True,
        "c": False,
    }


def test_what_cannot_be_shown_is_refused(out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, words in (
        ([], "name the folder of a finished run"),
        ([str(out), "--limit", "0"], "--limit 0 shows no image; give at least 1"),
        ([str(tmp_path)], "run.json"),
        ([str(out), "--maps", str(tmp_path / "none")], "is no folder"),
    ):
        assert main([*arguments]) == 2
        assert words in capsys.readouterr().err

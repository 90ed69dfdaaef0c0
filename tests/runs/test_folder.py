"""The run folder: what is written is read back, and damage and changed options are named."""

import csv
import json
from pathlib import Path

import pytest
import torch

from inr_xai.errors import UserError
from inr_xai.runs.folder import RunFolder, SampleRecord
from inr_xai.types import Frame


def record(sample_id: str, steps_before: int = 0, loss: float = 1.0) -> SampleRecord:
    rows = [{"sample_id": sample_id, "explanation": k, "area": 0.5, "p_full": 0.25} for k in (1, 2)]
    return SampleRecord(
        sample_id=sample_id,
        target=3,
        frame=Frame((4, 6), (4, 6), 0, 1, (4, 4)),
        areas=[0.5],
        masks=torch.rand(2, 1, 4, 4).half(),
        inrs=[{"first.weight": torch.rand(2, 3)}, {"first.weight": torch.rand(2, 3)}],
        losses=torch.tensor([[loss, loss / 2], [loss, loss / 4]]),
        rows=rows,
        drawing={"seed": 0},
        steps_before=steps_before,
        steps_after=steps_before + 4,
        seconds=1.5,
    )


def test_a_sample_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    folder, written = RunFolder(tmp_path), record("dogs/a.b")
    folder.commit(written)
    assert folder.done() == {"dogs/a.b"}
    back = folder.read("dogs/a.b")
    assert torch.equal(back.masks, written.masks)
    assert all(torch.equal(back.inrs[k]["first.weight"], written.inrs[k]["first.weight"]) for k in range(2))
    assert torch.equal(back.losses, written.losses)
    names = ("sample_id", "target", "frame", "areas", "rows", "drawing", "steps_before", "steps_after", "seconds")
    assert all(getattr(back, name) == getattr(written, name) for name in names)


def test_rebuild_repeats_rows_and_means_of_losses(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for sample_id, before, loss in [("a", 0, 1.0), ("b", 0, 3.0), ("c", 4, 5.0)]:
        folder.commit(record(sample_id, before, loss))
    (tmp_path / "per_image.csv").write_text("sample_id,expl")  # torn by a kill
    facts = folder.rebuild(["a", "b", "c"])
    assert [(image.seconds, image.steps_after, image.fits) for image in facts] == [
        (1.5, after, 2) for after in (4, 4, 8)
    ]
    rows = [row for image in facts for row in image.rows]
    with (tmp_path / "per_image.csv").open() as stream:
        written = list(csv.DictReader(stream))
    assert [row["sample_id"] for row in written] == ["a", "a", "b", "b", "c", "c"] == [row["sample_id"] for row in rows]
    with (tmp_path / "curves.csv").open() as stream:
        curves = [(int(r["steps_done"]), int(r["explanation"]), float(r["loss"])) for r in csv.DictReader(stream)]
    assert curves[:4] == [(0, 1, 2.0), (1, 1, 1.0), (2, 2, 2.0), (3, 2, 0.5)]
    assert [steps_done for steps_done, _, _ in curves] == list(range(8))


def test_appended_rows_are_those_of_a_rebuild(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for sample_id in "ab":
        folder.commit(record(sample_id))
        folder.append_rows(record(sample_id).rows)
    appended = (tmp_path / "per_image.csv").read_text()
    folder.rebuild(["a", "b"])
    assert (tmp_path / "per_image.csv").read_text() == appended


def test_differing_keys_are_named_and_free_ones_ignored(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    config = {"steps": 100, "data": {"root": "here", "limit": 8}, "inr": {"width": 64}, "trainer": {"devices": 1}}
    folder.write_run({"config": config})
    folder.require_same(config | {"data": {"root": "there", "limit": None}, "trainer": {"accelerator": "gpu"}})
    with pytest.raises(UserError, match=r"inr.width \(was 64, now 32\), steps \(was 100, now 200\); give the old"):
        folder.require_same(config | {"steps": 200, "inr": {"width": 32}})
    with pytest.raises(UserError, match=r"inr.width \(was 64, now absent\)"):
        folder.require_same({key: value for key, value in config.items() if key != "inr"})


def test_files_that_a_killed_process_left_half_written_are_removed(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.commit(record("a/b"))
    torn = folder.masks_file("a/b").parent / ".writing-x"
    torn.write_bytes(b"torn")
    assert folder.done() == {"a/b"}
    folder.tidy()
    assert not torn.exists()


def test_damage_is_one_sentence(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.commit(record("a"))
    folder.masks_file("a").write_bytes(folder.masks_file("a").read_bytes()[:100])
    with pytest.raises(UserError, match=r"a.safetensors is damaged .* delete it"):
        folder.read("a")
    with pytest.raises(UserError, match=r"no masks of 'z'"):
        folder.read("z")
    folder.run_file.write_text("{")
    with pytest.raises(UserError, match=r"run.json is damaged"):
        folder.read_run()


def test_failures_are_read_back(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.read_failures() == {}
    folder.write_failures({"b": "broken, badly", "a": 'says "no"'})
    assert folder.read_failures() == {"a": 'says "no"', "b": "broken, badly"}
    folder.write_summary({"x": 1.0})
    assert json.loads((tmp_path / "summary.json").read_text()) == folder.read_summary() == {"x": 1.0}

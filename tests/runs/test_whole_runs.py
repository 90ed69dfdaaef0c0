"""Runs of images whose names are no file names, of shards side by side, and of folders that something was done to."""

import logging
import shutil
from pathlib import Path

import pytest

import inr_xai
from inr_xai.data import Synthetic
from inr_xai.errors import UserError
from inr_xai.runs.folder import RunFolder
from inr_xai.runs.index import ResultIndex
from inr_xai.types import Preprocessing, Sample
from tests.helpers.runs import explain, masks_of, messages, same_masks, table

ONE = ["explanations=1", "data.size=4"]
TABLES = ("per_image.csv", "curves.csv", "failures.csv")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an unbroken run of four images."""
    folder = tmp_path_factory.mktemp("whole")
    explain(folder, *ONE)
    return folder


def summary(folder: Path) -> dict[str, float]:
    """Returns summary.json without what depends on the clock."""
    return {key: value for key, value in RunFolder(folder).read_summary().items() if key != "seconds_per_image"}


@pytest.mark.slow
def test_images_of_any_name_are_explained_drawn_and_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = dict(zip(["../" * 9 + "up", "a", "a.png/b", "x" * 400], Synthetic(4).ids, strict=True))
    load = Synthetic.load

    def loaded(data: Synthetic, sample_id: str, preprocessing: Preprocessing) -> Sample:
        sample = load(data, names.get(sample_id, sample_id), preprocessing)
        object.__setattr__(sample, "sample_id", sample_id)
        return sample

    monkeypatch.setattr(Synthetic, "ids", property(lambda data: sorted(names)))
    monkeypatch.setattr(Synthetic, "load", loaded)
    out = tmp_path / "deep" / "run"
    options = [*ONE, "callbacks=evolution", "callbacks.evolution.every=1", "steps=1"]
    options += ["callbacks.figures._target_=inr_xai.callbacks.Figures", "callbacks.figures.cell=1"]
    assert explain(out, *options).failures == 0
    assert list(inr_xai.load(out)) == sorted(names)
    assert {row["sample_id"] for row in table(out)} == set(names)
    assert len(list((out / "figures").rglob("*.png"))) == 8
    assert [file.name for file in tmp_path.iterdir()] == ["deep"]
    before = masks_of(out)
    (out / "per_image.csv").unlink()
    assert explain(out, *options).failures == 0
    assert masks_of(out).keys() == before.keys()
    assert {row["sample_id"] for row in table(out)} == set(names)


@pytest.mark.slow
def test_shards_end_with_the_files_of_one_run(tmp_path: Path, whole: Path) -> None:
    for shard in (1, 0):
        outcome = explain(tmp_path, *ONE, f"shard.index={shard}", "shard.count=2")
        assert outcome.failures == 0
    assert same_masks(tmp_path, whole)
    assert (tmp_path / "per_image.csv").read_bytes() == (whole / "per_image.csv").read_bytes()
    assert summary(tmp_path) == summary(whole)
    assert sorted(file.name for file in (tmp_path / "index").iterdir()) == ["0-of-2.images", "1-of-2.images"]


@pytest.mark.parametrize("lost", ["index", "a line", "per_image.csv", "curves.csv", "summary.json", "all"])
@pytest.mark.slow
def test_what_is_lost_is_made_again(tmp_path: Path, whole: Path, lost: str, caplog: pytest.LogCaptureFixture) -> None:
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    index = run / "index" / "0-of-1.images"
    for name in ("index", *TABLES, "summary.json") if lost == "all" else (lost,):
        if name == "a line":
            index.write_bytes(b"".join(index.read_bytes().splitlines(keepends=True)[1:]))
        elif name == "index":
            shutil.rmtree(run / name)
        else:
            (run / name).unlink()
    caplog.set_level(logging.INFO)
    assert explain(run, *ONE).failures == 0
    assert [(run / name).read_bytes() for name in TABLES] == [(whole / name).read_bytes() for name in TABLES]
    assert summary(run) == summary(whole)
    said = [line for line in messages(caplog.records) if "masks files are not in the index" in line]
    assert [line.split()[0] for line in said] == {"index": ["4"], "a line": ["1"], "all": ["4"]}.get(lost, [])
    assert len(ResultIndex(RunFolder(run)).known()[0]) == 4


@pytest.mark.slow
def test_a_run_in_tars_and_one_in_files_are_the_same_and_each_continues_the_other(tmp_path: Path, whole: Path) -> None:
    begun = Path(shutil.copytree(whole, tmp_path / "begun in files"))
    last = sorted(RunFolder(begun).done())[2:]
    for name in last:
        RunFolder(begun).masks_file(name).unlink()
    with pytest.raises(UserError, match=f"has no masks of '{last[0]}'"):
        RunFolder(begun).read(last[0])
    explain(begun, *ONE, "store=shard")
    explain(tmp_path / "begun in tars", *ONE, "store=shard", "data.limit=1")
    explain(tmp_path / "begun in tars", *ONE, "store.masks=float16")
    for run in (begun, tmp_path / "begun in tars"):
        kinds = [file.suffix for file in (run / "masks").iterdir()]
        assert sorted(kinds) == [".safetensors"] * (4 - (2 if run == begun else 1)) + [".tar"]
        assert same_masks(run, whole)
        assert [(run / name).read_bytes() for name in TABLES] == [(whole / name).read_bytes() for name in TABLES]
        assert summary(run) == summary(whole)
        assert list(inr_xai.load(run).rows) == list(inr_xai.load(whole).rows)
        assert ResultIndex(RunFolder(run)).known()[1] == []
    assert RunFolder(begun).read_run()["config"]["store"] == {
        "_target_": "inr_xai.runs.store.ShardStore",
        "masks": "lossless",
        "megabytes": 1000,
    }


@pytest.mark.slow
def test_a_damaged_masks_file_ends_the_run_with_its_name_and_is_made_again_once_deleted(
    tmp_path: Path, whole: Path
) -> None:
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    file = RunFolder(run).masks_file("00001-square")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"00001-square\.safetensors is damaged .* delete it and run the same command"):
        explain(run, *ONE)
    file.unlink()
    assert explain(run, *ONE).failures == 0
    assert same_masks(run, whole)
    assert (run / "per_image.csv").read_bytes() == (whole / "per_image.csv").read_bytes()


@pytest.mark.slow
def test_an_image_that_fails_again_has_its_last_reason_and_leaves_the_list_when_it_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = Synthetic.load
    for session, broken in enumerate([["00001-square", "00002-triangle"], ["00002-triangle"], []]):

        def loaded(data: Synthetic, sample_id: str, preprocessing: Preprocessing) -> Sample:
            if sample_id in broken:  # noqa: B023
                raise OSError(f"no file in session {session}")  # noqa: B023
            return load(data, sample_id, preprocessing)

        monkeypatch.setattr(Synthetic, "load", loaded)
        assert explain(tmp_path, *ONE).failures == len(broken)
        rows = [(row["image_id"], row["reason"]) for row in table(tmp_path, "failures.csv")]
        assert rows == [(name, f"no file in session {session}") for name in broken]
        assert summary(tmp_path)["failures"] == len(broken)

"""The run folder: what is written is read back, and damage and changed options are named."""

import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest
import torch

from inr_xai.draws import GENERATOR
from inr_xai.errors import RunFault, UserError
from inr_xai.method import Method
from inr_xai.runs.files import ASIDE
from inr_xai.runs.folder import ADDED, RunFolder
from inr_xai.runs.index import ResultIndex
from inr_xai.runs.load import describe_drawing, load
from inr_xai.runs.masks_file import SampleRecord
from inr_xai.runs.processes import machine
from inr_xai.runs.tables import write_run_tables
from inr_xai.types import Frame
from tests.helpers.runs import FACTS


def record(sample_id: str, steps_before: int = 0, loss: float = 1.0) -> SampleRecord:
    rows = [{"sample_id": sample_id, "explanation": k, "area": 0.5, "p_full": 0.25} for k in (1, 2)]
    generator = torch.Generator().manual_seed(0)
    weights = [{"first.weight": torch.rand(2, 3, generator=generator)} for _ in range(2)]
    return SampleRecord(
        sample_id=sample_id,
        target=3,
        frame=Frame((4, 6), (4, 6), 0, 1, (4, 4)),
        areas=[0.5],
        masks=torch.rand(2, 1, 4, 4, generator=generator).half(),
        inrs=weights,
        losses=torch.tensor([[loss, loss / 2], [loss, loss / 4]]),
        rows=rows,
        drawing=describe_drawing(Method(areas=(0.5,))),
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


def test_of_two_commits_of_an_image_the_first_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(tmp_path)
    assert folder.commit(record("a/b"))
    first = folder.masks_file("a/b").read_bytes()
    assert not folder.commit(record("a/b", loss=7.0))
    monkeypatch.setattr(os, "link", fails)  # a file system without links
    assert not folder.commit(record("a/b", loss=7.0))
    assert folder.commit(record("c"))
    assert folder.masks_file("a/b").read_bytes() == first
    assert sorted(path.name for path in (tmp_path / "masks").rglob("*") if path.is_file()) == [
        "b.safetensors",
        "c.safetensors",
    ]


def fails(*names: object) -> None:
    raise PermissionError("no links here")


def test_appended_rows_are_those_of_the_table_at_the_end(tmp_path: Path) -> None:
    folder, index = RunFolder(tmp_path), ResultIndex(RunFolder(tmp_path))
    (tmp_path / "per_image.csv").write_text("sample_id,expl")  # torn by a kill
    for sample_id in "ab":
        folder.commit(record(sample_id))
        index.add(record(sample_id))
        folder.append_rows(record(sample_id).rows)
    appended = (tmp_path / "per_image.csv").read_text()
    write_run_tables(tmp_path, index.read())
    assert (tmp_path / "per_image.csv").read_text() == appended
    assert appended.splitlines()[:2] == ["sample_id,explanation,area,p_full", "a,1,0.5,0.25"]


def test_rows_of_other_columns_are_appended_to_those_that_the_file_has(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.append_rows([{"sample_id": "a", "p": 0.5}])
    folder.append_rows([{"q": 1, "p": 0.25, "sample_id": "b\rc"}])
    assert (tmp_path / "per_image.csv").read_bytes() == b'sample_id,p\na,0.5\n"b\rc",0.25\n'


def test_a_run_whose_folder_goes_ends_and_does_not_begin_anew(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.write_run(FACTS)
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(RunFault, match=r"run has lost its run\.json; put the folder back, then the same command cont"):
        folder.commit(record("a"))
    with pytest.raises(RunFault, match=r"run has lost its run\.json"):
        folder.append_rows(record("a").rows)
    assert not (tmp_path / "run").exists()


def test_differing_keys_are_named_and_free_ones_ignored(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    config = (
        ADDED
        | FACTS["config"]
        | {
            "steps": 100,
            "data": {"root": "here", "limit": 8},
            "inr": {"_target_": "a.INR", "width": 64},
            "trainer": {"devices": 1},
        }
    )
    folder.write_run(FACTS | {"config": FACTS["config"] | config, "draws": GENERATOR})
    folder.require_same(config | {"data": {"root": "there", "limit": None}, "trainer": {"accelerator": "gpu"}})
    with pytest.raises(UserError, match=r"inr.width \(was 64, now 32\), steps \(was 100, now 200\); give the old"):
        folder.require_same(config | {"steps": 200, "inr": {"width": 32}})
    with pytest.raises(UserError, match=r"inr.width \(was 64, now absent\)"):
        folder.require_same({key: value for key, value in config.items() if key != "inr"})


def test_files_that_a_killed_process_left_half_written_are_removed(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.commit(record("a/b"))
    within = folder.masks_file("a/b").parent
    with tempfile.NamedTemporaryFile(dir=within, prefix=f"{ASIDE}{machine()}.{os.getpid()}.-", suffix="x") as ours:
        torn = [within / ".writing-x", within / f".writing-{machine()}.999999999.1-x.safetensors"]
        for file in torn:
            file.write_bytes(b"torn")
        assert folder.done() == {"a/b"}
        folder.tidy()
        assert not any(file.exists() for file in torn)
        assert Path(ours.name).exists()  # another thread or process still writes it


def test_damage_is_one_sentence(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.commit(record("a"))
    folder.masks_file("a").write_bytes(folder.masks_file("a").read_bytes()[:100])
    with pytest.raises(UserError, match=r"a.safetensors is damaged .* delete it"):
        folder.read("a")
    with pytest.raises(UserError, match=r"no masks of 'z'"):
        folder.read("z")
    folder.commit(record("b"))
    folder.masks_file("b").rename(folder.masks_file("c"))
    with pytest.raises(UserError, match=r"c\.safetensors holds the masks of 'b'; give it the name that it had"):
        folder.read("c")


BAD_JSON = [b"{", b"", b"[]", b"null", b'"text"', b"\xff\xfe", b"[" * 100_000, b'{"config": 3}', b'{"config": {}}']


@pytest.mark.parametrize("content", BAD_JSON, ids=[str(content[:9]) for content in BAD_JSON])
def test_a_run_json_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "run.json").write_bytes(content)
    for read in (RunFolder(tmp_path).read_run, lambda: RunFolder(tmp_path).require_same({}), lambda: load(tmp_path)):
        with pytest.raises(UserError, match=r"run\.json is damaged \(.*\); give another out=PATH"):
            read()


@pytest.mark.parametrize("changes", [{"scoring_pool": "a"}, {"donor_pool": [1]}, {"wandb_id": 3}, {"seconds": "1"}])
def test_a_fact_of_another_type_is_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    RunFolder(tmp_path).write_run(FACTS | changes)
    with pytest.raises(UserError, match=rf"run\.json is damaged \({next(iter(changes))}.* is .*, not "):
        RunFolder(tmp_path).read_run()


@pytest.mark.parametrize(
    ("key", "value"),
    [("areas", ["0.1"]), ("stop", {"share": None, "most": 1}), ("exclusion", True), ("trainer", None), ("inr", 3)],
)
def test_an_option_of_another_type_is_refused(tmp_path: Path, key: str, value: object) -> None:
    RunFolder(tmp_path).write_run(FACTS | {"config": FACTS["config"] | {key: value}})
    with pytest.raises(UserError, match=rf"run\.json is damaged \(config\.{key}.* is .*, not "):
        RunFolder(tmp_path).read_run()


@pytest.mark.parametrize("content", [b"[1]", b'{"x": "1"}', b'{"unmeasured": []}', b"\xff", b""])
def test_a_summary_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "summary.json").write_bytes(content)
    with pytest.raises(
        UserError, match=r"summary\.json is damaged \(.*\); remove it, and the same command makes it ag"
    ):
        RunFolder(tmp_path).read_summary()


def test_failures_are_read_back(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.read_failures() == {}
    (tmp_path / "failures.csv").write_text('image_id,reason\na,"says ""no"""\nb,"broken, badly"\n')
    assert folder.read_failures() == {"a": 'says "no"', "b": "broken, badly"}
    folder.write_summary({"x": 1.0})
    assert json.loads((tmp_path / "summary.json").read_text()) == folder.read_summary() == {"x": 1.0}


@pytest.mark.parametrize(
    "content",
    [b"", b"id,why\na,b\n", b"image_id,reason\na\n", b"image_id,reason\na,b,c\n", b"\xff", b'image_id,reason\n"a,b\n'],
)
def test_a_failures_csv_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "failures.csv").write_bytes(content)
    with pytest.raises(
        UserError, match=r"failures\.csv is damaged \(.*\); remove it, and the same command makes it ag"
    ):
        RunFolder(tmp_path).read_failures()

"""Sets of files as W&B's artifacts: copied if they are small, referred to if they are large."""

import os
from pathlib import Path

import pytest

from inr_xai.loggers import files
from inr_xai.loggers.files import FileSet, staged_in


@pytest.fixture
def two(tmp_path: Path) -> FileSet:
    (tmp_path / "masks").mkdir()
    for name in ("run.json", "masks/a.safetensors"):
        (tmp_path / name).write_text(name)
    names = {name: tmp_path / name for name in ("run.json", "masks/a.safetensors", "missing.csv")}
    return FileSet("explanations", names, {"digests": {"data": "x"}}, ["seed=0,name=a/b", ""])


def test_a_small_set_is_uploaded(two: FileSet, tmp_path: Path) -> None:
    with staged_in(tmp_path / "staged"):
        artifact = two.at_wandb("id1")
    entries = artifact.manifest.entries
    assert set(entries) == {"run.json", "masks/a.safetensors"}
    assert all(entry.ref is None for entry in entries.values())
    assert entries["masks/a.safetensors"].local_path == str(tmp_path / "masks" / "a.safetensors")
    copy = Path(str(entries["run.json"].local_path))
    assert copy.is_relative_to(tmp_path / "staged")  # since run.json changes if the run is continued
    assert copy.read_text() == "run.json"
    assert (artifact.name, artifact.type) == ("explanations-id1", "explanations")
    assert artifact.metadata == {"digests": {"data": "x"}, "files": 2, "bytes": 27, "by_reference": False}
    assert two.aliases == ["latest", "seed=0,name=a-b"]


def test_a_large_set_is_referred_to(two: FileSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LARGE", 26)
    artifact = two.at_wandb("id1")
    refs = {name: entry.ref for name, entry in artifact.manifest.entries.items()}
    assert refs == {name: (tmp_path / name).as_uri() for name in ("run.json", "masks/a.safetensors")}
    assert artifact.metadata["by_reference"]


def test_the_environment_is_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for before in ("/elsewhere", None):
        if before is None:
            monkeypatch.delenv("WANDB_DATA_DIR")
        else:
            monkeypatch.setenv("WANDB_DATA_DIR", before)
        with staged_in(tmp_path):
            assert os.environ["WANDB_DATA_DIR"] == str(tmp_path)
        assert os.environ.get("WANDB_DATA_DIR") == before

"""Maps in files: one finite map of real numbers is read, and a file that holds none is refused by its name."""

from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from inr_xai.data.stored_maps import find_map, read_map
from inr_xai.errors import UserError


def test_a_map_is_found_by_the_id_and_read_from_either_kind_of_file(tmp_path: Path) -> None:
    (tmp_path / "dogs").mkdir()
    np.save(tmp_path / "dogs" / "a.npy", np.arange(6).reshape(2, 3))
    safetensors.torch.save_file({"map": torch.arange(6.0).reshape(1, 2, 3)}, tmp_path / "b.safetensors")
    for sample_id in ("dogs/a", "b"):
        file = find_map(tmp_path, sample_id)
        assert file is not None
        assert read_map(file).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert find_map(tmp_path, "c") is None


def test_files_that_are_no_map_are_refused(tmp_path: Path) -> None:
    files = {
        name: tmp_path / f"{name}.npy"
        for name in ("nothing", "archive", "torn", "structured", "empty", "objects", "complex", "texts")
    }
    files["nothing"].write_bytes(b"")
    np.savez(tmp_path / "archive.npz", a=np.eye(3))
    (tmp_path / "archive.npz").rename(files["archive"])
    files["torn"].write_bytes(b"PK\x03\x04torn")
    np.save(files["structured"], np.zeros((3, 3), dtype=[("a", "f4"), ("b", "f4")]))
    np.save(files["empty"], np.zeros((0, 5)))
    np.save(files["objects"], np.array([[{}]]), allow_pickle=True)
    np.save(files["complex"], np.eye(3) * 1j)
    np.save(files["texts"], np.full((3, 3), "1"))
    for name, file in files.items():
        with pytest.raises(UserError, match=rf"{name}\.npy"):
            read_map(file)
    safetensors.torch.save_file({"map": torch.zeros(4, 0)}, tmp_path / "empty.safetensors")
    with pytest.raises(UserError, match="a map is h x w"):
        read_map(tmp_path / "empty.safetensors")
    safetensors.torch.save_file({"map": torch.ones(3, 3, dtype=torch.complex64)}, tmp_path / "complex.safetensors")
    with pytest.raises(UserError, match="real numbers"):
        read_map(tmp_path / "complex.safetensors")

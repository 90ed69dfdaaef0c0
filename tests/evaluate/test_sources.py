"""Maps of another tool: files that hold no map are refused."""

from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from inr_xai.errors import UserError
from inr_xai.evaluate.sources import read_map


def test_files_that_are_no_map_are_refused(tmp_path: Path) -> None:
    files = {
        name: tmp_path / f"{name}.npy" for name in ("nothing", "archive", "torn", "structured", "empty", "objects")
    }
    files["nothing"].write_bytes(b"")
    np.savez(tmp_path / "archive.npz", a=np.eye(3))
    (tmp_path / "archive.npz").rename(files["archive"])
    files["torn"].write_bytes(b"PK\x03\x04torn")
    np.save(files["structured"], np.zeros((3, 3), dtype=[("a", "f4"), ("b", "f4")]))
    np.save(files["empty"], np.zeros((0, 5)))
    np.save(files["objects"], np.array([[{}]]), allow_pickle=True)
    for name, file in files.items():
        with pytest.raises(UserError, match=rf"{name}\.npy"):
            read_map(file)
    safetensors.torch.save_file({"map": torch.zeros(4, 0)}, tmp_path / "empty.safetensors")
    with pytest.raises(UserError, match="a map is h x w"):
        read_map(tmp_path / "empty.safetensors")

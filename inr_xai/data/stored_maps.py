"""Maps of images that another tool has stored, one file each: `<folder>/<image id>.npy`, or .safetensors."""

from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from jaxtyping import Float
from torch import Tensor

from inr_xai.data.names import id_file
from inr_xai.errors import UserError

SUFFIXES = (".npy", ".safetensors")


def find_map(folder: Path, sample_id: str) -> Path | None:
    """Returns the file of an image's map; None if there is none."""
    files = (id_file(folder, sample_id, suffix) for suffix in SUFFIXES)
    return next((file for file in files if file.is_file()), None)


def read_map(file: Path) -> Float[Tensor, "h w"]:
    """Returns a stored map in single precision. Raises UserError unless it is one finite map of at least one pixel."""
    try:
        values = _read_npy(file) if file.suffix == ".npy" else _read_safetensors(file)
    except UserError:
        raise
    except Exception as error:  # a file that is no map makes the readers raise anything
        reason = str(error) or type(error).__name__
        raise UserError(f"cannot read the map {str(file)!r} ({reason}); write it again") from error
    if values.ndim == 3 and len(values) == 1:
        values = values[0]
    if values.ndim != 2 or not values.numel():
        raise UserError(f"{str(file)!r} holds an array of shape {tuple(values.shape)}; a map is h x w, or 1 x h x w")
    if not bool(values.isfinite().all()):
        raise UserError(f"{str(file)!r} holds NaN or infinity; leave the image out, or explain it again")
    return values


def _read_npy(file: Path) -> Tensor:
    with file.open("rb") as stream:
        values = np.load(stream, allow_pickle=False)
    if values.dtype.kind not in "buif":
        raise UserError(f"{str(file)!r} holds values of the type {values.dtype}; a map has real numbers")
    return torch.from_numpy(values.astype(np.float32))


def _read_safetensors(file: Path) -> Tensor:
    tensors = safetensors.torch.load_file(file)
    if len(tensors) != 1:
        raise UserError(f"{str(file)!r} holds the tensors {sorted(tensors)}; a map's file has one alone")
    values = next(iter(tensors.values()))
    if values.is_complex():
        raise UserError(f"{str(file)!r} holds values of the type {values.dtype}; a map has real numbers")
    return values.float()

"""The sources of explanations: a finished run, or a folder of maps that another tool made for the run's images."""

import contextlib
import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
from jaxtyping import Float
from torch import Tensor

from inr_xai.data.stored_maps import find_map, read_map
from inr_xai.data.transform import map_to_input
from inr_xai.errors import UserError
from inr_xai.moved import with_old_paths
from inr_xai.runs.load import Run
from inr_xai.seeding import sha256


@dataclass(frozen=True)
class StoredExplanation:
    """The stored explanation of one sample; see `ExplainedImage`."""

    target: int
    heatmap: Float[Tensor, "h w"]
    areas: tuple[float, ...] = ()
    masks: Float[Tensor, "a h w"] | None = None


class Source(ABC):
    """Explanations by sample id."""

    has_masks: bool
    """Whether its explanations have a mask for each area."""

    @property
    @abstractmethod
    def ids(self) -> list[str]:
        """The ids of the samples that are explained, in sorted order."""

    @abstractmethod
    def digest(self, sample_id: str) -> str:
        """Returns a hash of the stored explanation. Raises UserError if it cannot be read."""

    @abstractmethod
    def read(self, sample_id: str) -> StoredExplanation:
        """Returns the explanation of a sample. Raises UserError if it cannot be read."""


class RunSource(Source):
    """The first explanation of each image of a run: its importance map and its masks as stored."""

    has_masks = True

    def __init__(self, run: Run):
        self._run = run

    @property
    def ids(self) -> list[str]:
        return list(self._run)

    def digest(self, sample_id: str) -> str:
        stored = self._run[sample_id]
        weights = {f"inr.{name}": tensor.contiguous() for name, tensor in stored.record.inrs[0].items()}
        tensors = safetensors.torch.save(weights | {"masks": stored.masks[0].contiguous()})
        return sha256(tensors, _facts(stored.target, list(stored.areas), stored.record.drawing)).hexdigest()

    def read(self, sample_id: str) -> StoredExplanation:
        stored = self._run[sample_id]
        return StoredExplanation(stored.target, stored.importance(), tuple(stored.areas), stored.masks[0])


class FolderSource(Source):
    """Maps of another tool for the images of a run: `<folder>/<sample id>.npy`, or .safetensors with one tensor.

    A map is h x w or 1 x h x w, and has the shape of the input or of the upright photo as its file stores it. A map of
    the photo goes through the photo's resize and crop (`map_to_input`). If both have one shape, a map is of the input.

    Raises:
        UserError: there is no such folder, or it has no map of an image of the run.
    """

    has_masks = False

    def __init__(self, folder: str | Path, run: Run):
        self._folder, self._run = Path(folder), run
        if not self._folder.is_dir():
            raise UserError(f"--maps {str(folder)!r} is no folder; give one with <image_id>.npy or .safetensors files")
        self._files = {name: file for name in run if (file := find_map(self._folder, name)) is not None}
        if not self._files:
            raise UserError(
                f"--maps {str(folder)!r} has no map of the run's {len(run)} images; name files after the image ids, "
                f"such as {next(iter(run), 'image')}.npy"
            )

    @property
    def ids(self) -> list[str]:
        return sorted(self._files)

    @property
    def missing(self) -> list[str]:
        """The images of the run that have no map."""
        return [name for name in self._run if name not in self._files]

    def digest(self, sample_id: str) -> str:
        facts: list[object] = [self._run[sample_id].target]
        with contextlib.suppress(UserError):  # `read` tells what is wrong with a map
            if self._of_photo(sample_id, read_map(self._files[sample_id])):
                facts.append("of the photo")  # earlier versions squashed it
        return sha256(self._files[sample_id].read_bytes(), _facts(*facts)).hexdigest()

    def read(self, sample_id: str) -> StoredExplanation:
        stored = self._run[sample_id]
        heatmap = read_map(self._files[sample_id])
        if self._of_photo(sample_id, heatmap):
            heatmap = map_to_input(heatmap, stored.frame)
        return StoredExplanation(stored.target, heatmap)

    def _of_photo(self, sample_id: str, heatmap: Float[Tensor, "h w"]) -> bool:
        """Returns whether a map is of the whole photo, not of the input. Raises UserError if it is of neither."""
        frame, shape = self._run[sample_id].frame, tuple(heatmap.shape)
        if shape not in (frame.size, frame.original):
            (h, w), (height, width) = frame.size, frame.original
            raise UserError(
                f"{str(self._files[sample_id])!r} holds a map of {shape[0]} x {shape[1]} pixels, which is neither the "
                f"size of the input, {h} x {w}, nor that of the photo, {height} x {width}; resize it to one of them"
            )
        return shape != frame.size


def _facts(*values: object) -> bytes:
    return json.dumps(with_old_paths(list(values)), sort_keys=True).encode()

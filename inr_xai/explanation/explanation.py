"""What `explain` returns: the masks of one image with their scores, to look at, to draw at other areas, and to keep."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from inr_xai.data.labels import class_label
from inr_xai.errors import UserError
from inr_xai.explanation.page import fragment, whole_page
from inr_xai.runs.files import write_bytes
from inr_xai.runs.load import Explained
from inr_xai.runs.masks_file import SampleRecord, pack_record, read_record
from inr_xai.types import Image

Table = Float[np.ndarray, "k a"]
NAMES, PLACED = "names", "placed"
"""What `extra` of a record holds of an explanation: class names by index, and whether the frame is known."""
PAGE_DPI, NOTEBOOK_DPI = 150, 100
"""Dots per inch of the figure of a page, and of one that a notebook stores with each explanation that it shows."""


class Explanation(Explained):
    """The masks of one image, K explanations at A areas, and what the classifier says of them.

    Attributes:
        name: the name of the image, from which its random draws derive.
        image: the classifier's input before normalisation, c x h x w, values in [0, 1]; None if it is not known.
        masks: float16, k x a x h x w, values in [0, 1]; 1 keeps the pixel.
        areas: the fraction of the image that each mask keeps.
        target: the index of the explained class.
        rows: all scores, one dict per explanation and area, as in per_image.csv of a run.

    Args:
        record: everything that is known of the image.
        image: in place of the record's own.
        allow_targets: see `inr_xai.load`.
    """

    def __init__(self, record: SampleRecord, image: Image | None = None, allow_targets: Sequence[str] = ()):
        super().__init__(record, allow_targets)
        self.name, self.image = record.sample_id, record.image if image is None else image
        self._names: dict[str, str] = dict(record.extra.get(NAMES, {}))

    @property
    def target_name(self) -> str:
        """The name of the explained class, or `class <index>`."""
        return self.class_name(self.target)

    @property
    def top(self) -> list[tuple[int, str, float]]:
        """The most likely classes of the whole image, at most five: index, name and probability."""
        return [(int(index), self.class_name(int(index)), float(p)) for index, p in self.record.extra.get("top", [])]

    @property
    def predicted(self) -> int | None:
        """The index of the most likely class; None if the model gives scores of no classes."""
        return self.top[0][0] if self.top else None

    @property
    def whole(self) -> float:
        """p of the explained class for the whole image (with head="none", its score)."""
        return float(self.rows[0]["p_full"])

    @property
    def kept(self) -> Table:
        """p of the class, k x a, where only the hard mask is kept: means over four baselines, see docs/method.md."""
        return self.record.table("preservation_hard_mean")

    @property
    def removed(self) -> Table:
        """p of the class, k x a, where the hard mask is taken out."""
        return self.record.table("deletion_hard_mean")

    @property
    def chance(self) -> Table:
        """p of the class, k x a, where random masks of the same area are kept."""
        return self.record.table("chance")

    @property
    def carries(self) -> list[bool | None]:
        """Whether each explanation carries more than chance (s_k > c_k, docs/method.md); None if that is unknown."""
        return [None if math.isnan(value) else bool(value) for value in self.record.table("carries")[:, 0]]

    def class_name(self, index: int) -> str:
        """Returns the name of a class if it is known here, else `class <index>`."""
        return self._names.get(str(index), class_label(None, index))

    def mask(
        self,
        area: float,
        size: tuple[int, int] | int | None = None,
        explanation: int = 1,
        frame: str = "input",
    ) -> Float[Tensor, "h w"]:
        """Draws the mask of an explanation at any area, fitted or not, and any resolution; see `Explained.mask`.

        Raises:
            UserError: as there; or `frame` is image, and where the input lies in the photo is not known, because a
                callable of the caller made it.
        """
        if frame == "image" and not self.record.extra.get(PLACED, True):
            raise UserError(
                "frame='image': where the input lies in the photo is not known, because transform= is a callable of an "
                "unknown kind; give a Compose of Resize, CenterCrop and Normalize, or take frame='input'"
            )
        return super().mask(area, size, explanation=explanation, frame=frame)

    def save(self, path: str | Path) -> None:
        """Writes one file, atomically, which `load_explanation` reads: a run's masks file with the input itself."""
        self.record.image = self.image
        write_bytes(Path(path).expanduser(), pack_record(self.record))

    def plot(self, ax: Any = None, *, cell: float | None = None) -> Any:
        """Returns a matplotlib figure: the image, each explanation at each area, and the scores against the area.

        Args:
            ax: axes in which only the overlay of all explanations is drawn; their figure is returned.
            cell: width of one picture in inches; None fits the figure on a page. `inr_xai.figures.save_figure` writes
                the figure as PNG, PDF or SVG.

        Raises:
            UserError: the input is not stored with the masks.
        """
        from inr_xai.explanation.pictured import draw

        return draw(self, ax, cell=cell)

    def to_html(self, path: str | Path | None = None) -> str:
        """Returns a page that needs no other file, with the figure and the scores, and writes it if a path is given."""
        page = whole_page(self.name, fragment(self, dpi=PAGE_DPI))
        if path is not None:
            write_bytes(Path(path).expanduser(), page.encode())
        return page

    def _repr_html_(self) -> str:
        return fragment(self, dpi=NOTEBOOK_DPI)

    def __repr__(self) -> str:
        predicted = "" if self.predicted is None else ", predicted" if self.predicted == self.target else ""
        if self.predicted is not None and self.predicted != self.target:
            predicted = f", predicted {self.class_name(self.predicted)!r}"
        parts = [self._said(k) for k in range(len(self.masks))]
        return f"Explanation({self.name!r}: {self.target_name!r} p = {self.whole:.2f}{predicted}; {'; '.join(parts)})"

    def _said(self, k: int) -> str:
        """Returns what one explanation is worth, in words."""
        middle = len(self.areas) // 2
        where = sorted(range(len(self.areas)), key=self.areas.__getitem__)[middle]
        if self.carries[k] is False:
            return f"explanation {k + 1} carries no more than chance"
        kept, chance = float(self.kept[k, where]), float(self.chance[k, where])
        return f"{100 * self.areas[where]:.3g}% alone keep {kept:.2f} (chance {chance:.2f})"


def load_explanation(path: str | Path, image: Image | None = None, allow_targets: Sequence[str] = ()) -> Explanation:
    """Reads what `Explanation.save` wrote, or a masks file of a run.

    Args:
        image: the input, c x h x w, values in [0, 1], for a file of a run, which does not hold it.
        allow_targets: see `inr_xai.load`.

    Raises:
        UserError: the file is missing or damaged, or the image has not the size of the masks.
    """
    record = read_record(Path(path).expanduser())
    if image is not None and tuple(image.shape[-2:]) != tuple(record.masks.shape[-2:]):
        raise UserError(
            f"image has {tuple(image.shape[-2:])} pixels and the masks {tuple(record.masks.shape[-2:])}; give the input"
        )
    return Explanation(record, None if image is None else torch.as_tensor(image).float(), allow_targets)

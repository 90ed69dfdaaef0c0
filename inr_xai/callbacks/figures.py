"""One figure per image of a run, as `inr_xai.figures` draws it."""

import math

import numpy as np

from inr_xai.callbacks.base import RunCallback
from inr_xai.columns import P_FULL
from inr_xai.errors import UserError, listing, shown
from inr_xai.figures import FORMATS, FigureContent, draw_explanation, figure_bytes
from inr_xai.figures.pixels import pixels_of
from inr_xai.limits import require_numbers
from inr_xai.runs.files import write_bytes
from inr_xai.runs.masks_file import SampleRecord
from inr_xai.types import Image

NOTE = (
    "p: mean probability of the class where only the clear part is kept, over four fillings of the rest (blur, grey, "
    "noise, other photos)."
)


class Figures(RunCallback):
    """Writes `figures/<sample_id>.png` (or .pdf or .svg) and logs the PNG to W&B.

    Args:
        cell: width of a column of areas in inches, 1 to 6; None fits the figure on a page.
        format: png, pdf or svg. With W&B, which shows no other, a PNG is written as well.
        dpi: dots per inch, 50 to 1200; of a PDF or SVG, those of the photos in it.
    """

    def __init__(self, cell: float | None = None, format: str = "png", dpi: int = 200):
        require_numbers("callbacks", cell=cell, dpi=dpi)
        if format not in FORMATS:
            raise UserError(
                f"callbacks.figures.format={shown(format)} is not allowed; choose one of {listing(FORMATS)}"
            )
        self.cell, self.format, self.dpi = cell, format, dpi

    def on_sample(self, record: SampleRecord, image: Image) -> None:
        class_name = self.state.class_name(record.target)
        figure = draw_explanation(content_of(record, image, class_name), cell=self.cell)
        for format in sorted({self.format} | ({"png"} if self.state.wandb is not None else set())):
            data = figure_bytes(figure, format, dpi=self.dpi)
            file = self.state.folder.figure_file(record.sample_id, f".{format}")
            write_bytes(file, data, within=self.state.folder.begun)
            if self.state.wandb is not None and format == "png":
                title = f"{record.sample_id}: {class_name}"
                self.state.wandb.log_images("figures", {title: file}, images_done=self.state.images_done + 1)


def content_of(record: SampleRecord, image: Image, class_name: str) -> FigureContent:
    """Returns what the figure of an image shows.

    Args:
        image: the photo in the classifier's input frame, with values in [0, 1].
        class_name: the name of the class that is explained.
    """
    rows = {(row["explanation"], row["area"]): row for row in record.rows}
    table = [[rows.get((k + 1, area), {}) for area in record.areas] for k in range(len(record.masks))]

    def values(column: str) -> np.ndarray:
        numbers = [[row.get(column) for row in of_explanation] for of_explanation in table]
        return np.array([[math.nan if number is None else float(number) for number in line] for line in numbers])

    first = table[0][0]
    return FigureContent(
        photo=pixels_of(image),
        masks=record.masks.float().cpu().numpy(),
        areas=tuple(record.areas),
        whole=float(first[P_FULL]),
        kept=values("preservation_hard_mean"),
        removed=values("deletion_hard_mean"),
        chance=values("chance"),
        carries=tuple(of_explanation[0].get("carries") for of_explanation in table),
        target=class_name,
        predicted=first.get("predicted_name"),
        p_predicted=first.get("p_predicted"),
        right=first.get("right"),
        title=record.sample_id,
        note=NOTE,
    )

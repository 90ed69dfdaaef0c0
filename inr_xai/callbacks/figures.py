"""One figure per image: the image, and what each explanation keeps at each area, with the score above it."""

import io
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from inr_xai.callbacks.base import RunCallback
from inr_xai.limits import require_numbers
from inr_xai.runs.files import write_bytes
from inr_xai.runs.masks_file import SampleRecord
from inr_xai.types import Image

CONTOURS = ("#ffd400", "#00d5ff", "#ff5ec4", "#7dff5e")
"""The colours of the explanations' contours; the fifth explanation has the first colour again."""
SHADE = 0.22
"""Pixels that a mask does not keep have this part of their brightness."""


class Figures(RunCallback):
    """Writes `figures/<sample_id>.png` and logs it to W&B.

    Args:
        cell: width of one picture in the figure in inches, 0.5 to 6, at 100 dots an inch.
    """

    def __init__(self, cell: float = 2.1):
        require_numbers("callbacks", cell=cell)
        self.cell = cell

    def on_sample(self, record: SampleRecord, image: Image) -> None:
        title = f"{record.sample_id}: {self.state.class_name(record.target)}"
        data = draw_figure(record, image, title=title, cell=self.cell)
        file = self.state.folder.figure_file(record.sample_id)
        write_bytes(file, data, within=self.state.folder.begun)
        if self.state.wandb is not None:
            self.state.wandb.log_images("figures", {title: file}, images_done=self.state.images_done + 1)


def draw_figure(record: SampleRecord, image: Image, *, title: str, cell: float = 2.1) -> bytes:
    """Returns a PNG with a row per explanation and a column per area.

    Bright pixels are kept and dark ones are not; the line is the contour of the hard mask.
    """
    explanations, areas = record.masks.shape[:2]
    height, width = image.shape[-2:]
    row_height = cell * height / width + 0.3
    figure = Figure(figsize=(cell * (areas + 1), row_height * explanations + 0.6), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(explanations, areas + 1, squeeze=False)
    rows = {(row["explanation"], row["area"]): row for row in record.rows}
    photo = image.permute(1, 2, 0).clamp(0, 1).float().cpu().numpy()
    for k in range(explanations):
        first = axes[k][0]
        first.imshow(photo, interpolation="nearest")
        if k == 0:
            first.set_title(f"image: p = {record.rows[0]['p_full']:.2f}", fontsize=9)
        first.set_ylabel(f"explanation {k + 1}", fontsize=9, color="black")
        for a, area in enumerate(record.areas):
            row, mask = rows[(k + 1, area)], record.masks[k, a].float()
            _draw_mask(axes[k][a + 1], photo, mask, CONTOURS[k % len(CONTOURS)])
            caption = f"{area:.0%}: p = {row['preservation_hard_mean']:.2f} (chance {row['chance']:.2f})"
            axes[k][a + 1].set_title(caption, fontsize=9)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
        for spine in axis.spines.values():
            spine.set_visible(False)
    note = (
        "p: mean probability of the class when only the bright part is kept (blur, grey, noise, other photos around it)"
    )
    figure.suptitle(title, fontsize=11, parse_math=False)  # a file name may hold dollar signs
    figure.supxlabel(f"{note}; chance: random masks of the same area", fontsize=7, color="#555555")
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()


def _draw_mask(axis: Any, photo: np.ndarray, mask: Float[Tensor, "h w"], colour: str) -> None:
    """Draws what a mask keeps, and its contour unless it keeps everything or nothing."""
    axis.imshow(darken_outside(photo, mask.cpu().numpy()), interpolation="nearest")
    if bool((mask > 0.5).any()) and bool((mask <= 0.5).any()):
        axis.contour(mask.cpu().numpy(), levels=[0.5], colors=[colour], linewidths=1.2)


def darken_outside(photo: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Returns the photo with the pixels that the mask does not keep in dark grey; h x w x 3, values in [0, 1].

    >>> float(darken_outside(np.ones((1, 1, 3)), np.zeros((1, 1)))[0, 0, 0]) == SHADE
    True
    """
    grey = photo.mean(-1, keepdims=True) * SHADE
    weight = mask[..., None]
    return np.asarray(weight * photo + (1 - weight) * grey)


def strip(image: Image, masks: Float[Tensor, "a h w"]) -> np.ndarray:
    """Returns the overlays of an image's masks side by side, h x (a w) x 3, 8 bits."""
    photo = image.permute(1, 2, 0).clamp(0, 1).float().cpu().numpy()
    # A fit that diverged has NaN here, which 8 bits cannot hold.
    parts = [darken_outside(photo, mask.cpu().numpy()) for mask in masks.to(torch.float32).nan_to_num(0.0)]
    return np.asarray(np.concatenate(parts, axis=1) * 255, dtype=np.uint8)

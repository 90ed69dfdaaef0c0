"""One figure per image of an audit: the image, its explanations and, if the object is known, object and context."""

from jaxtyping import Bool
from torch import Tensor

from inr_xai.audit.report import ImageReport
from inr_xai.figures import figure_bytes
from inr_xai.figures.contours import draw_contour, draw_picture
from inr_xai.figures.palette import LIGHT_EDGE, colour_of
from inr_xai.figures.pixels import overlay, pixels_of
from inr_xai.figures.saving import new_figure
from inr_xai.types import Image

Panel = tuple[str, Bool[Tensor, "h w"] | None]
"""A title, and the mask that the panel shows; None for the whole image."""


def draw_audit(
    report: ImageReport,
    image: Image,
    regions: Bool[Tensor, "k h w"],
    *,
    truth: Bool[Tensor, "h w"] | None = None,
    width: float = 2.1,
) -> bytes:
    """Returns a PNG: the image, what each explanation keeps, and the parts of all of them on the object and beside it.

    Args:
        regions: the regions of the first fit.
        truth: the object with its seam; None if it is unknown.
        width: the width of a panel in inches, at 200 dots an inch.
    """
    panels = _panels(report, regions, truth)
    figure = new_figure(width * len(panels), width * image.shape[-2] / image.shape[-1] + 1)
    figure.set_layout_engine("constrained")
    photo = pixels_of(image)
    for place, (axis, (title, mask)) in enumerate(
        zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True)
    ):
        hard = None if mask is None else mask.float().cpu().numpy()
        draw_picture(axis, photo if hard is None else overlay(photo, hard), photo.shape[:2])
        if truth is not None:
            draw_contour(axis, truth.float().cpu().numpy(), LIGHT_EDGE, width=0.5)
        if hard is not None:
            draw_contour(axis, hard, colour_of(place - 1))
        axis.set_title(title, fontsize=8)
    figure.suptitle(_figure_title(report), fontsize=9, parse_math=False)
    return figure_bytes(figure)


def _panels(report: ImageReport, regions: Bool[Tensor, "k h w"], truth: Bool[Tensor, "h w"] | None) -> list[Panel]:
    shares = report.estimates.shapley_shares().tolist()
    panels: list[Panel] = [(f"image: p = {report.value('whole'):.2f}\nrest: {shares[-1]:.0%}", None)]
    for k in range(1, report.estimates.regions + 1):
        alone = f"alone {report.value('alone', k):.2f} (chance {report.chance[k - 1]:.2f})"
        title = f"explanation {k}: {shares[k - 1]:.0%}\n{alone}\nwithout {report.value('without', k):.2f}"
        panels.append((title, regions[k - 1]))
    if truth is None:
        return panels
    on, beside, _ = report.estimates.split_by_place()
    union = regions.any(0)
    return [*panels, (f"on the object:\n{on:.0%}", union & truth), (f"context:\n{beside:.0%}", union & ~truth)]


def _figure_title(report: ImageReport) -> str:
    verdict = report.verdict
    labels = [f"{verdict.evidence} ({verdict.confidence:.0%} sure)", *verdict.labels[1:]]
    if verdict.where is not None:
        labels.append(f"{verdict.where} ({verdict.where_confidence:.0%} sure)")
    name = report.class_name.partition(",")[0]  # the first of its synonyms
    return f"{report.sample_id}: {name}\n{', '.join(labels)}; per cents of the panels are Shapley shares of the class"

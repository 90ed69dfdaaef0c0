"""The figure of an explanation, as `inr_xai.figures` draws it. It is imported only if a figure is asked for."""

from typing import TYPE_CHECKING, Any

from inr_xai.errors import UserError
from inr_xai.figures import draw_explanation, figure_bytes
from inr_xai.runs.figure import content_of

if TYPE_CHECKING:
    from inr_xai.explanation.explanation import Explanation


def draw(explanation: "Explanation", axes: Any = None, *, cell: float | None = None) -> Any:
    """Returns the figure, or that of the axes. Raises UserError if there is no image to draw on."""
    if explanation.image is None:
        raise UserError(
            "the input is not stored with these masks; load_explanation(path, image=...) takes it, c x h x w in [0, 1]"
        )
    return draw_explanation(
        content_of(explanation.record, explanation.image, explanation.target_name), axes=axes, cell=cell
    )


def png(explanation: "Explanation", *, dpi: float) -> bytes:
    """Returns the figure as a PNG. Raises UserError if there is no image to draw on."""
    return figure_bytes(draw(explanation), "png", dpi=dpi)

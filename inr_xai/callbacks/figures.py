"""One figure per image of a run, as `inr_xai.figures` draws it."""

from inr_xai.callbacks.base import RunCallback
from inr_xai.errors import UserError, listing, shown
from inr_xai.figures import FORMATS, draw_explanation, figure_bytes
from inr_xai.limits import require_numbers
from inr_xai.runs.figure import content_of
from inr_xai.runs.files import write_bytes
from inr_xai.runs.masks_file import SampleRecord
from inr_xai.types import Image


class Figures(RunCallback):
    """Writes `figures/<sample_id>.png` (or .pdf or .svg).

    Args:
        cell: width of a column of areas in inches, 1 to 6; None fits the figure on a page.
        format: png, pdf or svg.
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
        data = figure_bytes(figure, self.format, dpi=self.dpi)
        figure.clear()  # its parts refer to each other, and their pixels would stay until Python looks for cycles
        file = self.state.folder.figure_file(record.sample_id, f".{self.format}")
        write_bytes(file, data, within=self.state.folder.begun)

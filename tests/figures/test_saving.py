"""Files of figures: the same bytes for the same figure, no dates, and matplotlib's settings as they were."""

import io
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import matplotlib
import pytest
from matplotlib.figure import Figure
from PIL import Image

from inr_xai.figures import FORMATS, draw_explanation, figure_bytes, save_figure
from inr_xai.figures.saving import SCREEN_DPI, SETTINGS, new_figure
from inr_xai.figures.text import write
from tests.helpers.figures import content

STARTS = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}


def small() -> Figure:
    """Returns a figure with a text and a line."""
    figure = new_figure(1, 1)
    figure.add_axes((0, 0, 1, 0.5)).plot([0, 1])
    write(figure, 0, 1, "tench")
    return figure


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
def test_the_same_figure_has_the_same_bytes_in_every_thread(format: str) -> None:
    def drawn(_: int) -> bytes:
        return figure_bytes(draw_explanation(content(1, (0.1,))), format, dpi=50)

    before = {name: matplotlib.rcParams[name] for name in SETTINGS}
    with ThreadPoolExecutor(2) as pool:
        first, *others = pool.map(drawn, range(2))
    assert others == [first]
    assert first.startswith(STARTS[format])
    assert not re.search(rb"/CreationDate|dc:date|tIME", first)
    assert {name: matplotlib.rcParams[name] for name in SETTINGS} == before


def test_a_notebook_shows_a_figure_as_a_picture() -> None:
    figure = draw_explanation(content(1, (0.1,)))
    assert figure._repr_png_() == figure_bytes(figure, dpi=SCREEN_DPI)
    with Image.open(io.BytesIO(figure._repr_png_())) as image:
        assert image.size == pytest.approx(tuple(figure.get_size_inches() * SCREEN_DPI), abs=1)


def test_fonts_of_a_pdf_are_truetype_and_an_svg_needs_none() -> None:
    figure = small()
    pdf = figure_bytes(figure, "pdf")
    assert b"/Type3" not in pdf
    assert b"/CIDFontType2" in pdf
    assert b"<text" not in figure_bytes(figure, "svg")


def test_dots_are_as_asked_for_unless_a_figure_is_huge() -> None:
    def size(width: float, height: float, dpi: float) -> tuple[int, int]:
        with Image.open(io.BytesIO(figure_bytes(new_figure(width, height), dpi=dpi))) as image:
            return image.size

    assert size(2, 1, 150) == (300, 150)
    assert size(1000, 0.5, 200) == (16_000, 8)


def test_a_figure_is_saved_to_a_path_or_a_stream(tmp_path: Path) -> None:
    figure, stream = small(), io.BytesIO()
    for format in FORMATS:
        save_figure(figure, tmp_path / f"a.{format}")
        assert (tmp_path / f"a.{format}").read_bytes() == figure_bytes(figure, format)
    save_figure(figure, str(tmp_path / "b"), "svg")
    assert (tmp_path / "b").read_bytes() == figure_bytes(figure, "svg")
    save_figure(figure, stream, dpi=60)
    assert stream.getvalue() == figure_bytes(figure, dpi=60)
    for path, format in ((tmp_path / "c", None), (tmp_path / "c.jpg", None), (stream, "eps")):
        with pytest.raises(ValueError, match="format must be one of png, pdf, svg"):
            save_figure(figure, path, format)
    with pytest.raises(ValueError, match="dpi must be above 0"):
        figure_bytes(figure, dpi=0)

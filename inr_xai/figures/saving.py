"""Figures as files: PNG, PDF or SVG, with the same bytes for the same figure."""

import io
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

FORMATS = ("png", "pdf", "svg")
DPI = 200
"""Dots per inch of a PNG, and of the photos in a PDF or SVG."""
MOST_DOTS = 16_000, 64_000_000
"""The most dots of a side, and of the whole figure; a larger one has fewer of them per inch."""
SCREEN_DPI = 100
"""Dots per inch of a figure that a notebook shows."""
UNDATED: dict[str, dict[str, Any]] = {"png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}
SETTINGS = {"pdf.fonttype": 42, "svg.hashsalt": "inr_xai", "savefig.bbox": None}
"""matplotlib's settings while a figure is written: TrueType fonts, which journals ask for, no random names, and all of
the figure."""
_LOCK = threading.Lock()


class ShownFigure(Figure):
    """A figure that a notebook shows as a picture, also before pyplot has been used there."""

    def _repr_png_(self) -> bytes:
        return figure_bytes(self, dpi=SCREEN_DPI)


def new_figure(width: float, height: float) -> Figure:
    """Returns an empty white figure of so many inches, outside pyplot's global state."""
    figure = ShownFigure(figsize=(width, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def figure_bytes(figure: Figure, format: str = "png", *, dpi: float = DPI) -> bytes:
    """Returns the content of a figure's file; no date and no random name is in it.

    Args:
        format: png, pdf or svg.
        dpi: dots per inch; a figure that would have more than 16,000 at a side, or 64 million in all, gets fewer.

    Raises:
        ValueError: the format is another one, or dpi is not above 0.
    """
    if format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}; got {format!r}")
    if not dpi > 0:
        raise ValueError(f"dpi must be above 0; got {dpi}")
    stream = io.BytesIO()
    width, height = figure.get_size_inches()
    dots = min(dpi, MOST_DOTS[0] / max(width, height), math.sqrt(MOST_DOTS[1] / (width * height)))
    with _settings():
        figure.savefig(stream, format=format, dpi=dots, metadata=UNDATED[format])
    return stream.getvalue()


@runtime_checkable
class Stream(Protocol):
    """What takes bytes, such as an open file."""

    def write(self, data: bytes, /) -> Any:
        """Takes some bytes."""


def save_figure(
    figure: Figure, path_or_stream: str | Path | Stream, format: str | None = None, *, dpi: float = DPI
) -> None:
    """Writes a figure to a path or a stream of bytes.

    Args:
        format: png, pdf or svg; None takes the ending of the path, and png for a stream.
        dpi: dots per inch.

    Raises:
        ValueError: the format is another one, or dpi is not above 0.
    """
    if isinstance(path_or_stream, str | Path):
        path = Path(path_or_stream)
        path.write_bytes(figure_bytes(figure, format or path.suffix.removeprefix(".").lower(), dpi=dpi))
    else:
        path_or_stream.write(figure_bytes(figure, format or "png", dpi=dpi))


@contextmanager
def _settings() -> Iterator[None]:
    """Sets matplotlib's settings for files, which it has for the whole process only, and sets them back."""
    settings: Any = matplotlib.rcParams
    with _LOCK:
        before = {name: settings[name] for name in SETTINGS}
        settings.update(SETTINGS)
        try:
            yield
        finally:
            settings.update(before)

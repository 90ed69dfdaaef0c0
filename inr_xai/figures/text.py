"""Text in figures: in one font, as it is written (a file's name holds no formula), and never wider than its place."""

from collections.abc import Sequence
from typing import Any

from matplotlib import font_manager
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

from inr_xai.figures.palette import INK

FAMILY = "DejaVu Sans"
"""The font that comes with matplotlib, so that a figure is the same on every machine."""
FINE = 1200
"""Dots per inch at which text is measured."""
SMALL, NORMAL, LARGE_TEXT = 7.0, 7.5, 9.0
"""Sizes of text in points; nothing is smaller than 7 points at the figure's size."""


def write(artist: Any, x: float, y: float, text: str, **style: Any) -> Text:
    """Writes text on a figure or axes, and returns it."""
    return artist.text(x, y, printable(text), **(TEXT | style))


def width_of(text: str, size: float, *, bold: bool = False) -> float:
    """Returns how wide a line of text is, in inches."""
    font = _font(bold)
    font.set_size(size, FINE)
    font.set_text(printable(text), 0.0)
    return float(font.get_width_height()[0]) / 64 / FINE


def shortened(text: str, inches: float, size: float, *, bold: bool = False) -> str:
    """Returns a text that is cut so that its line is no wider than that.

    >>> shortened("black widow, a spider", 1.0, 7.5)
    'black widow, a s…'
    """
    text = text[:500]
    if width_of(text, size, bold=bold) <= inches:
        return text
    fits, too_long = 0, len(text)
    while too_long - fits > 1:  # wider with every letter
        middle = (fits + too_long) // 2
        if width_of(text[:middle] + "…", size, bold=bold) <= inches:
            fits = middle
        else:
            too_long = middle
    return text[:fits].rstrip(" ,_-") + "…"


def first_that_fits(texts: Sequence[str], inches: float, size: float, *, bold: bool = False) -> str:
    """Returns the first of the texts that is no wider than that, or else the last one, cut."""
    fitting = (text for text in texts if width_of(text, size, bold=bold) <= inches)
    return next(fitting, shortened(texts[-1], inches, size, bold=bold))


def wrapped(text: str, inches: float, size: float) -> list[str]:
    """Returns the lines of a text, none of them wider than that."""
    lines: list[str] = []
    for word in text.split():
        if lines and width_of(f"{lines[-1]} {word}", size) <= inches:
            lines[-1] = f"{lines[-1]} {word}"
        else:
            lines.append(shortened(word, inches, size))
    return lines


def printable(text: str) -> str:
    """Returns a text with a mark in place of every character that the font lacks, of which matplotlib would warn."""
    known = _font().get_charmap()
    return "".join(
        letter if ord(letter) in known and letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text
    )


TEXT = {
    "family": FAMILY,
    "size": NORMAL,
    "color": INK,
    "ha": "left",
    "va": "top",
    "parse_math": False,
    "usetex": False,
}
"""How text looks unless it is said otherwise."""


def _font(bold: bool = False) -> FT2Font:
    # matplotlib keeps one such object for each thread.
    properties = font_manager.FontProperties(family=FAMILY, weight="bold" if bold else "normal")
    return font_manager.get_font(font_manager.findfont(properties))

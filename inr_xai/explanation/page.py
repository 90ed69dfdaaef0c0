"""An explanation as HTML: the figure, the most likely classes and the scores. Nothing is loaded from elsewhere."""

import base64
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inr_xai.explanation.explanation import Explanation

STYLE = (
    "font-family:system-ui,sans-serif;max-width:70rem;color:inherit",
    "border-collapse:collapse;margin:.5rem 0;font-variant-numeric:tabular-nums",
    "padding:.15rem .7rem;text-align:right;border-bottom:1px solid #8886",
)
"""Style of the whole, of a table, and of a cell; they stand in the elements, since notebooks drop style sheets."""


def fragment(explanation: "Explanation", *, dpi: float) -> str:
    """Returns a part of a page: the name, what the classifier says, the figure if there is an image, and a table.

    Args:
        dpi: dots per inch of the figure.
    """
    parts = [f"<h3>{escape(explanation.name)}: {escape(explanation.target_name)}, p = {explanation.whole:.3f}</h3>"]
    if explanation.top:
        classes = [f"{escape(name)} {p:.3f}" for _, name, p in explanation.top]
        parts.append(f"<p>The classifier says: {', '.join(classes)}.</p>")
    if explanation.image is not None:
        from inr_xai.explanation.pictured import png

        data = base64.b64encode(png(explanation, dpi=dpi)).decode()
        words = escape(repr(explanation), quote=True)
        parts.append(f'<img alt="{words}" style="max-width:100%" src="data:image/png;base64,{data}">')
    parts.append(_table(explanation))
    return f'<div style="{STYLE[0]}">{"".join(parts)}</div>'


def whole_page(title: str, body: str) -> str:
    """Returns a page of its own."""
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    return f"<!doctype html><html lang=en><head>{head}<title>{escape(title)}</title></head><body>{body}</body></html>\n"


def _table(explanation: "Explanation") -> str:
    heads = ("explanation", "area", "kept alone", "chance", "taken out", "carries more than chance")
    lines = ["".join(f'<th style="{STYLE[2]}">{head}</th>' for head in heads)]
    words = {True: "yes", False: "no", None: ""}
    for k in range(len(explanation.masks)):
        for a, area in enumerate(explanation.areas):
            values = (explanation.kept[k, a], explanation.chance[k, a], explanation.removed[k, a])
            cells = (str(k + 1), f"{area:g}", *(f"{value:.3f}" for value in values), words[explanation.carries[k]])
            lines.append("".join(f'<td style="{STYLE[2]}">{cell}</td>' for cell in cells))
    rows = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<table style="{STYLE[1]}">{rows}</table>'

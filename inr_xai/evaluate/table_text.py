"""The table of a paper as Markdown and as LaTeX."""

from math import isnan

from inr_xai.evaluate.paper_table import SIGNIFICANT, PaperTable, TableCell
from inr_xai.runs.files import markdown_table

ARROWS = {True: "↑", False: "↓", None: ""}
LATEX_ARROWS = {True: r" $\uparrow$", False: r" $\downarrow$", None: ""}
NOTE = (
    "Means over images (of the pointing game means over classes of each class's mean) with 95 % bootstrap intervals "
    "over images; the best is bold. An asterisk marks a mean that differs from the first method's with p < 0.05 "
    "(paired permutation test over images)."
)


def markdown(table: PaperTable) -> str:
    """Returns the table as Markdown, with a note below."""
    heads = [f"{column} {ARROWS[table.higher_is_better[column]]}".strip() for column in table.columns]
    rows = [[name, *map(_markdown_cell, cells)] for name, cells in table.rows.items()]
    return f"{markdown_table(['method', *heads], rows)}\n{NOTE} {_counts(table)}\n"


def latex(table: PaperTable) -> str:
    """Returns the table as LaTeX for the package booktabs, with the note as a comment."""
    heads = [escaped(column) + LATEX_ARROWS[table.higher_is_better[column]] for column in table.columns]
    lines = [r"\begin{tabular}{l" + "r" * len(heads) + "}", r"\toprule", " & ".join(["method", *heads]) + r" \\"]
    lines.append(r"\midrule")
    lines += [" & ".join([escaped(name), *map(_latex_cell, cells)]) + r" \\" for name, cells in table.rows.items()]
    lines += [r"\bottomrule", r"\end{tabular}", f"% {NOTE} {_counts(table)}"]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """Returns text in which the special characters of LaTeX are escaped.

    >>> escaped("iou/a0.1 50 %_x")
    'iou/a0.1 50 \\\\%\\\\_x'
    """
    return "".join("\\" + letter if letter in "&%$#_{}" else letter for letter in text)


def _markdown_cell(cell: TableCell | None) -> str:
    if cell is None:
        return "-"
    value = f"**{cell.value.value:.3f}**" if cell.best else f"{cell.value.value:.3f}"
    return value + _star(cell) + _ends(cell)


def _latex_cell(cell: TableCell | None) -> str:
    if cell is None:
        return "--"
    value = rf"\textbf{{{cell.value.value:.3f}}}" if cell.best else f"{cell.value.value:.3f}"
    return value + ("$^{*}$" if _star(cell) else "") + (rf" {{\scriptsize{_ends(cell)}}}" if _ends(cell) else "")


def _star(cell: TableCell) -> str:
    return "*" if cell.p is not None and cell.p < SIGNIFICANT else ""


def _ends(cell: TableCell) -> str:
    return "" if isnan(cell.value.low) else f" [{cell.value.low:.3f}, {cell.value.high:.3f}]"


def _counts(table: PaperTable) -> str:
    """Returns a sentence that says how many images each column is the mean of."""
    counts = {
        column: max((cells[place].images for cells in table.rows.values() if cells[place] is not None), default=0)  # type: ignore[union-attr]
        for place, column in enumerate(table.columns)
    }
    numbers = set(counts.values())
    if len(numbers) == 1:
        return f"{numbers.pop()} images."
    return "Images: " + ", ".join(f"{column} {count}" for column, count in counts.items()) + "."

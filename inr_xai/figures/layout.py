"""Where the parts of a figure lie, in inches from its top left corner; arithmetic alone, so that nothing overlaps.

From the top: the head (up to three lines), the band (the photo, all explanations, the curves), the grid (a row for each
explanation, a column for each area), and the foot (a note). With one or two areas, several explanations share a row.
"""

from dataclasses import dataclass, replace

PAGE_WIDTH, PAGE_HEIGHT = 5.5, 8.0
"""The text of a page, which a figure fills as long as its pictures are no narrower than `NARROW`."""
NARROW, WIDE = 1.05, 1.75
"""The width of a column of the grid, unless it is asked for."""
TALLEST = 1.4
"""The most height of a picture over the width of its column; a taller photo is drawn narrower."""
MARGIN, GAP, BETWEEN = 0.06, 0.06, 0.16
"""Around the figure, between two pictures, and between two explanations in one row."""
LINE, ROW_HEAD, AREA_HEAD = 0.15, 0.2, 0.17
"""Heights of a line of text, of an explanation's name above its pictures, and of the areas above the grid."""
BAND = 1.3
"""The width of the two pictures of the band."""
AXIS_LEFT, AXIS_BELOW, AXIS_GAP = 0.32, 0.34, 0.12
"""Room for the numbers and names of a chart's axes, and between two charts."""

Rectangle = tuple[float, float, float, float]
"""Left, top, width and height in inches."""


@dataclass(frozen=True)
class Layout:
    """The places of a figure with k explanations at a areas.

    Args:
        ratio: the photo's height over its width.
        head, foot: how many lines of text stand in the head and in the foot.
        caption: the width of what stands below each picture if it stands in one line; else it stands in two.
        side_by_side: how many explanations share a row.
        cell: the width of a column of the grid.
    """

    explanations: int
    areas: int
    ratio: float
    head: int
    foot: int
    caption: float
    side_by_side: int
    cell: float

    @property
    def caption_lines(self) -> int:
        """How many lines of text stand below each picture."""
        return 1 if self.caption <= self.cell else 2

    @property
    def block_width(self) -> float:
        """The width of all pictures of one explanation."""
        return self.areas * (self.cell + GAP) - GAP

    @property
    def width(self) -> float:
        """The width of the figure."""
        return max(PAGE_WIDTH, self._grid_width + 2 * MARGIN)

    @property
    def height(self) -> float:
        """The height of the figure."""
        return self._grid_top + AREA_HEAD + self._rows * self._row_height + self.foot * LINE + MARGIN

    @property
    def foot_top(self) -> float:
        """Where the note begins."""
        return self.height - self.foot * LINE - MARGIN / 2

    def band(self, place: int) -> Rectangle:
        """Returns the place of the photo (0) or of all explanations (1)."""
        return self._fitted(MARGIN + place * (BAND + GAP), self._band_top, BAND)

    def charts(self, count: int) -> list[Rectangle]:
        """Returns the places of so many charts side by side, without the room for their axes."""
        left = MARGIN + 2 * (BAND + GAP) + AXIS_LEFT
        width = (PAGE_WIDTH - MARGIN - left - (count - 1) * AXIS_GAP) / count
        height = max(self._band_height, 1.2) - AXIS_BELOW
        return [(left + place * (width + AXIS_GAP), self._band_top, width, height) for place in range(count)]

    def block(self, explanation: int) -> tuple[float, float]:
        """Returns the left and top corner of an explanation's name."""
        row, place = divmod(explanation, self.side_by_side)
        left = (self.width - self._grid_width) / 2 + place * (self.block_width + BETWEEN)
        return left, self._grid_top + AREA_HEAD + row * self._row_height

    def picture(self, explanation: int, area: int) -> Rectangle:
        """Returns the place of a picture of the grid, in the middle of its column."""
        left, top = self.block(explanation)
        return self._fitted(left + area * (self.cell + GAP), top + ROW_HEAD, self.cell)

    @property
    def _rows(self) -> int:
        return -(-self.explanations // self.side_by_side)

    @property
    def _grid_width(self) -> float:
        columns = min(self.side_by_side, self.explanations)
        return columns * (self.block_width + BETWEEN) - BETWEEN

    @property
    def _row_height(self) -> float:
        return ROW_HEAD + self.cell * min(self.ratio, TALLEST) + self.caption_lines * LINE + 0.1

    @property
    def _band_top(self) -> float:
        return MARGIN + self.head * (LINE + 0.02) + ROW_HEAD

    @property
    def _band_height(self) -> float:
        return BAND * min(self.ratio, TALLEST)

    @property
    def _grid_top(self) -> float:
        return self._band_top + max(self._band_height, 1.2) + 0.14

    def _fitted(self, left: float, top: float, width: float) -> Rectangle:
        narrower = width * min(1.0, TALLEST / self.ratio)
        return left + (width - narrower) / 2, top, narrower, narrower * self.ratio


def lay_out(
    explanations: int, areas: int, ratio: float, *, head: int, foot: int, caption: float, cell: float | None
) -> Layout:
    """Returns a layout that fills a page's width, but no more than its height, unless pictures would be too narrow.

    Args:
        cell: the width of a column of the grid in inches; None chooses it.
    """
    rows = -(-explanations // max(1, 4 // areas)) if areas < 3 else explanations
    abreast = -(-explanations // rows)
    room = (PAGE_WIDTH - 2 * MARGIN - (abreast - 1) * BETWEEN) / (abreast * areas) - GAP
    most = min(WIDE, room + GAP / areas)
    layout = Layout(explanations, areas, ratio, head, foot, caption, abreast, most if cell is None else cell)
    too_tall = max(0.0, layout.height - PAGE_HEIGHT) / rows / min(ratio, TALLEST)
    return layout if cell is not None else replace(layout, cell=max(NARROW, most - too_tall))

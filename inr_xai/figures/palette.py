"""The colours of all pictures.

The five colours of explanations were searched for by program: any two differ by at least 21.5 CIEDE2000, for normal
eyes as for deuteranopes and protanopes (Machado et al. 2009, severity 1), and each has WCAG's contrast of 3:1 on white.
"""

COLOURS = ("#dd7700", "#0099ee", "#880055", "#005500", "#0000ff")
"""Of the explanations, and of the lines of a chart; the sixth has the first colour again, and its number beside it."""
NOTHING = "#767676"
"""Of an explanation that carries no more than chance."""
DARK_EDGE, LIGHT_EDGE = "#101010", "#ffffff"
"""Of every contour: whatever is below, one of the two has a contrast of at least 3:1 on it."""
INK, FAINT = "#1a1a1a", "#595959"
"""Of text that is read first, and of notes, both on white."""


def colour_of(place: int) -> str:
    """Returns the colour of the explanation, or line, at a place that is counted from 0.

    >>> colour_of(1) == colour_of(6)
    True
    """
    return COLOURS[place % len(COLOURS)]

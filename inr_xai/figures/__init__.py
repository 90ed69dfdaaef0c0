"""Pictures of explanations, fit for a paper: one frozen record says what is drawn, and nothing here knows of runs.

Everything is drawn with matplotlib's objects, never with pyplot, so that threads may draw at the same time.
"""

from inr_xai.figures.content import FigureContent
from inr_xai.figures.explanation import draw_explanation
from inr_xai.figures.saving import FORMATS, figure_bytes, save_figure

__all__ = ["FORMATS", "FigureContent", "draw_explanation", "figure_bytes", "save_figure"]

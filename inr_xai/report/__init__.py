"""One page per run: a summary in sentences, a gallery, and each image with its masks at every area, in one HTML file.

`page_of` makes it of explanations in memory, `inr-xai report` (report.finished) of finished runs.
"""

from inr_xai.report.memory import page_of

__all__ = ["page_of"]

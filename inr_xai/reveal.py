"""What is replaced shines through at first: gradients then tell what a hidden pixel would add."""

from inr_xai.errors import UserError
from inr_xai.types import Masks


class Reveal:
    """The classifier sees the mask r + (1 - r) m, with r falling linearly from `start` to 0 at `until`.

    Behind a hard mask a classifier's gradient says little about regions that are hidden as a whole; through a veil it
    sees them, while what the mask keeps already has its full contrast.

    Args:
        start: r at the beginning, in [0, 1); 0 switches it off.
        until: the part of the fit, in (0, 1], after which nothing shines through.
    """

    def __init__(self, start: float = 0.5, *, until: float = 0.7):
        if not 0 <= start < 1 or not 0 < until <= 1:
            raise UserError(
                f"reveal needs start in [0, 1) and until in (0, 1]; got start={start:g} and until={until:g}"
            )
        self.start, self.until = start, until

    def __call__(self, masks: Masks, *, progress: float) -> Masks:
        """The masks as the classifier sees them at `progress` in [0, 1] of the fit.

        >>> import torch
        >>> float(Reveal(0.5)(torch.zeros(1, 1, 1, 1), progress=0.35))
        0.25
        """
        share = self.start * max(0.0, 1 - progress / self.until)
        return share + (1 - share) * masks if share else masks

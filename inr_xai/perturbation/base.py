"""The interface of perturbations: rules for what replaces the pixels that a mask hides.

A perturbation is bound once to the images and to the masks ("rows") of all steps; each step then draws a baseline for
each row.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from inr_xai.draws import Draws, Rows
from inr_xai.perturbation.shifts import Frames
from inr_xai.types import Images

Baselines = Float[Tensor, "n c #h #w"]
"""What replaces the pixels of n rows: kept(x, m) = m x + (1 - m) b."""
KeepRows = Callable[[Float[Tensor, "n h w"]], Images]
"""kept(x, m) of n rows, for a perturbation that is no blend with a baseline."""


@dataclass(frozen=True)
class Surroundings:
    """What a perturbation may use besides the images, in the units of the classifier's input.

    Args:
        colour_mean, colour_std: statistics per channel of the data that the classifier was trained on.
        donors: other photos, p x c x h x w, none of them a scoring baseline; None if there are none.
    """

    colour_mean: Float[Tensor, " c"]
    colour_std: Float[Tensor, " c"]
    donors: Images | None = None


class Perturbation(ABC):
    """A rule for what replaces pixels.

    A subclass has the method `bind`, and what that returns has `draw`. Neither may depend on an image's neighbours:
    what is random comes from `draws`, for the rows that it is needed for, best of all in `bind` for all steps at once.
    A step on an accelerator is fast if `draw` only indexes: it should read no tensor into Python, nor loop over rows.
    """

    needs_donors = False
    """Whether `bind` uses other photos."""

    @abstractmethod
    def bind(self, images: Images, around: Surroundings, draws: Draws, rows: Rows) -> "Bound":
        """Returns the rule for these images, with everything that all steps share (such as the blurred images).

        Args:
            draws: the random numbers of these images.
            rows: the masks of each step which the rule is asked for; in a mixture not all of them.
        """


class Bound(ABC):
    """A perturbation that is bound to images and rows."""

    @abstractmethod
    def draw(self, step: int, frames: Frames) -> Baselines | KeepRows:
        """Returns the baselines of the n rows of a step, in the order of `rows.rows[rows.at(step)]`.

        A rule that is no blend returns its function kept(m) for masks n x h x w of these rows. The masks are shifted
        by the jitter, so what belongs to places of the image is to be shifted too, by `frames(images, rows)`.
        """

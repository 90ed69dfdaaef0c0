"""What one figure shows: a photo, its explanations, and the numbers beside them."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class FigureContent:
    """A photo with k explanations at a areas each.

    Args:
        photo: h x w x 3, values in [0, 1]; a grey image has its values three times.
        masks: k x a x h x w, values in [0, 1], 1 keeps the pixel. NaN, of a fit that diverged, keeps nothing.
        areas: the fraction of the photo that each mask keeps, in the masks' order.
        whole: the score of the class for the whole photo.
        kept, removed, chance: k x a, the score where only the hard mask is kept, where it is taken out, and where a
            random mask of its area is kept; NaN where it is unknown.
        carries: whether each explanation carries more than chance; None where it is unknown.
        target: the name of the class that is explained.
        predicted: the name of the class that the classifier gives the photo; None where it is unknown.
        p_predicted: the probability of that class.
        right: whether that class is the photo's label; None where no label is known.
        title: the photo's name.
        score_name: what the scores are, a short name that stands before each.
        note: a sentence below the figure that says what the scores are.

    Raises:
        ValueError: the shapes do not fit together, or there is no explanation or no area.
    """

    photo: np.ndarray
    masks: np.ndarray
    areas: tuple[float, ...]
    whole: float
    kept: np.ndarray
    removed: np.ndarray
    chance: np.ndarray
    carries: tuple[bool | None, ...]
    target: str
    predicted: str | None = None
    p_predicted: float | None = None
    right: bool | None = None
    title: str = ""
    score_name: str = "p"
    note: str = ""

    def __post_init__(self) -> None:
        if self.photo.ndim != 3 or self.photo.shape[2] != 3 or self.photo.size == 0:
            raise ValueError(f"photo must be h x w x 3, with values in [0, 1]; got the shape {self.photo.shape}")
        if self.masks.ndim != 4 or self.masks.shape[2:] != self.photo.shape[:2] or 0 in self.masks.shape:
            raise ValueError(
                f"masks must be k x a x h x w, with the photo's height and width {self.photo.shape[:2]}; got the shape "
                f"{self.masks.shape}"
            )
        k, a = self.masks.shape[:2]
        if len(self.areas) != a:
            raise ValueError(f"areas must have an entry for each of the {a} masks of an explanation; got {self.areas}")
        for name in ("kept", "removed", "chance"):
            if getattr(self, name).shape != (k, a):
                raise ValueError(f"{name} must have the shape {(k, a)}; got {getattr(self, name).shape}")
        if len(self.carries) != k:
            raise ValueError(f"carries must have an entry for each of the {k} explanations; got {self.carries}")

    @property
    def middle(self) -> int:
        """The place of the middle area, the smaller one of two."""
        return (len(self.areas) - 1) // 2

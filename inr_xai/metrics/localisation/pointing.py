"""The pointing game: whether the largest value of a map lies on the object, or near it.

Zhang et al., "Top-Down Neural Attention by Excitation Backprop", IJCV 2018. The tolerance is in pixels of the photo in
its original size: bring maps back to it first (`inr_xai.data.transform.mask_to_image`).
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
import torchmetrics
from jaxtyping import Bool, Float, Int
from torch import Tensor

from inr_xai.blur import gaussian_blur
from inr_xai.masks import require_one_each
from inr_xai.metrics.base import set_apart
from inr_xai.metrics.inputs import Maps, Marked, OneChannel, finite_maps, tie_generators, without_channel
from inr_xai.metrics.localisation.segmentation import Truth, as_truth, labelled
from inr_xai.types import Targets

TRUNCATE = 4.0
"""The distance in sigmas at which the kernel of `smoothed` ends."""


def pointing_hits(
    maps: Maps, truth: Truth, *, generators: Sequence[torch.Generator], tolerance: float = 15.0
) -> Bool[Tensor, " b"]:
    """Returns whether a pixel of the object is nearer than `tolerance` to the map's peak; higher is better.

    The distance must be strictly smaller, as in TorchRay's benchmark. `peaks` chooses among several largest pixels.
    Give one map a call if photos differ in size. Raises ValueError for an image without object, and for NaN.

    Args:
        truth: the boxes (VOC) or the segmentation (COCO) of the class that the map explains.
        tolerance: distance in pixels between pixel centres; with 1 the peak itself must lie on the object.

    >>> maps, truth = torch.tensor([[[0.0, 0.0, 9.0]]]), torch.tensor([[[True, False, False]]])
    >>> [pointing_hits(maps, truth, generators=[torch.Generator()], tolerance=t).item() for t in (2, 2.1)]
    [False, True]
    """
    objects = labelled(truth, maps.shape)
    row, column = peaks(maps, generators=generators).unbind(1)
    down = torch.arange(maps.shape[1], device=maps.device) - row.unsqueeze(1)
    across = torch.arange(maps.shape[2], device=maps.device) - column.unsqueeze(1)
    near = down.square().unsqueeze(2) + across.square().unsqueeze(1) < tolerance**2
    return (objects & near).flatten(1).any(1)


def peaks(maps: Maps, *, generators: Sequence[torch.Generator]) -> Int[Tensor, "b 2"]:
    """Returns row and column of each map's largest value; one of them at random if several are largest.

    The first of them, which argmax returns, would always be the one to the upper left.

    Args:
        generators: one CPU generator per image; each draws one number.

    >>> peaks(torch.tensor([[[0.0, 2.0], [1.0, 0.0]]]), generators=[torch.Generator()]).tolist()
    [[0, 1]]
    """
    require_one_each(generators, len(maps))
    places = []
    for values, draw in zip(finite_maps(maps), generators, strict=True):
        largest = (values == values.max()).nonzero()
        places.append(largest[int(torch.randint(len(largest), (), generator=draw))])
    return torch.stack(places)


def smoothed(maps: Maps, sigma_fraction: float) -> Maps:
    """Returns the maps blurred by a Gaussian; they count as 0 outside, so that values at the border become smaller.

    TorchRay's benchmark smooths the masks of extremal perturbations in this way, by 0.09, in the size of the photo.

    Args:
        sigma_fraction: standard deviation as a share of the shorter side.
    """
    pixels = sigma_fraction * min(maps.shape[1:])
    # The blur mirrors at borders; with this margin it mirrors nothing but zeros.
    margin = math.ceil(TRUNCATE * pixels)
    blurred = gaussian_blur(F.pad(finite_maps(maps), [margin] * 4).unsqueeze(1), pixels, truncate=TRUNCATE)
    return blurred[:, 0, margin : margin + maps.shape[1], margin : margin + maps.shape[2]]


class PointingGame(torchmetrics.Metric):
    """Mean over the classes that occurred of each class's share of hits.

    The states `hits` and `trials` count hits and maps per class. Use another instance for the difficult part of a data
    set.

    Args:
        num_classes: the number of classes of the data set. With 1, `update` needs no targets, and the value is the
            share of hits.
        tolerance: distance in pixels, see `pointing_hits`.
        seed: seed of the choice among several peaks, if `update` gets no generators.
    """

    full_state_update = False
    higher_is_better = True
    is_differentiable = False
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0
    hits: Tensor
    trials: Tensor

    def __init__(self, num_classes: int = 1, *, tolerance: float = 15.0, seed: int = 0, **kwargs: Any):
        super().__init__(**kwargs)
        self.num_classes, self.tolerance, self.seed = num_classes, tolerance, seed
        set_apart(self, num_classes, tolerance, seed)
        for name in ("hits", "trials"):
            self.add_state(name, default=torch.zeros(num_classes, dtype=torch.long), dist_reduce_fx="sum")

    def update(
        self,
        maps: OneChannel,
        truth: Marked,
        targets: Targets | None = None,
        *,
        generators: Sequence[torch.Generator] | None = None,
    ) -> None:
        """Counts hits. Raises ValueError as `pointing_hits` does, and for a target that is no class."""
        values, (objects, _) = without_channel(maps), as_truth(truth, None)
        if targets is None and self.num_classes > 1:
            raise ValueError(f"expected the target of each map, as there are {self.num_classes} classes; got none")
        if targets is None:
            targets = torch.zeros(len(values), dtype=torch.long, device=values.device)
        if not ((targets >= 0) & (targets < self.num_classes)).all():
            raise ValueError(f"expected targets from 0 to {self.num_classes - 1}, got {targets.tolist()}")
        draws = tie_generators(values, self.seed) if generators is None else generators
        hits = pointing_hits(values, objects, generators=draws, tolerance=self.tolerance)
        classes = F.one_hot(targets.long(), self.num_classes)
        self.hits = self.hits + classes[hits].sum(0)
        self.trials = self.trials + classes.sum(0)

    def compute(self) -> Float[Tensor, ""]:
        occurred = self.trials > 0
        return (self.hits[occurred] / self.trials[occurred]).mean()

    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Draws a value, or several; see `MeanMetric.plot`."""
        return self._plot(val, ax)

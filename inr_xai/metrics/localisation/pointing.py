"""The pointing game: whether the largest value of a map lies on the object, or near it.

Zhang et al., "Top-Down Neural Attention by Excitation Backprop", IJCV 2018. The tolerance is measured on the
photo in its original size: maps are mapped back to it first (`inr_xai.data.transform.mask_to_image`).
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
from inr_xai.metrics.inputs import Maps, finite_maps
from inr_xai.metrics.localisation.segmentation import Truth, labelled
from inr_xai.types import Targets

TRUNCATE = 4.0  # sigmas at which the kernel of `smoothed` ends


def pointing_hits(
    maps: Maps, truth: Truth, *, generators: Sequence[torch.Generator], tolerance: float = 15.0
) -> Bool[Tensor, " b"]:
    """Whether a pixel of the object lies nearer than `tolerance` to the map's peak; higher is better.

    Strictly nearer, as in TorchRay's benchmark. `peaks` says which pixel is the peak where several are largest. With
    one map a call, photos may differ in size. Raises ValueError for an image without object, and for NaN.

    Args:
        truth: of the class that the map explains: its boxes (VOC) or its segmentation (COCO).
        tolerance: in pixels, between pixel centres; at 1 the peak itself must lie on the object.

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
    """Row and column of each map's largest value; where several are largest, one of them at random.

    The first of them, as argmax has it, would always lie to the upper left.

    Args:
        generators: one CPU generator per image, of which each draws one number.

    >>> peaks(torch.tensor([[[0.0, 2.0], [1.0, 0.0]]]), generators=[torch.Generator()]).tolist()
    [[0, 1]]
    """
    require_one_each(generators, len(maps))
    values = finite_maps(maps)
    found = []
    for one, draw in zip(values, generators, strict=True):
        tied = (one == one.max()).nonzero()
        found.append(tied[int(torch.randint(len(tied), (), generator=draw))])
    return torch.stack(found)


def smoothed(maps: Maps, sigma_fraction: float) -> Maps:
    """The maps, blurred by a Gaussian; outside they count as 0, so that what touches the border weighs less.

    TorchRay's benchmark smooths the masks of extremal perturbations so, by 0.09, in the photo's size.

    Args:
        sigma_fraction: standard deviation as a share of the shorter side.
    """
    pixels = sigma_fraction * min(maps.shape[1:])
    # The blur mirrors at borders; with this margin its kernel finds nothing but zeros there.
    margin = math.ceil(TRUNCATE * pixels)
    blurred = gaussian_blur(F.pad(finite_maps(maps), [margin] * 4).unsqueeze(1), pixels, truncate=TRUNCATE)
    return blurred[:, 0, margin : margin + maps.shape[1], margin : margin + maps.shape[2]]


class PointingGame(torchmetrics.Metric):
    """Mean over the classes that occurred of the share of hits among the maps of each class.

    States `hits` and `trials` count them per class. The difficult part of a data set is an instance of its own, which
    the caller gives nothing else.

    Args:
        num_classes: of the data set.
        tolerance: in pixels.
    """

    full_state_update = False
    higher_is_better = True
    is_differentiable = False
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0
    hits: Tensor
    trials: Tensor

    def __init__(self, num_classes: int, *, tolerance: float = 15.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.num_classes, self.tolerance = num_classes, tolerance
        for name in ("hits", "trials"):
            self.add_state(name, default=torch.zeros(num_classes, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, maps: Maps, truth: Truth, targets: Targets, *, generators: Sequence[torch.Generator]) -> None:
        """Raises ValueError as `pointing_hits` does, and for a target that is no class."""
        if not ((targets >= 0) & (targets < self.num_classes)).all():
            raise ValueError(f"expected targets from 0 to {self.num_classes - 1}, got {targets.tolist()}")
        hits = pointing_hits(maps, truth, generators=generators, tolerance=self.tolerance)
        classes = F.one_hot(targets.long(), self.num_classes)
        self.hits = self.hits + classes[hits].sum(0)
        self.trials = self.trials + classes.sum(0)

    def compute(self) -> Float[Tensor, ""]:
        occurred = self.trials > 0
        return (self.hits[occurred] / self.trials[occurred]).mean()

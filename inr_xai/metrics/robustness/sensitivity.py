"""How much an explanation changes if its image hardly changes.

Yeh et al., "On the (In)fidelity and Sensitivity of Explanations", NeurIPS 2019, definition 2; divided by the size of
the explanation, as in Captum and Quantus. An explanation is made for each draw, and one for the image as it is.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from inr_xai.masks import require_one_each
from inr_xai.metrics.base import MeanOfValues
from inr_xai.metrics.inputs import Explain, checked_maps
from inr_xai.types import Images, Targets


def max_sensitivity(
    explain: Explain,
    images: Images,
    targets: Targets,
    *,
    generators: Sequence[torch.Generator],
    radius: float = 0.02,
    draws: int = 10,
) -> Float[Tensor, " b"]:
    """Returns the maximum over draws of ||E(x + d) - E(x)|| / ||E(x)||, at least 0; lower is more robust.

    It grows with `draws`: compare values of one number of draws only. Arguments and errors are those of
    `relative_changes`.

    >>> maps = lambda images, targets: images.sum(1)
    >>> draw = torch.Generator().manual_seed(0)
    >>> x = torch.ones(1, 1, 2, 2)
    >>> bool(max_sensitivity(maps, x, torch.tensor([0]), generators=[draw], radius=0.1) <= 0.1)
    True
    """
    changes = relative_changes(explain, images, targets, generators=generators, radius=radius, draws=draws)
    return changes.amax(1)


def average_sensitivity(
    explain: Explain,
    images: Images,
    targets: Targets,
    *,
    generators: Sequence[torch.Generator],
    radius: float = 0.02,
    draws: int = 10,
) -> Float[Tensor, " b"]:
    """Returns the mean over draws of ||E(x + d) - E(x)|| / ||E(x)||, at least 0; lower is more robust.

    Arguments and errors are those of `relative_changes`.
    """
    changes = relative_changes(explain, images, targets, generators=generators, radius=radius, draws=draws)
    return changes.mean(1)


def relative_changes(
    explain: Explain,
    images: Images,
    targets: Targets,
    *,
    generators: Sequence[torch.Generator],
    radius: float = 0.02,
    draws: int = 10,
) -> Float[Tensor, "b d"]:
    """Returns ||E(x + d) - E(x)|| / ||E(x)|| of each draw d, with Frobenius norms.

    The maximum and the mean over draws are the two sensitivities. The value is NaN if E(x) is 0 everywhere. The
    perturbed images are not clipped to any range.

    Args:
        explain: is called draws + 1 times, each time with all images in the same order.
        generators: one CPU generator per image; its first draws do not depend on how many follow.
        radius: d is uniform in [-radius, radius] for each pixel and channel, in the units of the images.
    """
    require_one_each(generators, len(images))
    if draws < 1:
        raise ValueError(f"expected at least 1 draw, got {draws}")
    original = checked_maps(explain, images, targets).flatten(1)
    changes = []
    for _ in range(draws):
        perturbed = images + _uniform(images, radius, generators=generators)
        changes.append((checked_maps(explain, perturbed, targets).flatten(1) - original).norm(dim=1))
    size = original.norm(dim=1)
    return torch.stack(changes, dim=1) / size.where(size > 0, torch.nan).unsqueeze(1)


class MaxSensitivity(MeanOfValues):
    """Mean over images of `max_sensitivity`."""

    higher_is_better = False
    is_differentiable = False
    plot_lower_bound = 0.0


class AverageSensitivity(MeanOfValues):
    """Mean over images of `average_sensitivity`."""

    higher_is_better = False
    is_differentiable = False
    plot_lower_bound = 0.0


def _uniform(images: Images, radius: float, *, generators: Sequence[torch.Generator]) -> Images:
    drawn = torch.stack([torch.rand(images.shape[1:], generator=draw) for draw in generators])
    return (radius * (2 * drawn - 1)).to(images)

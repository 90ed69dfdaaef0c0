"""Asking the classifier about masked copies of images, a few at a time, whatever the images, masks and draws.

kept(x, m) = m x + (1 - m) b for every draw b of a baseline.
"""

import contextlib
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from inr_xai.types import Images, Logits, Targets

AnyMasks = Float[Tensor, "b q h w"] | Bool[Tensor, "b q h w"]


@runtime_checkable
class Classifier(Protocol):
    """What scoring needs of a classifier."""

    colour_mean: tuple[float, ...]

    def __call__(self, images: Images) -> Logits: ...

    def probability(self, logits: Logits, targets: Targets) -> Float[Tensor, " b"]: ...

    def frozen(self, device: torch.device, dtype: torch.dtype) -> contextlib.AbstractContextManager[Any]: ...


class MaskedModel:
    """A batch of images with the draws of their baselines, before a frozen classifier.

    Args:
        baselines: name -> draws of each image.
        masks_per_forward: masked copies that go through the classifier at once; nothing depends on it but memory.
    """

    def __init__(
        self,
        classifier: Classifier,
        images: Images,
        targets: Targets,
        *,
        baselines: Mapping[str, Float[Tensor, "b _d c h w"]],
        masks_per_forward: int,
    ):
        self.classifier, self.images, self.targets = classifier, images, targets
        self.names, self.counts = list(baselines), [draws.shape[1] for draws in baselines.values()]
        self.draws = torch.cat(list(baselines.values()), dim=1)
        self.masks_per_forward = masks_per_forward
        self.passes = 0
        """Images that went through the classifier so far."""

    def whole(self) -> Float[Tensor, " b"]:
        """p_t of the images as they are."""
        pairs = zip(self.images.split(self.masks_per_forward), self.targets.split(self.masks_per_forward), strict=True)
        return torch.cat([self._ask(images, targets) for images, targets in pairs])

    def means(self, masks: AnyMasks) -> dict[str, Float[Tensor, "b q"]]:
        """p_t of every image kept by each of its masks: per baseline, the mean over its draws."""
        every = torch.arange(sum(self.counts)).expand(masks.shape[1], -1)
        parts = self.probability(masks, every).split(self.counts, dim=-1)
        return {name: part.mean(-1) for name, part in zip(self.names, parts, strict=True)}

    def alternating(self, masks: AnyMasks) -> dict[str, Float[Tensor, " b"]]:
        """Mean of p_t over the masks: per baseline, the i-th mask under draw i mod the number of draws."""
        return dict(zip(self.names, self.in_turn(masks).mean(1).unbind(-1), strict=True))

    def in_turn(self, masks: AnyMasks) -> Float[Tensor, "b q n"]:
        """p_t of every mask under one draw of each baseline, the i-th under draw i mod the number of draws."""
        counts = torch.tensor(self.counts)
        return self.probability(masks, torch.arange(masks.shape[1]).unsqueeze(1) % counts + counts.cumsum(0) - counts)

    def probability(self, masks: AnyMasks, draws: Int[Tensor, "q e"]) -> Float[Tensor, "b q e"]:
        """p_t of image i kept by its mask j under its draw `draws[j, k]`; NaN where a logit is not finite."""
        sizes = len(self.images), *draws.shape
        cases = torch.cartesian_prod(*(torch.arange(size) for size in sizes))
        answers = []
        for some in cases.split(self.masks_per_forward):
            i, j, k = some.unbind(1)
            draw, i, j = draws[j, k].to(masks.device), i.to(masks.device), j.to(masks.device)
            weight = masks[i, j].unsqueeze(1).to(self.images.dtype)
            copies = weight * self.images[i] + (1 - weight) * self.draws[i, draw]
            answers.append(self._ask(copies, self.targets[i]))
        return torch.cat(answers).reshape(sizes)

    def _ask(self, images: Images, targets: Targets) -> Float[Tensor, " b"]:
        self.passes += len(images)
        logits = self.classifier(images)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        finite = logits.isfinite().all(1)
        return self.classifier.probability(logits, targets).where(finite, torch.nan)


def mean_over_baselines(game: str, means: Mapping[str, Float[Tensor, "b q"]]) -> dict[str, Float[Tensor, "b q"]]:
    """`<game>_<baseline>` of each baseline, and `<game>_mean`.

    >>> list(mean_over_baselines("chance", {"grey": torch.zeros(1, 1)}))
    ['chance_grey', 'chance_mean']
    """
    named = {f"{game}_{name}": value for name, value in means.items()}
    return named | {f"{game}_mean": torch.stack(list(means.values())).mean(0)}

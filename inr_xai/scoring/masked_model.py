"""The probability of a class on masked copies of an image, m x + (1 - m) b for every draw b of a baseline."""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from inr_xai.classifier.frozen import in_parts
from inr_xai.types import Classifier, Images, Targets

AnyMasks = Float[Tensor, "b q h w"] | Bool[Tensor, "b q h w"]


class MaskedModel:
    """A frozen classifier with a batch of images and their baselines, which is asked about masks of the images.

    Args:
        targets: the class of each image whose probability p_t is returned.
        baselines: name of the baseline -> draws for each image.
        masks_per_forward: masked copies that go through the classifier at once; only memory depends on it.
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
        """The number of images that went through the classifier so far."""

    def whole(self) -> Float[Tensor, " b"]:
        """Returns p_t of the images as they are."""

        def ask(some: slice) -> Tensor:
            return self._ask(self.images[some], self.targets[some])

        return torch.cat(self._in_parts(ask, len(self.images)))

    def means(self, masks: AnyMasks) -> dict[str, Float[Tensor, "b q"]]:
        """Returns p_t of each image and mask: baseline -> mean over its draws."""
        every = torch.arange(sum(self.counts)).expand(masks.shape[1], -1)
        parts = self.probability(masks, every).split(self.counts, dim=-1)
        return {name: part.mean(-1) for name, part in zip(self.names, parts, strict=True)}

    def alternating(self, masks: AnyMasks) -> dict[str, Float[Tensor, " b"]]:
        """Returns p_t of each image: baseline -> mean over the masks, each under the one draw of `in_turn`."""
        return dict(zip(self.names, self.in_turn(masks).mean(1).unbind(-1), strict=True))

    def in_turn(self, masks: AnyMasks) -> Float[Tensor, "b q n"]:
        """Returns p_t of each image, mask and baseline under one draw: mask i under draw i mod the number of draws."""
        counts = torch.tensor(self.counts)
        return self.probability(masks, torch.arange(masks.shape[1]).unsqueeze(1) % counts + counts.cumsum(0) - counts)

    def probability(self, masks: AnyMasks, draws: Int[Tensor, "q e"]) -> Float[Tensor, "b q e"]:
        """Returns p_t of each image under each mask and each draw of that mask; NaN if a logit is not finite.

        Args:
            draws: for each mask, the places of its draws among those of all baselines.
        """
        sizes = len(self.images), *draws.shape
        cases = torch.cartesian_prod(*(torch.arange(size) for size in sizes))

        def ask(some: slice) -> Tensor:
            image, mask, place = cases[some].unbind(1)
            draw, image, mask = draws[mask, place].to(masks.device), image.to(masks.device), mask.to(masks.device)
            weight = masks[image, mask].unsqueeze(1).to(self.images.dtype)
            copies = weight * self.images[image] + (1 - weight) * self.draws[image, draw]
            return self._ask(copies, self.targets[image])

        return torch.cat(self._in_parts(ask, len(cases))).reshape(sizes)

    def _in_parts(self, ask: Callable[[slice], Tensor], count: int) -> list[Tensor]:
        """Returns the answers for `count` masked copies; also of none, for which the classifier is asked as well."""
        return in_parts(ask, max(1, count), self.masks_per_forward, of=self.classifier)

    def _ask(self, images: Images, targets: Targets) -> Float[Tensor, " b"]:
        logits = self.classifier(images)
        self.passes += len(images)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        finite = logits.isfinite().all(1)
        return self.classifier.probability(logits, targets).where(finite, torch.nan)


def mean_over_baselines(game: str, means: Mapping[str, Float[Tensor, "b q"]]) -> dict[str, Float[Tensor, "b q"]]:
    """Returns the columns of a game: `<game>_<baseline>` for each baseline, and `<game>_mean`.

    >>> list(mean_over_baselines("chance", {"grey": torch.zeros(1, 1)}))
    ['chance_grey', 'chance_mean']
    """
    named = {f"{game}_{name}": value for name, value in means.items()}
    return named | {f"{game}_mean": torch.stack(list(means.values())).mean(0)}

"""What is read from the plays of one image: shares, what is concentrated, what lies on the object, and how sure it is.

METHOD, "The audit", in docs/method.md.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from inr_xai.audit.coalition_game import CoalitionGame
from inr_xai.metrics.statistics.bootstrap import Interval
from inr_xai.seeding import generator

SEAM = 1 / 16
"""Of the image's shorter side: an outline is seen from either side, so pixels this near count as the object's."""
LEVEL = 0.95
LEAST = 0.1
"""Of p_t: what restores less has no shares that are more than noise."""


@dataclass(frozen=True)
class AuditedImage:
    """An image with the plays of one or more fits of it, which differ in their seed alone.

    Args:
        plays: of each fit, a row for each baseline.
        on_object: of each fit, the share of every player (regions, then the rest) that lies on the object.
        object_share: of the image that the object covers.
        chances: of each fit, `chance`; None where there is none to exceed.
        area: of the image, that each region covers; 0 where regions are as small as any object.
    """

    plays: Sequence[CoalitionGame]
    on_object: Sequence[Float[Tensor, " _n"]] | None = None
    object_share: float | None = None
    chances: Sequence[Float[Tensor, "_r _g"]] | None = None
    area: float = 0.0

    @property
    def joint(self) -> list[float]:
        """Of each fit the mean of `CoalitionGame.joint`."""
        return [float(one.joint.double().mean()) for one in self.plays]

    @property
    def regions(self) -> int:
        """K, of the fit that has fewest: what all fits can be asked about."""
        return min(one.regions for one in self.plays)


def grown(segmentation: Bool[Tensor, "h w"]) -> Bool[Tensor, "h w"]:
    """The object with its seam."""
    reach = round(SEAM * min(segmentation.shape))
    square = F.max_pool2d(segmentation[None, None].float(), 2 * reach + 1, stride=1, padding=reach)
    return square[0, 0] > 0


def shares_on(players: Bool[Tensor, "n h w"], truth: Bool[Tensor, "h w"]) -> Float[Tensor, " n"]:
    """The share of each player's pixels that are True in `truth`; 0 for a player without pixels."""
    inside = (players & truth).sum((1, 2)).double()
    return inside / players.sum((1, 2)).clamp_min(1)


class Estimates:
    """Values over fits and baselines, each with the interval of a bootstrap over both.

    A resample draws fits and baselines with replacement and takes the mean of v(S) over their pairs; every value is
    computed from these means, so that values of one resample fit together. Where a fit has more regions than another,
    those beyond are part of the rest of the image, except where all regions of a fit are spoken of.
    """

    def __init__(self, image: AuditedImage, *, seed: int = 0, draws: int = 1000):
        self.image = image
        weights = _weights(len(image.plays), len(image.plays[0].values), seed=seed, draws=draws)
        self.regions = image.regions
        self._weights = [own.contiguous() for own in weights.unbind(1)]
        self._whole_plays = [self._mean(one, own) for one, own in zip(image.plays, self._weights, strict=True)]
        self._plays = [one.coarser(self.regions) for one in self._whole_plays]

    def interval(self, values: Float[Tensor, " d"]) -> Interval:
        """The value itself between the quantiles of the resamples; without ends where a resample has no value."""
        ends = (1 - LEVEL) / 2
        found = values[1:]
        if not bool(found.isfinite().all()):
            return Interval(float(values[0]), torch.nan, torch.nan)
        low, high = found.quantile(found.new_tensor([ends, 1 - ends])).tolist()
        return Interval(float(values[0]), low, high)

    def over(self, name: str, *arguments: int) -> Float[Tensor, " d"]:
        """A value of `CoalitionGame` by its name, the mean over fits: of everything first, then of each resample."""
        values = [getattr(one, name) for one in self._plays]
        called = [value(*arguments) if callable(value) else value for value in values]
        return self._sum(called)

    def shapley(self) -> Float[Tensor, "d n"]:
        """Shapley values of the players."""
        return self._sum(one.shapley for one in self._plays)

    def shares(self) -> Float[Tensor, " n"]:
        """The same of everything, as shares of v(everything) - v(nothing); NaN where these are equal."""
        return self._of_the_whole(self.shapley()[0])

    def together(self) -> Float[Tensor, " d"]:
        """v(all regions of a fit)."""
        return self._sum(one.union(one.regions) for one in self._whole_plays)

    def restored(self) -> Float[Tensor, " d"]:
        """What all regions restore of p_t over what is there without them: v(regions) - v(nothing)."""
        return self.together() - self.over("nothing")

    def left(self) -> Float[Tensor, " d"]:
        """v(all but the regions of a fit)."""
        return self._sum(one.remaining(one.regions) for one in self._whole_plays)

    def joint(self) -> Float[Tensor, " d"]:
        """`CoalitionGame.joint` of all regions of a fit: what they carry together."""
        return self._sum(one.joint for one in self._whole_plays)

    def chance(self) -> Float[Tensor, " d"]:
        """The same of random regions as large, the luckiest of them; -inf where there are none."""
        if self.image.chances is None:
            return torch.full_like(self.joint(), -torch.inf)
        pairs = zip(self.image.chances, self._weights, strict=True)
        return self._sum(weights @ one.cpu().double().T for one, weights in pairs).amax(1)

    def concentration(self) -> Float[Tensor, " d"]:
        """(v(1) - v(nothing)) / (v(regions) - v(nothing)); NaN where the regions restore less than `LEAST` of p_t."""
        restored = self.restored()
        share = (self.over("alone", 1) - self.over("nothing")) / restored
        return share.where(restored > LEAST * self.over("whole"), torch.nan)

    def object_evidence(self) -> Float[Tensor, " d"]:
        """Sum over explanations of own(k) / p_t (s_k - s) / (m - s): what lies on the object beyond its size's due.

        own(k) is `CoalitionGame.own`, s_k the share of region k on the object (with its seam), s that of the whole image, and m
        the largest share that a region can have: 1, or less where the object is smaller than a region. So it is own(k)
        for a region that lies on the object alone, whatever the object's size, about 0 for evidence that lies anywhere
        alike, and negative where it avoids the object. NaN where the object is all of the image.
        """
        values = torch.zeros_like(self.over("whole"))
        for one, excess in zip(self._plays, self.excess(), strict=True):
            for k in range(1, self.regions + 1):
                values += one.own(k) * excess[k - 1]
        return values / self.over("whole")

    def excess(self) -> list[Float[Tensor, " _n"]]:
        """Of each fit and player (s_k - s) / (m - s), see `object_evidence`."""
        assert self.image.on_object is not None
        assert self.image.object_share is not None
        size, area = self.image.object_share, self.image.area
        most = min(1.0, size / area) if area else 1.0
        span = most - size if most > size else torch.nan
        return [(own - size) / span for own in self.image.on_object]

    def split(self) -> tuple[float, float, float]:
        """Of v(everything) - v(nothing): the part on the object, the part beside it, and that of the rest."""
        assert self.image.on_object is not None
        parts = torch.zeros(3, dtype=torch.float64)
        for one, on_object in zip(self._plays, self.image.on_object, strict=True):
            values = one.shapley[0]
            own = values[: one.regions] * on_object[: one.regions].to(values)
            parts += torch.stack([own.sum(), values[: one.regions].sum() - own.sum(), values[one.regions]])
        on, beside, rest = self._of_the_whole(parts).tolist()
        return on, beside, rest

    @staticmethod
    def _sum(parts: Iterable[Tensor]) -> Tensor:
        """Of the fits, whose weights make it a mean."""
        return torch.stack(list(parts)).sum(0)

    def _of_the_whole(self, values: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        whole = (self.over("whole") - self.over("nothing"))[0]
        return (values / whole).where(whole != 0, torch.nan)

    def _mean(self, one: CoalitionGame, weights: Float[Tensor, "d b"]) -> CoalitionGame:
        """The part of one fit in every resample's mean."""
        return CoalitionGame(weights.to(one.values.cpu().double()) @ one.values.cpu().double(), one.regions)


def _weights(fits: int, baselines: int, *, seed: int, draws: int) -> Float[Tensor, "d f b"]:
    """How much each pair counts: all alike first, then as often as both were drawn."""
    random = generator(seed, "audit")
    counts = [
        F.one_hot(torch.randint(many, (draws, many), generator=random), many).sum(1).double() / many
        for many in (fits, baselines)
    ]
    resampled = counts[0][:, :, None] * counts[1][:, None, :]
    every = torch.full((1, fits, baselines), 1 / (fits * baselines), dtype=torch.float64)
    return torch.cat([every, resampled])

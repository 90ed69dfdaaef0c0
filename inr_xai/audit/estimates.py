"""What is computed from the games of one image: shares, concentration, evidence on the object, each with an interval.

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
"""Width of the seam around an object, as a part of the image's shorter side: an outline is seen from either side."""
CONFIDENCE = 0.95
"""Level of the intervals."""
LEAST_RESTORED = 0.1
"""Part of p_t: explanations that restore less together have no shares that are more than noise."""


@dataclass(frozen=True)
class AuditedImage:
    """An image with the games of one or more fits of it, which differ in their seed alone.

    Args:
        games: the game of each fit, with a row for each baseline.
        on_object: for each fit, the share of every player's pixels (the regions, then the rest) that lie on the object,
            in [0, 1]; None if the object is unknown.
        object_share: the share of the image that the object covers, in [0, 1].
        random_values: for each fit, the result of `random_region_values`; None if no random regions were measured.
        area: the part of the image that each region covers; 0 if regions are as small as any object.
    """

    games: Sequence[CoalitionGame]
    on_object: Sequence[Float[Tensor, " _n"]] | None = None
    object_share: float | None = None
    random_values: Sequence[Float[Tensor, "_r _g"]] | None = None
    area: float = 0.0

    @property
    def joint(self) -> list[float]:
        """For each fit, the mean of `CoalitionGame.joint` over the baselines."""
        return [float(game.joint.double().mean()) for game in self.games]

    @property
    def regions(self) -> int:
        """The smallest number of regions among the fits: those that every fit has."""
        return min(game.regions for game in self.games)


def add_seam(segmentation: Bool[Tensor, "h w"]) -> Bool[Tensor, "h w"]:
    """Returns the object with its seam: all pixels at most round(SEAM * shorter side) rows and columns from it."""
    reach = round(SEAM * min(segmentation.shape))
    grown = F.max_pool2d(segmentation[None, None].float(), 2 * reach + 1, stride=1, padding=reach)
    return grown[0, 0] > 0


def shares_on_object(players: Bool[Tensor, "n h w"], truth: Bool[Tensor, "h w"]) -> Float[Tensor, " n"]:
    """Returns the share of each player's pixels that lie on the object; 0 for a player without pixels.

    Args:
        truth: the object, with its seam.
    """
    inside = (players & truth).sum((1, 2)).double()
    return inside / players.sum((1, 2)).clamp_min(1)


class Estimates:
    """Means over the fits and baselines of an image, each with 1,000 bootstrap resamples of both.

    A resample draws fits and baselines with replacement and takes the mean of v(S) over their pairs. Every value is
    computed from these means, so that the values of one resample fit together. Each method returns the value of
    everything first, then that of each resample ("d" values in all), unless it says otherwise.

    If a fit has more regions than another, the additional regions count as part of the rest of the image. The values of
    all regions together (`all_kept`, `restored`, `all_removed`, `joint`) are those of all regions of each fit.
    """

    def __init__(self, image: AuditedImage, *, seed: int = 0, draws: int = 1000):
        self.image = image
        self.regions = image.regions
        weights = _resampling_weights(len(image.games), len(image.games[0].values), seed=seed, draws=draws)
        self._weights = [fit_weights.contiguous() for fit_weights in weights.unbind(1)]
        self._games: list[CoalitionGame] = []
        """Each fit's part of the mean game, of everything and of each resample."""
        for game, fit_weights in zip(image.games, self._weights, strict=True):
            values = game.values.cpu().double()
            self._games.append(CoalitionGame(fit_weights.to(values) @ values, game.regions))
        self._common_games = [game.merge_after(self.regions) for game in self._games]

    def interval(self, values: Float[Tensor, " d"]) -> Interval:
        """Returns the value of everything between the quantiles of the resamples; the ends are NaN if a resample is."""
        tail = (1 - CONFIDENCE) / 2
        resampled = values[1:]
        if not bool(resampled.isfinite().all()):
            return Interval(float(values[0]), torch.nan, torch.nan)
        low, high = resampled.quantile(resampled.new_tensor([tail, 1 - tail])).tolist()
        return Interval(float(values[0]), low, high)

    def mean(self, name: str, *arguments: int) -> Float[Tensor, " d"]:
        """Returns the mean of a value of `CoalitionGame`.

        Args:
            name: the name of a property ("whole") or method ("alone").
            arguments: the arguments of the method.
        """
        members = [getattr(game, name) for game in self._common_games]
        return self._sum_fits(member(*arguments) if callable(member) else member for member in members)

    def shapley(self) -> Float[Tensor, "d n"]:
        """Returns the Shapley values of the players."""
        return self._sum_fits(game.shapley for game in self._common_games)

    def shapley_shares(self) -> Float[Tensor, " n"]:
        """Returns the Shapley values of everything as shares of v(everything) - v(nothing); NaN if that is 0."""
        return self._share_of_difference(self.shapley()[0])

    def all_kept(self) -> Float[Tensor, " d"]:
        """Returns the mean of v if all regions of a fit are kept and the rest of the image is replaced."""
        return self._sum_fits(game.union(game.regions) for game in self._games)

    def restored(self) -> Float[Tensor, " d"]:
        """Returns what all regions restore over what the baseline alone has: v(regions) - v(nothing)."""
        return self.all_kept() - self.mean("nothing")

    def all_removed(self) -> Float[Tensor, " d"]:
        """Returns the mean of v if all regions of a fit are replaced and the rest of the image is kept."""
        return self._sum_fits(game.remaining(game.regions) for game in self._games)

    def joint(self) -> Float[Tensor, " d"]:
        """Returns the contribution of all regions of a fit together (`CoalitionGame.joint`)."""
        return self._sum_fits(game.joint for game in self._games)

    def random_joint(self) -> Float[Tensor, " d"]:
        """Returns the largest contribution of the random regions; -inf if the image has no random regions."""
        if self.image.random_values is None:
            return torch.full_like(self.joint(), -torch.inf)
        pairs = zip(self.image.random_values, self._weights, strict=True)
        return self._sum_fits(weights @ values.cpu().double().T for values, weights in pairs).amax(1)

    def concentration(self) -> Float[Tensor, " d"]:
        """Returns the part that explanation 1 has of what all regions restore.

        It is (v(1) - v(nothing)) / (v(regions) - v(nothing)), and NaN if the regions restore less than LEAST_RESTORED
        of p_t.
        """
        restored = self.restored()
        share = (self.mean("alone", 1) - self.mean("nothing")) / restored
        return share.where(restored > LEAST_RESTORED * self.mean("whole"), torch.nan)

    def object_evidence(self) -> Float[Tensor, " d"]:
        """Returns E of METHOD: the evidence on the object, beyond what the size of the object explains.

        E is the sum over explanations of own(k) / p_t (s_k - s) / (m - s). own(k) is `CoalitionGame.contribution`, s_k
        the share of region k on the object (with its seam), s that of the whole image, and m the largest share that a
        region can have: 1, or less if the object is smaller than a region. A region on the object alone counts with all
        of own(k), whatever the object's size. Evidence that lies anywhere alike gives about 0; evidence that avoids the
        object gives a negative value. E is NaN if the object is all of the image.
        """
        values = torch.zeros_like(self.mean("whole"))
        for game, excess in zip(self._common_games, self.excess_on_object(), strict=True):
            for k in range(1, self.regions + 1):
                values += game.contribution(k) * excess[k - 1]
        return values / self.mean("whole")

    def excess_on_object(self) -> list[Float[Tensor, " _n"]]:
        """Returns (s_k - s) / (m - s) for each fit and player; `object_evidence` has the symbols."""
        assert self.image.on_object is not None
        assert self.image.object_share is not None
        size, area = self.image.object_share, self.image.area
        largest = min(1.0, size / area) if area else 1.0
        span = largest - size if largest > size else torch.nan
        return [(shares - size) / span for shares in self.image.on_object]

    def split_by_place(self) -> tuple[float, float, float]:
        """Returns the Shapley shares by place: regions on the object, regions beside it, and the rest of the image.

        Each is a part of v(everything) - v(nothing), and NaN if that is 0.
        """
        assert self.image.on_object is not None
        parts = torch.zeros(3, dtype=torch.float64)
        for game, shares in zip(self._common_games, self.image.on_object, strict=True):
            values = game.shapley[0]
            on_object = (values[: game.regions] * shares[: game.regions].to(values)).sum()
            parts += torch.stack([on_object, values[: game.regions].sum() - on_object, values[game.regions]])
        on, beside, rest = self._share_of_difference(parts).tolist()
        return on, beside, rest

    @staticmethod
    def _sum_fits(parts: Iterable[Tensor]) -> Tensor:
        """Returns the sum over fits, which is their mean because the resampling weights sum to 1."""
        return torch.stack(list(parts)).sum(0)

    def _share_of_difference(self, values: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Returns values as shares of v(everything) - v(nothing)."""
        difference = (self.mean("whole") - self.mean("nothing"))[0]
        return (values / difference).where(difference != 0, torch.nan)


def _resampling_weights(fits: int, baselines: int, *, seed: int, draws: int) -> Float[Tensor, "d f b"]:
    """Returns the weight of each pair of a fit and a baseline: all alike first, then as often as both were drawn."""
    random = generator(seed, "audit")
    parts = [
        F.one_hot(torch.randint(count, (draws, count), generator=random), count).sum(1).double() / count
        for count in (fits, baselines)
    ]
    resampled = parts[0][:, :, None] * parts[1][:, None, :]
    everything = torch.full((1, fits, baselines), 1 / (fits * baselines), dtype=torch.float64)
    return torch.cat([everything, resampled])

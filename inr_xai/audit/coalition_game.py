"""The game of an image's disjoint regions: what the classifier says of every set of them, under the same baselines.

METHOD, "Decomposition", in docs/method.md. All that the audit says of an image is read from these numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from inr_xai.errors import UserError
from inr_xai.masks import hard_masks
from inr_xai.metrics.statistics.shapley import coalitions, shapley_values
from inr_xai.scoring.masked_model import MaskedModel
from inr_xai.scoring.random_masks import smooth_fields
from inr_xai.seeding import generator

CHANCES = 4
"""Random regions that an image's own are compared with."""


@dataclass(frozen=True)
class CoalitionGame:
    """v(S), the probability of the class where a set S of players is kept and the rest is replaced.

    The players are the K regions in turn, then the rest of the image.

    Args:
        values: in the order of `coalitions`, one row for each way of replacing pixels (baseline, or baseline and seed).
        regions: K.
    """

    values: Float[Tensor, "g c"]
    regions: int

    @property
    def whole(self) -> Float[Tensor, " g"]:
        """p_t of the image; the same for every baseline."""
        return self.values[:, -1]

    @property
    def nothing(self) -> Float[Tensor, " g"]:
        """p_t of the baseline alone."""
        return self.values[:, 0]

    def alone(self, k: int) -> Float[Tensor, " g"]:
        """Explanation k, from 1, is kept alone."""
        return self.kept([k])

    def without(self, k: int) -> Float[Tensor, " g"]:
        """Explanation k alone is replaced."""
        return self.values[:, self.values.shape[1] - 1 - (1 << (k - 1))]

    def union(self, k: int) -> Float[Tensor, " g"]:
        """Explanations 1 to k are kept."""
        return self.kept(range(1, k + 1))

    def remaining(self, k: int) -> Float[Tensor, " g"]:
        """Explanations 1 to k are replaced."""
        return self.values[:, self.values.shape[1] - (1 << k)]

    def kept(self, explanations: Sequence[int]) -> Float[Tensor, " g"]:
        """These explanations are kept alone."""
        return self.values[:, sum(1 << (k - 1) for k in explanations)]

    @property
    def shapley(self) -> Float[Tensor, "g n"]:
        """The Shapley value of each region, then of the rest; they sum to whole - nothing."""
        return shapley_values(self.values)

    def own(self, k: int) -> Float[Tensor, " g"]:
        """The Shapley value of explanation k against all else: what it restores and what is missing without it.

        Half of v(k) - v(nothing) + v(everything) - v(all but k), which neither a mask that only draws the class nor one
        that only destroys it can bring to p_t, and which evidence that is there twice still has half of.
        """
        return (self.alone(k) - self.nothing + self.whole - self.without(k)) / 2

    def coarser(self, k: int) -> "CoalitionGame":
        """The game of the first k regions alone, in which the others are part of the rest.

        >>> Play(torch.arange(8.0)[None], 2).coarser(1).values.tolist()
        [[0.0, 1.0, 6.0, 7.0]]
        """
        return CoalitionGame(torch.cat([self.values[:, : 1 << k], self.values[:, -1 << k :]], 1), k)

    @property
    def joint(self) -> Float[Tensor, " g"]:
        """The same of all regions as one player."""
        return (self.union(self.regions) - self.nothing + self.whole - self.remaining(self.regions)) / 2


def players_of(regions: Bool[Tensor, "k h w"]) -> Bool[Tensor, "n h w"]:
    """The regions and the rest of the image. Raises UserError where regions share a pixel."""
    if int(regions.sum(0).max()) > 1:
        raise UserError("its explanations share pixels; fit them again with exclusion.mode=exclude")
    return torch.cat([regions, ~regions.any(0, keepdim=True)])


def play_coalitions(trial: MaskedModel, regions: Bool[Tensor, "k h w"]) -> CoalitionGame:
    """Plays all 2^(K+1) sets of an image's regions and the rest, every set under the same draws.

    Args:
        trial: of this one image, in the frame of the regions; its draws of a baseline are averaged.
        regions: disjoint.
    """
    players = players_of(regions)
    among = coalitions(len(players)).to(players.device)
    kept = (among[:, :, None, None] & players).any(1)
    means = trial.means(kept.unsqueeze(0))
    return CoalitionGame(torch.stack([means[name][0] for name in trial.names]), len(regions))


def chance(
    trial: MaskedModel, regions: Bool[Tensor, "k h w"], played: CoalitionGame, *, sample_id: str, seed: int
) -> Float[Tensor, "r g"]:
    """`CoalitionGame.joint` of each of `CHANCES` random smooth regions that are as large as all of an image's own together.

    What any hole of this size takes away, and any patch of it restores; each under one draw of a baseline.

    Args:
        played: of `regions`, which knows what is there of the whole image and of nothing.
        sample_id, seed: name the random regions.
    """
    draw = generator(seed, sample_id, "audit", "chance")
    height, width = regions.shape[-2:]
    fields = smooth_fields((height, width), generators=[draw], count=CHANCES).to(regions.device)
    share = regions.any(0).double().mean().expand(CHANCES)
    masks = hard_masks(fields, share, generators=[draw])
    kept, removed = (trial.in_turn(one)[0] for one in (masks, ~masks))
    return (kept - removed - played.nothing + played.whole) / 2

"""The game of an image's disjoint regions: the probability of the class for every set, under the same baselines.

METHOD, "Decomposition", in docs/method.md. All that the audit says of an image is computed from these numbers.
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

RANDOM_REGIONS = 4
"""How many random regions the regions of an image are compared with."""


@dataclass(frozen=True)
class CoalitionGame:
    """v(S), the probability of the class if a set S of players is kept and the rest of the image is replaced.

    The players are the K regions in turn (explanations 1 to K), then the rest of the image. Every method and property
    returns one value for each row of `values`.

    Args:
        values: v(S) in [0, 1], in the order of `coalitions`; a row for each way of replacing pixels (a baseline, or a
            baseline and a seed).
        regions: K, the number of regions.
    """

    values: Float[Tensor, "g c"]
    regions: int

    @property
    def whole(self) -> Float[Tensor, " g"]:
        """The probability for the whole image, which is the same for every baseline."""
        return self.values[:, -1]

    @property
    def nothing(self) -> Float[Tensor, " g"]:
        """The probability for the baseline alone."""
        return self.values[:, 0]

    def alone(self, k: int) -> Float[Tensor, " g"]:
        """Returns v if explanation k, counted from 1, is kept alone."""
        return self.value_of([k])

    def without(self, k: int) -> Float[Tensor, " g"]:
        """Returns v if explanation k alone is replaced."""
        return self.values[:, self.values.shape[1] - 1 - (1 << (k - 1))]

    def union(self, k: int) -> Float[Tensor, " g"]:
        """Returns v if explanations 1 to k are kept."""
        return self.value_of(range(1, k + 1))

    def remaining(self, k: int) -> Float[Tensor, " g"]:
        """Returns v if explanations 1 to k are replaced."""
        return self.values[:, self.values.shape[1] - (1 << k)]

    def value_of(self, explanations: Sequence[int]) -> Float[Tensor, " g"]:
        """Returns v if these explanations are kept, and nothing else."""
        return self.values[:, sum(1 << (k - 1) for k in explanations)]

    @property
    def shapley(self) -> Float[Tensor, "g n"]:
        """The Shapley value of each region, then of the rest of the image; they sum to whole - nothing."""
        return shapley_values(self.values)

    def contribution(self, k: int) -> Float[Tensor, " g"]:
        """Returns own(k) of METHOD, the Shapley value of explanation k in a game of two players: k, and all else.

        It is half of v(k) - v(nothing) + v(everything) - v(all but k): what explanation k restores, and what is missing
        without it. A mask that only draws the class, or only destroys it, cannot bring this to p_t. Evidence that the
        image shows twice still has half of its value.
        """
        return (self.alone(k) - self.nothing + self.whole - self.without(k)) / 2

    @property
    def joint(self) -> Float[Tensor, " g"]:
        """The contribution of all regions together, as if they were one player."""
        return (self.union(self.regions) - self.nothing + self.whole - self.remaining(self.regions)) / 2

    def merge_after(self, k: int) -> "CoalitionGame":
        """Returns the game of the first k regions, in which all later regions belong to the rest of the image.

        >>> CoalitionGame(torch.arange(8.0)[None], 2).merge_after(1).values.tolist()
        [[0.0, 1.0, 6.0, 7.0]]
        """
        return CoalitionGame(torch.cat([self.values[:, : 1 << k], self.values[:, -1 << k :]], 1), k)


def add_rest(regions: Bool[Tensor, "k h w"]) -> Bool[Tensor, "n h w"]:
    """Returns the players: the regions, then the rest of the image. Raises UserError if two regions share a pixel."""
    if int(regions.sum(0).max()) > 1:
        raise UserError("its explanations share pixels; fit them again with exclusion.mode=exclude")
    return torch.cat([regions, ~regions.any(0, keepdim=True)])


def play_coalitions(model: MaskedModel, regions: Bool[Tensor, "k h w"]) -> CoalitionGame:
    """Returns the game of an image: v of all 2^(K+1) sets of its regions and the rest, each under the same draws.

    Args:
        model: the masked model of this one image, in the frame of the regions; the draws of a baseline are averaged.
        regions: the disjoint regions of the image.

    Raises:
        UserError: two regions share a pixel.
    """
    players = add_rest(regions)
    members = coalitions(len(players)).to(players.device)
    kept_pixels = (members[:, :, None, None] & players).any(1)
    means = model.means(kept_pixels.unsqueeze(0))
    return CoalitionGame(torch.stack([means[name][0] for name in model.names]), len(regions))


def random_region_values(
    model: MaskedModel, regions: Bool[Tensor, "k h w"], game: CoalitionGame, *, sample_id: str, seed: int
) -> Float[Tensor, "r g"]:
    """Returns `CoalitionGame.joint` of RANDOM_REGIONS smooth random regions, each as large as all `regions` together.

    This is what any hole of that size takes away, and any patch of it restores. Each random region is masked under one
    draw of a baseline.

    Args:
        game: the game of `regions`, which knows the probabilities for the whole image and for nothing.
        sample_id, seed: the image's id and the seed, from which the random regions are drawn.
    """
    draw = generator(seed, sample_id, "audit", "chance")
    height, width = regions.shape[-2:]
    fields = smooth_fields((height, width), generators=[draw], count=RANDOM_REGIONS).to(regions.device)
    area = regions.any(0).double().mean().expand(RANDOM_REGIONS)
    masks = hard_masks(fields, area, generators=[draw])
    kept, removed = (model.in_turn(polarity)[0] for polarity in (masks, ~masks))
    return (kept - removed - game.nothing + game.whole) / 2

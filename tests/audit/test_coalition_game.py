"""The values of a game are those of a loop that masks the image by hand, and obey the identities of games."""

import contextlib
import itertools
from collections.abc import Iterator

import pytest
import torch

from inr_xai.audit import coalition_game as module
from inr_xai.audit.coalition_game import (
    RANDOM_REGIONS,
    CoalitionGame,
    add_rest,
    play_coalitions,
    random_region_values,
)
from inr_xai.classifier import FrozenClassifier
from inr_xai.errors import UserError
from inr_xai.scoring.masked_model import MaskedModel
from tests.conftest import SIDE, pictures
from tests.helpers.games import REST, additive, assert_close, make_game

DRAWS = {"blur": 1, "noise": 3, "photo": 2}
TARGET = 3


def random_regions(count: int, side: int = SIDE) -> torch.Tensor:
    """Returns disjoint regions of different sizes, with pixels left for the rest."""
    owner = torch.randint(count + 2, (side, side), generator=torch.Generator().manual_seed(count))
    return torch.stack([owner == k for k in range(count)])


def baselines(side: int = SIDE) -> dict[str, torch.Tensor]:
    drawn = pictures(sum(DRAWS.values()), side, seed=5).double().split(list(DRAWS.values()))
    return dict(zip(DRAWS, (draws[None] for draws in drawn), strict=True))


class ByHand:
    """The probability of the class for an image of which some pixels are kept, one baseline after another."""

    def __init__(self, classifier: FrozenClassifier, image: torch.Tensor):
        self.classifier, self.image, self.baselines = classifier, image, baselines()
        self.known: dict[bytes, torch.Tensor] = {}

    def __call__(self, keep: torch.Tensor) -> torch.Tensor:
        key = keep.numpy().tobytes()
        if key not in self.known:
            self.known[key] = torch.stack([self.under(draws[0], keep) for draws in self.baselines.values()])
        return self.known[key]

    def under(self, draws: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        """Returns the mean probability over the draws of one baseline."""
        masked = draws.clone()
        for copy in masked:
            copy[:, keep] = self.image[:, keep]
        return self.classifier(masked).softmax(1)[:, TARGET].mean()

    def shapley(self, players: torch.Tensor) -> torch.Tensor:
        """Returns each player's gain as a mean over all orders in which the players may come."""
        gains = torch.zeros(len(DRAWS), len(players), dtype=torch.float64)
        orders = list(itertools.permutations(range(len(players))))
        for order in orders:
            keep = torch.zeros_like(players[0])
            for player in order:
                before, keep = self(keep), keep | players[player]
                gains[:, player] += (self(keep) - before) / len(orders)
        return gains


@pytest.fixture(params=[1, 2, 3])
def case(
    request: pytest.FixtureRequest, tiny: FrozenClassifier
) -> Iterator[tuple[CoalitionGame, torch.Tensor, ByHand]]:
    """The game of one, two or three regions, the regions, and the loop by hand."""
    image, regions = pictures(1, seed=1).double(), random_regions(request.param)
    with torch.no_grad(), tiny.frozen(dtype=torch.float64):
        model = MaskedModel(tiny, image, torch.tensor([TARGET]), baselines=baselines(), masks_per_forward=7)
        yield play_coalitions(model, regions), regions, ByHand(tiny, image[0])


def test_every_value_against_the_loop(case: tuple[CoalitionGame, torch.Tensor, ByHand]) -> None:
    game, regions, by_hand = case
    none = torch.zeros_like(regions[0])
    whole, nothing = by_hand(~none), by_hand(none)
    assert_close(game.whole, whole)
    assert_close(game.nothing, nothing)
    assert_close(game.whole, by_hand.classifier(by_hand.image[None]).softmax(1)[:, TARGET].expand(len(DRAWS)))
    for k, region in enumerate(regions, start=1):
        earlier = regions[:k].any(0)
        assert_close(game.alone(k), by_hand(region))
        assert_close(game.without(k), by_hand(~region))
        assert_close(game.union(k), by_hand(earlier))
        assert_close(game.remaining(k), by_hand(~earlier))
        assert_close(game.contribution(k), (by_hand(region) - nothing + whole - by_hand(~region)) / 2)
    for size in range(len(regions) + 1):
        for members in itertools.combinations(range(len(regions)), size):
            assert_close(game.value_of([k + 1 for k in members]), by_hand(regions[list(members)].any(0)))
    union = regions.any(0)
    assert_close(game.joint, (by_hand(union) - nothing + whole - by_hand(~union)) / 2)
    assert game.regions == len(regions)


def test_shapley_values_against_all_orders(case: tuple[CoalitionGame, torch.Tensor, ByHand]) -> None:
    game, regions, by_hand = case
    players = torch.cat([regions, ~regions.any(0, keepdim=True)])
    assert_close(game.shapley, by_hand.shapley(players))
    assert_close(game.shapley.sum(1), game.whole - game.nothing)


def test_random_values_are_the_joint_values_of_random_regions_as_large(
    tiny: FrozenClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each random region is masked under one draw of a baseline, in turn; seed and image name the regions."""
    regions, image, masks = random_regions(2), pictures(1, seed=1).double(), []
    hard = module.hard_masks
    monkeypatch.setattr(module, "hard_masks", lambda *a, **k: masks.append(hard(*a, **k)) or masks[-1])
    with torch.no_grad(), tiny.frozen(dtype=torch.float64):
        model = MaskedModel(tiny, image, torch.tensor([TARGET]), baselines=baselines(), masks_per_forward=7)
        game = play_coalitions(model, regions)
        names = [("a", 0), ("a", 0), ("b", 0), ("a", 1)]
        values = [random_region_values(model, regions, game, sample_id=name, seed=seed) for name, seed in names]
        by_hand, expected = ByHand(tiny, image[0]), []
        for draws in by_hand.baselines.values():
            differences = []
            for i, mask in enumerate(masks[0][0]):
                draw = draws[0][i % draws.shape[1]][None]
                differences.append(by_hand.under(draw, mask) - by_hand.under(draw, ~mask))
            expected.append(torch.stack(differences))
    assert_close(values[0], (torch.stack(expected, 1) - game.nothing + game.whole) / 2)
    assert masks[0].shape == (1, RANDOM_REGIONS, SIDE, SIDE)
    assert masks[0].sum((2, 3)).unique().tolist() == [int(regions.any(0).sum())]
    assert torch.equal(values[0], values[1])
    assert not torch.equal(values[0], values[2])
    assert not torch.equal(values[0], values[3])


def test_a_merged_game_is_that_of_fewer_regions(tiny: FrozenClassifier) -> None:
    image, regions = pictures(1, seed=1).double(), random_regions(3)
    with torch.no_grad(), tiny.frozen(dtype=torch.float64):
        model = MaskedModel(tiny, image, torch.tensor([TARGET]), baselines=baselines(), masks_per_forward=50)
        game = play_coalitions(model, regions)
        for k in (1, 2, 3):
            fewer = play_coalitions(model, regions[:k])
            assert game.merge_after(k).regions == k
            assert_close(game.merge_after(k).values, fewer.values)


class Linear:
    """A classifier whose probability is a sum over pixels, so that players add the same whatever the others do."""

    head = "softmax"
    colour_mean = (0.5, 0.5, 0.5)
    colour_std = (0.25, 0.25, 0.25)

    def __init__(self) -> None:
        self.weight = torch.randn(3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        return (images * self.weight).sum((1, 2, 3)).unsqueeze(1)

    def probability(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return logits[:, 0]

    def frozen(self, device: torch.device, dtype: torch.dtype) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()


def test_all_sets_have_the_same_draws() -> None:
    """If pixels only add up, noise that differed from set to set would break what holds for each baseline here."""
    image, regions = pictures(1, 8, seed=1).double(), random_regions(3, 8)
    model = MaskedModel(Linear(), image, torch.tensor([0]), baselines=baselines(8), masks_per_forward=32)
    game = play_coalitions(model, regions)
    rest = game.remaining(3) - game.nothing
    for k in (1, 2, 3):
        gain = game.alone(k) - game.nothing
        assert gain.abs().min() > 0.01
        assert_close(game.contribution(k), gain)
        assert_close(game.shapley[:, k - 1], gain)
        assert_close(game.whole - game.without(k), gain)
    assert_close(game.shapley[:, 3], rest)
    assert_close(game.joint, game.union(3) - game.nothing)
    assert model.passes == 16 * sum(DRAWS.values())


def test_an_additive_game_by_hand() -> None:
    game = make_game(2, additive(0.3, 0.2, 0.4, nothing=0.1))
    assert game.shapley[0].tolist() == pytest.approx([0.3, 0.2, 0.4])
    assert [game.contribution(k).item() for k in (1, 2)] == pytest.approx([0.3, 0.2])
    assert game.joint.item() == pytest.approx(0.5)


def test_a_region_that_only_restores_or_only_destroys_contributes_half() -> None:
    """All three restore or destroy all of the class; the first does both."""
    both = make_game(1, lambda members: float(1 in members))
    only_restores = make_game(1, lambda members: float(bool(members)))
    only_destroys = make_game(1, lambda members: float(members == {1, REST}))
    assert [game.contribution(1).item() for game in (both, only_restores, only_destroys)] == [1.0, 0.5, 0.5]


def test_players_are_the_regions_and_the_rest() -> None:
    regions = random_regions(2)
    players = add_rest(regions)
    assert torch.equal(players[:2], regions)
    assert (players.sum(0) == 1).all()


def test_regions_that_share_pixels_are_refused() -> None:
    regions = random_regions(2)
    regions[1, 0, 0] = regions[0, 0, 0] = True
    with pytest.raises(UserError, match=r"share pixels.*exclusion\.mode=exclude"):
        add_rest(regions)

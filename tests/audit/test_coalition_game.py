"""The values of a game against a loop that masks the image by hand, and identities."""

import contextlib
import itertools
from collections.abc import Iterator

import pytest
import torch

from inr_xai.audit import coalition_game as module
from inr_xai.audit.coalition_game import CHANCES, CoalitionGame, chance, play_coalitions, players_of
from inr_xai.classifier import FrozenClassifier
from inr_xai.errors import UserError
from inr_xai.scoring.masked_model import MaskedModel
from tests.conftest import SIDE, pictures
from tests.helpers.games import REST, additive, assert_close, played

DRAWS = {"blur": 1, "noise": 3, "photo": 2}
TARGET = 3


def regions_of(count: int, side: int = SIDE) -> torch.Tensor:
    """Regions of different sizes, with pixels left for the rest."""
    owner = torch.randint(count + 2, (side, side), generator=torch.Generator().manual_seed(count))
    return torch.stack([owner == k for k in range(count)])


def baselines(side: int = SIDE) -> dict[str, torch.Tensor]:
    drawn = pictures(sum(DRAWS.values()), side, seed=5).double().split(list(DRAWS.values()))
    return dict(zip(DRAWS, (draws[None] for draws in drawn), strict=True))


class ByHand:
    """What a classifier says of an image of which some pixels are kept, a baseline at a time."""

    def __init__(self, classifier: FrozenClassifier, image: torch.Tensor):
        self.classifier, self.image, self.baselines = classifier, image, baselines()
        self.said: dict[bytes, torch.Tensor] = {}

    def __call__(self, keep: torch.Tensor) -> torch.Tensor:
        key = keep.numpy().tobytes()
        if key not in self.said:
            self.said[key] = torch.stack([self.under(draws[0], keep) for draws in self.baselines.values()])
        return self.said[key]

    def under(self, draws: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        masked = draws.clone()
        for copy in masked:
            copy[:, keep] = self.image[:, keep]
        return self.classifier(masked).softmax(1)[:, TARGET].mean()

    def shapley(self, players: torch.Tensor) -> torch.Tensor:
        """The mean over all orders in which the players may come."""
        found = torch.zeros(len(DRAWS), len(players), dtype=torch.float64)
        orders = list(itertools.permutations(range(len(players))))
        for order in orders:
            keep = torch.zeros_like(players[0])
            for player in order:
                before, keep = self(keep), keep | players[player]
                found[:, player] += (self(keep) - before) / len(orders)
        return found


@pytest.fixture(params=[1, 2, 3])
def case(
    request: pytest.FixtureRequest, tiny: FrozenClassifier
) -> Iterator[tuple[CoalitionGame, torch.Tensor, ByHand]]:
    """The play of so many regions, the regions, and the loop."""
    image, regions = pictures(1, seed=1).double(), regions_of(request.param)
    with torch.no_grad(), tiny.frozen(dtype=torch.float64):
        trial = MaskedModel(tiny, image, torch.tensor([TARGET]), baselines=baselines(), masks_per_forward=7)
        yield play_coalitions(trial, regions), regions, ByHand(tiny, image[0])


def test_every_value_against_the_loop(case: tuple[CoalitionGame, torch.Tensor, ByHand]) -> None:
    found, regions, ask = case
    none = torch.zeros_like(regions[0])
    whole, nothing = ask(~none), ask(none)
    assert_close(found.whole, whole)
    assert_close(found.nothing, nothing)
    assert_close(found.whole, ask.classifier(ask.image[None]).softmax(1)[:, TARGET].expand(len(DRAWS)))
    for k, region in enumerate(regions, start=1):
        earlier = regions[:k].any(0)
        assert_close(found.alone(k), ask(region))
        assert_close(found.without(k), ask(~region))
        assert_close(found.union(k), ask(earlier))
        assert_close(found.remaining(k), ask(~earlier))
        assert_close(found.own(k), (ask(region) - nothing + whole - ask(~region)) / 2)
    for size in range(len(regions) + 1):
        for some in itertools.combinations(range(len(regions)), size):
            assert_close(found.kept([k + 1 for k in some]), ask(regions[list(some)].any(0)))
    union = regions.any(0)
    assert_close(found.joint, (ask(union) - nothing + whole - ask(~union)) / 2)
    assert found.regions == len(regions)


def test_shapley_values_against_all_orders(case: tuple[CoalitionGame, torch.Tensor, ByHand]) -> None:
    found, regions, ask = case
    players = torch.cat([regions, ~regions.any(0, keepdim=True)])
    assert_close(found.shapley, ask.shapley(players))
    assert_close(found.shapley.sum(1), found.whole - found.nothing)


def test_chance_is_the_joint_value_of_random_regions_as_large(
    tiny: FrozenClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each random region under one draw of a baseline, in turn; named by seed and image."""
    regions, image, seen = regions_of(2), pictures(1, seed=1).double(), []
    hard = module.hard_masks
    monkeypatch.setattr(module, "hard_masks", lambda *a, **k: seen.append(hard(*a, **k)) or seen[-1])
    with torch.no_grad(), tiny.frozen(dtype=torch.float64):
        trial = MaskedModel(tiny, image, torch.tensor([TARGET]), baselines=baselines(), masks_per_forward=7)
        played_ = play_coalitions(trial, regions)
        names = [("a", 0), ("a", 0), ("b", 0), ("a", 1)]
        found = [chance(trial, regions, played_, sample_id=name, seed=seed) for name, seed in names]
        ask, expected = ByHand(tiny, image[0]), []
        for draws in ask.baselines.values():
            values = []
            for i, mask in enumerate(seen[0][0]):
                draw = draws[0][i % draws.shape[1]][None]
                values.append(ask.under(draw, mask) - ask.under(draw, ~mask))
            expected.append(torch.stack(values))
    assert_close(found[0], (torch.stack(expected, 1) - played_.nothing + played_.whole) / 2)
    assert seen[0].shape == (1, CHANCES, SIDE, SIDE)
    assert seen[0].sum((2, 3)).unique().tolist() == [int(regions.any(0).sum())]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert not torch.equal(found[0], found[3])


def test_a_coarser_game_is_that_of_fewer_regions(tiny: FrozenClassifier) -> None:
    image, regions = pictures(1, seed=1).double(), regions_of(3)
    with torch.no_grad(), tiny.frozen(dtype=torch.float64):
        trial = MaskedModel(tiny, image, torch.tensor([TARGET]), baselines=baselines(), masks_per_forward=50)
        found = play_coalitions(trial, regions)
        for k in (1, 2, 3):
            fewer = play_coalitions(trial, regions[:k])
            assert found.coarser(k).regions == k
            assert_close(found.coarser(k).values, fewer.values)


class Linear:
    """Its probability is a sum over pixels, so that what a player adds does not depend on the others."""

    colour_mean = (0.5, 0.5, 0.5)

    def __init__(self) -> None:
        self.weight = torch.randn(3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        return (images * self.weight).sum((1, 2, 3)).unsqueeze(1)

    def probability(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return logits[:, 0]

    def frozen(self, device: torch.device, dtype: torch.dtype) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()


def test_where_pixels_only_add_up_all_sets_have_the_same_draws() -> None:
    """Noise that differed from set to set would break what holds for each baseline here."""
    image, regions = pictures(1, 8, seed=1).double(), regions_of(3, 8)
    trial = MaskedModel(Linear(), image, torch.tensor([0]), baselines=baselines(8), masks_per_forward=32)
    found = play_coalitions(trial, regions)
    rest = found.remaining(3) - found.nothing
    for k in (1, 2, 3):
        gained = found.alone(k) - found.nothing
        assert gained.abs().min() > 0.01
        assert_close(found.own(k), gained)
        assert_close(found.shapley[:, k - 1], gained)
        assert_close(found.whole - found.without(k), gained)
    assert_close(found.shapley[:, 3], rest)
    assert_close(found.joint, found.union(3) - found.nothing)
    assert trial.passes == 16 * sum(DRAWS.values())


def test_of_an_additive_game_by_hand() -> None:
    found = played(2, additive(0.3, 0.2, 0.4, nothing=0.1))
    assert found.shapley[0].tolist() == pytest.approx([0.3, 0.2, 0.4])
    assert [found.own(k).item() for k in (1, 2)] == pytest.approx([0.3, 0.2])
    assert found.joint.item() == pytest.approx(0.5)


def test_what_only_restores_or_only_destroys_has_half() -> None:
    """All three restore or destroy all of the class; the first does both."""
    both = played(1, lambda there: float(1 in there))
    only_restores = played(1, lambda there: float(bool(there)))
    only_destroys = played(1, lambda there: float(there == {1, REST}))
    assert [one.own(1).item() for one in (both, only_restores, only_destroys)] == [1.0, 0.5, 0.5]


def test_players_are_the_regions_and_the_rest() -> None:
    regions = regions_of(2)
    players = players_of(regions)
    assert torch.equal(players[:2], regions)
    assert (players.sum(0) == 1).all()


def test_regions_that_share_pixels_are_refused() -> None:
    regions = regions_of(2)
    regions[1, 0, 0] = regions[0, 0, 0] = True
    with pytest.raises(UserError, match=r"share pixels.*exclusion\.mode=exclude"):
        players_of(regions)

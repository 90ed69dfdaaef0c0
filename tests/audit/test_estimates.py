"""Estimates are those of slow loops over fits and baselines, of cases computed by hand, and obey identities."""

import math

import pytest
import torch

from inr_xai.audit.coalition_game import CoalitionGame
from inr_xai.audit.estimates import AuditedImage, Estimates, add_seam, shares_on_object
from inr_xai.seeding import generator
from tests.helpers.games import additive, assert_close, estimates_of, make_game, random_games, two_regions

NAMES: list[tuple[str, tuple[int, ...]]] = [
    ("whole", ()),
    ("nothing", ()),
    ("alone", (1,)),
    ("without", (2,)),
    ("union", (2,)),
    ("remaining", (2,)),
    ("contribution", (1,)),
    ("joint", ()),
]
DRAWS = 40


def value(game: CoalitionGame, name: str, *arguments: int) -> torch.Tensor:
    """Returns a value of a game by the name of its property or method."""
    member = getattr(game, name)
    return member(*arguments) if arguments else member


def mean_games(games: list[CoalitionGame], *, seed: int) -> list[CoalitionGame]:
    """Returns the mean game of everything, then of each resample, over pairs of a fit and a baseline."""
    random, many, rows = generator(seed, "audit"), len(games), len(games[0].values)
    drawn = [torch.randint(count, (DRAWS, count), generator=random).tolist() for count in (many, rows)]
    means = []
    for fits, baselines in [(range(many), range(rows)), *zip(*drawn, strict=True)]:
        pairs = [games[fit].values[baseline] for fit in fits for baseline in baselines]
        means.append(CoalitionGame(torch.stack(pairs).mean(0, keepdim=True), games[0].regions))
    return means


def test_resamples_against_a_loop_over_pairs() -> None:
    games = random_games(2, 2, 2)
    estimates, means = Estimates(AuditedImage(games), seed=3, draws=DRAWS), mean_games(games, seed=3)
    for name, arguments in NAMES:
        assert_close(estimates.mean(name, *arguments), torch.cat([value(game, name, *arguments) for game in means]))
    assert_close(estimates.shapley(), torch.cat([game.shapley for game in means]))
    restored = torch.cat([game.union(2) - game.nothing for game in means])
    assert_close(estimates.restored(), restored)
    first = torch.cat([game.alone(1) - game.nothing for game in means])
    whole = torch.cat([game.whole for game in means])
    expected = [float(a / b) if b > p / 10 else math.nan for a, b, p in zip(first, restored, whole, strict=True)]
    assert estimates.concentration().tolist() == pytest.approx(expected, nan_ok=True)
    assert {value < 0 for value in restored.tolist()} == {True, False}


def test_values_of_one_resample_fit_together() -> None:
    """In each resample the Shapley values sum to the difference, and the joint value follows from the others."""
    estimates = Estimates(AuditedImage(random_games(2, 2)), draws=DRAWS)
    assert_close(estimates.shapley().sum(1), estimates.mean("whole") - estimates.mean("nothing"))
    assert_close(
        estimates.mean("joint"), (estimates.restored() + estimates.mean("whole") - estimates.mean("remaining", 2)) / 2
    )


def test_every_resample_of_equal_values_is_that_value() -> None:
    """The weights of a resample sum to 1, whatever was drawn."""
    game = additive(0.3, 0.2, 0.4, nothing=0.1)
    estimates = Estimates(AuditedImage([make_game(2, game, game, game)] * 3), draws=DRAWS)
    for name, arguments in NAMES:
        values = estimates.mean(name, *arguments)
        assert_close(values, values[:1].expand(1 + DRAWS))
    assert estimates.interval(estimates.mean("alone", 1)) == pytest.approx((0.4, 0.4, 0.4))
    assert estimates.interval(estimates.concentration()) == pytest.approx((0.6, 0.6, 0.6))


@pytest.mark.parametrize("of_fits", [True, False])
def test_fits_and_baselines_are_drawn_alike(of_fits: bool) -> None:
    """One of two fits, or baselines, has 0 and the other 1: resamples have 0, 1/2 or 1, as often as two coins do."""
    low, high = two_regions(whole=0.0), two_regions(whole=1.0)
    games = [make_game(2, low), make_game(2, high)] if of_fits else [make_game(2, low, high)]
    values = Estimates(AuditedImage(games)).mean("whole")
    assert values[0] == 0.5
    assert len(values) == 1001
    for mean, share in ((0.0, 0.25), (0.5, 0.5), (1.0, 0.25)):
        assert (values[1:] == mean).double().mean().item() == pytest.approx(share, abs=0.05)
    other = Estimates(AuditedImage(games), seed=1).mean("whole")
    assert not torch.equal(values, other)
    assert torch.equal(values, Estimates(AuditedImage(games), seed=0).mean("whole"))


def test_an_interval_is_of_95_per_cent() -> None:
    estimates = Estimates(AuditedImage(random_games(2)))
    values = torch.tensor([7.0, *torch.arange(1000).flip(0).tolist()], dtype=torch.float64)
    assert estimates.interval(values) == pytest.approx((7.0, 0.025 * 999, 0.975 * 999))


def test_concentration_by_hand() -> None:
    estimates = estimates_of(
        two_regions(nothing=0.1, first=0.4, union=0.6), two_regions(nothing=0.3, first=0.4, union=0.8)
    )
    assert estimates.restored()[0].item() == pytest.approx(0.5)
    assert estimates.concentration()[0].item() == pytest.approx((0.4 - 0.2) / (0.7 - 0.2))


@pytest.mark.parametrize("union", [0.1, 0.2, 0.29])
def test_concentration_is_nan_if_the_regions_restore_less_than_a_tenth(union: float) -> None:
    estimates = estimates_of(two_regions(nothing=0.2, first=0.5, union=union))
    assert estimates.concentration().isnan().all()
    assert all(math.isnan(end) for end in estimates.interval(estimates.concentration()))


def test_an_interval_has_no_ends_if_a_resample_has_no_value() -> None:
    """The second baseline alone restores nothing."""
    estimates = estimates_of(two_regions(first=0.3, union=0.6), two_regions(nothing=0.2, first=0.2, union=0.2))
    value, low, high = estimates.interval(estimates.concentration())
    assert value == pytest.approx((0.25 - 0.1) / (0.4 - 0.1))
    assert math.isnan(low)
    assert math.isnan(high)


def test_object_evidence_by_hand() -> None:
    """own(1) = (0.5 - 0.1 + 0.8 - 0.2) / 2 = 0.5, own(2) = (0.3 - 0.1 + 0.8 - 0.6) / 2 = 0.2, over p = 0.8.

    The object covers 0.25 of the image; what a region's share has beyond this counts as a part of the other 0.75.
    """
    game = two_regions(nothing=0.1, first=0.5, second=0.3, without_1=0.2, without_2=0.6, whole=0.8)
    estimates = estimates_of(game, on_object=[0.9, 0.1, 0.2], object_share=0.25)
    first, second = 0.5 / 0.8 * 0.65 / 0.75, 0.2 / 0.8 * -0.15 / 0.75
    assert estimates.object_evidence()[0].item() == pytest.approx(first + second)
    for regions, expected in ((1, first), (2, first + second)):  # without explanation 2 its region belongs to the rest
        shares = [torch.tensor([*[0.9, 0.1][:regions], 0.2], dtype=torch.float64)]
        merged = Estimates(AuditedImage([make_game(2, game).merge_after(regions)], shares, 0.25))
        assert merged.object_evidence()[0].item() == pytest.approx(expected)


def test_object_evidence_is_0_if_it_lies_anywhere_alike_and_negative_if_it_avoids_the_object() -> None:
    game = additive(0.5, 0.2, 0.3)
    alike = estimates_of(game, on_object=[0.3, 0.3, 0.3], object_share=0.3)
    assert alike.object_evidence().abs().max() == 0
    assert estimates_of(game, on_object=[0, 0, 0.4], object_share=0.3).object_evidence()[0].item() == pytest.approx(
        -0.3
    )
    assert estimates_of(game, on_object=[1, 1, 0], object_share=0.3).object_evidence()[0].item() == pytest.approx(0.7)


@pytest.mark.parametrize("size", [0.05, 0.3, 0.8, 0.99])
def test_evidence_on_the_object_counts_fully_whatever_the_size_of_the_object(size: int) -> None:
    """A region of a tenth of the image has at most half of its pixels on an object of a twentieth."""
    most = min(1.0, size / 0.1)
    image = AuditedImage([make_game(2, additive(0.5, 0.2, 0.3))], [torch.tensor([most, most, 0])], size, area=0.1)
    assert Estimates(image).object_evidence()[0].item() == pytest.approx(0.7)


def test_object_evidence_is_nan_if_the_object_is_all_of_the_image() -> None:
    assert (
        estimates_of(additive(0.5, 0.5), regions=1, on_object=[1, 1], object_share=1.0).object_evidence().isnan().all()
    )


def test_the_random_joint_value_is_the_largest_of_the_random_regions() -> None:
    """Means over fits and baselines come first: the largest region may differ between two resamples."""
    games = random_games(2, 2)
    random_values = [torch.tensor([[0.0, 0.0, 0.0, 0.8], [0.1, 0.1, 0.1, 0.1]]), torch.zeros(2, 4)]
    estimates = Estimates(AuditedImage(games, random_values=random_values), draws=DRAWS)
    assert estimates.random_joint()[0].item() == pytest.approx(0.1)
    assert estimates.random_joint().min() == 0  # the second fit twice
    assert estimates.random_joint().max() > 0.1
    assert (Estimates(AuditedImage(games), draws=DRAWS).random_joint() == -torch.inf).all()
    assert_close(estimates.joint(), estimates.mean("joint"))


def test_each_fit_has_its_own_share_of_the_object() -> None:
    """One fit's region lies on the object, the other's beside it; each counts with its own values."""
    games = [make_game(1, additive(0.6, 0.4)), make_game(1, additive(0.2, 0.8))]
    shares = [torch.tensor([1.0, 0.2]).double(), torch.tensor([0.0, 0.3]).double()]
    estimates = Estimates(AuditedImage(games, shares, 0.25))
    assert estimates.object_evidence()[0].item() == pytest.approx((0.6 - 0.2 / 3) / 2)
    assert estimates.split_by_place() == pytest.approx((0.3, 0.1, 0.6))


def test_shapley_shares_and_their_split_by_place_by_hand() -> None:
    estimates = estimates_of(additive(0.3, 0.2, 0.4, nothing=0.1), on_object=[0.5, 1.0, 0.1], object_share=0.2)
    assert estimates.shapley_shares().tolist() == pytest.approx([0.3 / 0.9, 0.2 / 0.9, 0.4 / 0.9])
    assert estimates.split_by_place() == pytest.approx((0.35 / 0.9, 0.15 / 0.9, 0.4 / 0.9))


def test_shares_are_nan_if_there_is_nothing_to_share() -> None:
    estimates = estimates_of(
        two_regions(nothing=1.0, first=0.5, whole=1.0), on_object=[0.5, 0.5, 0.5], object_share=0.5
    )
    assert estimates.shapley_shares().isnan().all()
    assert all(math.isnan(share) for share in estimates.split_by_place())


def test_fits_with_different_numbers_of_regions_are_compared_on_the_common_ones() -> None:
    """Region 3 of the second fit belongs to its rest."""
    first, second = random_games(2, 3)
    shares = [torch.rand(n, dtype=torch.float64, generator=torch.Generator().manual_seed(n)) for n in (3, 4)]
    estimates = Estimates(AuditedImage([first, second], shares, 0.25), draws=DRAWS)
    low = [0, 1, 2, 3, 12, 13, 14, 15]  # the sets in which region 3 and the rest come and go together
    same = Estimates(
        AuditedImage([first, CoalitionGame(second.values[:, low], 2)], [shares[0], shares[1][:3]], 0.25), draws=DRAWS
    )
    assert estimates.regions == 2
    for name, arguments in NAMES:
        assert_close(estimates.mean(name, *arguments), same.mean(name, *arguments))
    assert_close(estimates.shapley(), same.shapley())
    assert estimates.shapley().shape == (1 + DRAWS, 3)
    assert_close(estimates.object_evidence(), same.object_evidence())
    assert estimates.split_by_place() == pytest.approx(same.split_by_place())
    assert sum(estimates.split_by_place()) == pytest.approx(1)


def test_values_of_all_regions_are_those_of_all_that_each_fit_has() -> None:
    first, second = random_games(1, 3)
    estimates = Estimates(AuditedImage([first, second]), draws=DRAWS)
    assert estimates.all_kept()[0].item() == pytest.approx((first.union(1).mean() + second.union(3).mean()).item() / 2)
    assert estimates.all_removed()[0].item() == pytest.approx(
        (first.remaining(1).mean() + second.remaining(3).mean()).item() / 2
    )
    assert estimates.joint()[0].item() == pytest.approx((first.joint.mean() + second.joint.mean()).item() / 2)


@pytest.mark.parametrize(("height", "width", "reach"), [(32, 48, 2), (40, 24, 2), (16, 16, 1)])
def test_the_seam_is_a_sixteenth_of_the_shorter_side(height: int, width: int, reach: int) -> None:
    """round(24 / 16) = round(1.5) = 2."""
    segmentation = torch.rand(height, width, generator=torch.Generator().manual_seed(0)) > 0.99
    segmentation[0, 0] = segmentation[-1, 5] = True
    inside = segmentation.nonzero().tolist()
    expected = [
        [any(max(abs(row - i), abs(column - j)) <= reach for i, j in inside) for column in range(width)]
        for row in range(height)
    ]
    with_seam = add_seam(segmentation)
    assert with_seam.tolist() == expected
    assert with_seam.any()
    assert not with_seam.all()


def test_an_empty_object_has_no_seam() -> None:
    assert not add_seam(torch.zeros(32, 32, dtype=torch.bool)).any()


def test_shares_on_the_object_by_hand() -> None:
    """A player without pixels has none on the object."""
    truth = torch.tensor([[1, 1, 0, 0]]).bool()
    players = torch.tensor([[[1, 0, 0, 0]], [[0, 1, 1, 0]], [[0, 0, 0, 1]], [[0, 0, 0, 0]]]).bool()
    assert shares_on_object(players, truth).tolist() == [1.0, 0.5, 0.0, 0.0]

"""What is read of plays against slow loops over fits and baselines, hand computed cases, and identities."""

import math

import pytest
import torch

from inr_xai.audit.coalition_game import CoalitionGame
from inr_xai.audit.estimates import AuditedImage, Estimates, grown, shares_on
from inr_xai.seeding import generator
from tests.helpers.games import additive, assert_close, named, played, random_plays, read

NAMES: list[tuple[str, tuple[int, ...]]] = [
    ("whole", ()),
    ("nothing", ()),
    ("alone", (1,)),
    ("without", (2,)),
    ("union", (2,)),
    ("remaining", (2,)),
    ("own", (1,)),
    ("joint", ()),
]
DRAWS = 40


def value(play: CoalitionGame, name: str, *arguments: int) -> torch.Tensor:
    found = getattr(play, name)
    return found(*arguments) if arguments else found


def means(plays: list[CoalitionGame], *, seed: int) -> list[CoalitionGame]:
    """The mean game of everything, then of each resample, pair by pair of a fit and a baseline."""
    random, many, rows = generator(seed, "audit"), len(plays), len(plays[0].values)
    drawn = [torch.randint(count, (DRAWS, count), generator=random).tolist() for count in (many, rows)]
    found = []
    for fits, baselines in [(range(many), range(rows)), *zip(*drawn, strict=True)]:
        pairs = [plays[fit].values[baseline] for fit in fits for baseline in baselines]
        found.append(CoalitionGame(torch.stack(pairs).mean(0, keepdim=True), plays[0].regions))
    return found


def test_resamples_against_a_loop_over_pairs() -> None:
    plays = random_plays(2, 2, 2)
    reading, slow = Estimates(AuditedImage(plays), seed=3, draws=DRAWS), means(plays, seed=3)
    for name, arguments in NAMES:
        assert_close(reading.over(name, *arguments), torch.cat([value(one, name, *arguments) for one in slow]))
    assert_close(reading.shapley(), torch.cat([one.shapley for one in slow]))
    restored = torch.cat([one.union(2) - one.nothing for one in slow])
    assert_close(reading.restored(), restored)
    first = torch.cat([one.alone(1) - one.nothing for one in slow])
    whole = torch.cat([one.whole for one in slow])
    expected = [float(a / b) if b > p / 10 else math.nan for a, b, p in zip(first, restored, whole, strict=True)]
    assert reading.concentration().tolist() == pytest.approx(expected, nan_ok=True)
    assert {value < 0 for value in restored.tolist()} == {True, False}


def test_values_of_one_resample_fit_together() -> None:
    """Two regions and the rest sum to the whole in each of them, and one restores no more than its own game says."""
    reading = Estimates(AuditedImage(random_plays(2, 2)), draws=DRAWS)
    assert_close(reading.shapley().sum(1), reading.over("whole") - reading.over("nothing"))
    assert_close(reading.over("joint"), (reading.restored() + reading.over("whole") - reading.over("remaining", 2)) / 2)


def test_of_equal_values_every_resample_is_the_value() -> None:
    """The weights of a resample sum to 1, whatever was drawn."""
    game = additive(0.3, 0.2, 0.4, nothing=0.1)
    reading = Estimates(AuditedImage([played(2, game, game, game)] * 3), draws=DRAWS)
    for name, arguments in NAMES:
        found = reading.over(name, *arguments)
        assert_close(found, found[:1].expand(1 + DRAWS))
    assert reading.interval(reading.over("alone", 1)) == pytest.approx((0.4, 0.4, 0.4))
    assert reading.interval(reading.concentration()) == pytest.approx((0.6, 0.6, 0.6))


@pytest.mark.parametrize("of_fits", [True, False])
def test_fits_and_baselines_are_drawn_alike(of_fits: bool) -> None:
    """One of two fits, or baselines, says 0 and the other 1: a resample says 0, 1/2 or 1, as often as two coins do."""
    low, high = named(whole=0.0), named(whole=1.0)
    plays = [played(2, low), played(2, high)] if of_fits else [played(2, low, high)]
    found = Estimates(AuditedImage(plays)).over("whole")
    assert found[0] == 0.5
    assert len(found) == 1001
    for said, share in ((0.0, 0.25), (0.5, 0.5), (1.0, 0.25)):
        assert (found[1:] == said).double().mean().item() == pytest.approx(share, abs=0.05)
    other = Estimates(AuditedImage(plays), seed=1).over("whole")
    assert not torch.equal(found, other)
    assert torch.equal(found, Estimates(AuditedImage(plays), seed=0).over("whole"))


def test_an_interval_is_of_95_per_cent() -> None:
    reading = Estimates(AuditedImage(random_plays(2)))
    values = torch.tensor([7.0, *torch.arange(1000).flip(0).tolist()], dtype=torch.float64)
    assert reading.interval(values) == pytest.approx((7.0, 0.025 * 999, 0.975 * 999))


def test_concentration_by_hand() -> None:
    reading = read(named(nothing=0.1, first=0.4, union=0.6), named(nothing=0.3, first=0.4, union=0.8))
    assert reading.restored()[0].item() == pytest.approx(0.5)
    assert reading.concentration()[0].item() == pytest.approx((0.4 - 0.2) / (0.7 - 0.2))


@pytest.mark.parametrize("union", [0.1, 0.2, 0.29])
def test_concentration_is_nan_where_the_union_restores_less_than_a_tenth(union: float) -> None:
    reading = read(named(nothing=0.2, first=0.5, union=union))
    assert reading.concentration().isnan().all()
    assert all(math.isnan(end) for end in reading.interval(reading.concentration()))


def test_an_interval_has_no_ends_where_a_resample_has_no_value() -> None:
    """The second baseline alone restores nothing."""
    found = read(named(first=0.3, union=0.6), named(nothing=0.2, first=0.2, union=0.2))
    value, low, high = found.interval(found.concentration())
    assert value == pytest.approx((0.25 - 0.1) / (0.4 - 0.1))
    assert math.isnan(low)
    assert math.isnan(high)


def test_object_evidence_by_hand() -> None:
    """own(1) = (0.5 - 0.1 + 0.8 - 0.2) / 2 = 0.5, own(2) = (0.3 - 0.1 + 0.8 - 0.6) / 2 = 0.2, over p = 0.8.

    What a region has beyond the object's 0.25 of the image counts as a part of the 0.75 that it can have beyond it.
    """
    game = named(nothing=0.1, first=0.5, second=0.3, without_1=0.2, without_2=0.6, whole=0.8)
    reading = read(game, on_object=[0.9, 0.1, 0.2], object_share=0.25)
    first, second = 0.5 / 0.8 * 0.65 / 0.75, 0.2 / 0.8 * -0.15 / 0.75
    assert reading.object_evidence()[0].item() == pytest.approx(first + second)
    for regions, expected in ((1, first), (2, first + second)):  # without the second it is part of the rest
        shares = [torch.tensor([*[0.9, 0.1][:regions], 0.2], dtype=torch.float64)]
        some = Estimates(AuditedImage([played(2, game).coarser(regions)], shares, 0.25))
        assert some.object_evidence()[0].item() == pytest.approx(expected)


def test_evidence_that_lies_anywhere_alike_is_nothing_and_what_avoids_the_object_is_negative() -> None:
    game = additive(0.5, 0.2, 0.3)
    alike = read(game, on_object=[0.3, 0.3, 0.3], object_share=0.3)
    assert alike.object_evidence().abs().max() == 0
    assert read(game, on_object=[0, 0, 0.4], object_share=0.3).object_evidence()[0].item() == pytest.approx(-0.3)
    assert read(game, on_object=[1, 1, 0], object_share=0.3).object_evidence()[0].item() == pytest.approx(0.7)


@pytest.mark.parametrize("size", [0.05, 0.3, 0.8, 0.99])
def test_all_evidence_on_the_object_is_all_of_it_whatever_the_size_of_the_object(size: int) -> None:
    """A region of a tenth of the image has at most half of its pixels on an object of a twentieth."""
    most = min(1.0, size / 0.1)
    taken = AuditedImage([played(2, additive(0.5, 0.2, 0.3))], [torch.tensor([most, most, 0])], size, area=0.1)
    assert Estimates(taken).object_evidence()[0].item() == pytest.approx(0.7)


def test_an_object_that_is_all_of_the_image_has_no_evidence_to_call_its_own() -> None:
    assert read(additive(0.5, 0.5), regions=1, on_object=[1, 1], object_share=1.0).object_evidence().isnan().all()


def test_chance_is_the_luckiest_of_the_random_regions() -> None:
    """Means over fits and baselines first, by resample: of two regions the one or the other may be luckier."""
    plays = random_plays(2, 2)
    chances = [torch.tensor([[0.0, 0.0, 0.0, 0.8], [0.1, 0.1, 0.1, 0.1]]), torch.zeros(2, 4)]
    reading = Estimates(AuditedImage(plays, chances=chances), draws=DRAWS)
    assert reading.chance()[0].item() == pytest.approx(0.1)
    assert reading.chance().min() == 0  # the second fit twice
    assert reading.chance().max() > 0.1
    assert (Estimates(AuditedImage(plays), draws=DRAWS).chance() == -torch.inf).all()
    assert_close(reading.joint(), reading.over("joint"))


def test_each_fit_has_its_own_share_of_the_object() -> None:
    """One fit's region lies on the object, the other's beside it; each counts with its own values."""
    plays = [played(1, additive(0.6, 0.4)), played(1, additive(0.2, 0.8))]
    shares = [torch.tensor([1.0, 0.2]).double(), torch.tensor([0.0, 0.3]).double()]
    reading = Estimates(AuditedImage(plays, shares, 0.25))
    assert reading.object_evidence()[0].item() == pytest.approx((0.6 - 0.2 / 3) / 2)
    assert reading.split() == pytest.approx((0.3, 0.1, 0.6))


def test_split_and_shares_by_hand() -> None:
    reading = read(additive(0.3, 0.2, 0.4, nothing=0.1), on_object=[0.5, 1.0, 0.1], object_share=0.2)
    assert reading.shares().tolist() == pytest.approx([0.3 / 0.9, 0.2 / 0.9, 0.4 / 0.9])
    assert reading.split() == pytest.approx((0.35 / 0.9, 0.15 / 0.9, 0.4 / 0.9))


def test_shares_are_nan_where_there_is_nothing_to_share() -> None:
    reading = read(named(nothing=1.0, first=0.5, whole=1.0), on_object=[0.5, 0.5, 0.5], object_share=0.5)
    assert reading.shares().isnan().all()
    assert all(math.isnan(share) for share in reading.split())


def test_fits_with_different_numbers_of_regions_are_asked_about_what_all_have() -> None:
    """Region 3 of the second fit is part of its rest."""
    first, second = random_plays(2, 3)
    shares = [torch.rand(n, dtype=torch.float64, generator=torch.Generator().manual_seed(n)) for n in (3, 4)]
    reading = Estimates(AuditedImage([first, second], shares, 0.25), draws=DRAWS)
    low = [0, 1, 2, 3, 12, 13, 14, 15]  # the sets in which region 3 and the rest come and go together
    same = Estimates(
        AuditedImage([first, CoalitionGame(second.values[:, low], 2)], [shares[0], shares[1][:3]], 0.25), draws=DRAWS
    )
    assert reading.regions == 2
    for name, arguments in NAMES:
        assert_close(reading.over(name, *arguments), same.over(name, *arguments))
    assert_close(reading.shapley(), same.shapley())
    assert reading.shapley().shape == (1 + DRAWS, 3)
    assert_close(reading.object_evidence(), same.object_evidence())
    assert reading.split() == pytest.approx(same.split())
    assert sum(reading.split()) == pytest.approx(1)


def test_of_all_regions_each_fit_has_its_own_number() -> None:
    first, second = random_plays(1, 3)
    reading = Estimates(AuditedImage([first, second]), draws=DRAWS)
    assert reading.together()[0].item() == pytest.approx((first.union(1).mean() + second.union(3).mean()).item() / 2)
    assert reading.left()[0].item() == pytest.approx(
        (first.remaining(1).mean() + second.remaining(3).mean()).item() / 2
    )
    assert reading.joint()[0].item() == pytest.approx((first.joint.mean() + second.joint.mean()).item() / 2)


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
    found = grown(segmentation)
    assert found.tolist() == expected
    assert found.any()
    assert not found.all()


def test_nothing_grows_to_nothing() -> None:
    assert not grown(torch.zeros(32, 32, dtype=torch.bool)).any()


def test_shares_on_by_hand() -> None:
    """A player without pixels has none on the object."""
    truth = torch.tensor([[1, 1, 0, 0]]).bool()
    players = torch.tensor([[[1, 0, 0, 0]], [[0, 1, 1, 0]], [[0, 0, 0, 1]], [[0, 0, 0, 0]]]).bool()
    assert shares_on(players, truth).tolist() == [1.0, 0.5, 0.0, 0.0]

"""Every family with a network: a stack against one network written as loops, and storing one image's weights."""

from typing import Any

import pytest
import torch

from inr_xai.errors import UserError
from inr_xai.fitting.drawing import draw_logits, export_network, load_networks
from inr_xai.inr import INR, FourierINR, GridINR, SirenINR, WireINR
from tests.helpers.inr_families import AREAS, EVERY, FAMILIES, draws, pixel_centres, small

DOUBLE = AREAS.double()


@pytest.mark.parametrize(("family", "conditioning"), EVERY)
def test_stack_is_many_single_networks(family: str, conditioning: str) -> None:
    inr, oracle = small(family, 1, 2, conditioning=conditioning), FAMILIES[family]
    points = torch.cat([pixel_centres((3, 5), DOUBLE), torch.tensor([[-1.0, -1.0], [1.0, 1.0], [0.25, -1.0]]).double()])
    logits = inr(inr.encode(points), DOUBLE).detach()
    for b, a, p in [(0, 0, 0), (1, 1, 7), (0, 1, 14), (1, 0, 15), (0, 0, 16), (1, 1, 17)]:
        weights = {name: value.numpy() for name, value in export_network(inr, b).items()}
        x, y = points[p].tolist()
        expected = oracle.logit(weights, (x, y), float(DOUBLE[a]), conditioning)
        assert float(logits[b, a, p]) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_come_from_the_images_own_generator(family: str) -> None:
    make = FAMILIES[family].make
    together, alone = make(draws(1, 2)).state_dict(), make(draws(2)).state_dict()
    assert all(torch.equal(together[name][1:], alone[name]) for name in alone)
    assert not all(torch.equal(value[0], value[1]) for value in together.values())


@pytest.mark.parametrize(("family", "conditioning"), EVERY)
def test_exported_network_draws_the_same(family: str, conditioning: str) -> None:
    stack, single = small(family, 1, 2, 3, conditioning=conditioning), small(family, 9, conditioning=conditioning)
    assert {name: value.shape[1:] for name, value in stack.state_dict().items()} == {
        name: value.shape for name, value in export_network(stack, 1).items()
    }
    load_networks(single, [export_network(stack, 1)])
    whole = draw_logits(stack, DOUBLE, (9, 7))
    torch.testing.assert_close(draw_logits(single, DOUBLE, (9, 7)), whole[1:2], rtol=0, atol=1e-12)
    assert not torch.allclose(whole[0], whole[1])


@pytest.mark.parametrize(("family", "conditioning"), EVERY)
def test_gradient_reaches_every_weight_of_its_own_image_only(family: str, conditioning: str) -> None:
    """The weights are the initial ones of a fit."""
    inr = FAMILIES[family].make(draws(1, 2), conditioning=conditioning)
    logits = inr(inr.encode(pixel_centres((12, 12), AREAS)), AREAS)
    weight = torch.randn(logits.shape[1:], generator=draws(0)[0])
    (logits[1] * weight).sum().backward()
    for name, parameter in inr.named_parameters():
        assert parameter.grad is not None, name
        assert (parameter.grad[0] == 0).all(), name
        assert parameter.grad[1].any(), name


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_depend_on_the_point_and_not_on_the_grid(family: str) -> None:
    """A grid of three times the side contains the points of an odd grid; order and number of points do not matter."""
    inr = small(family, 1, 2)
    coarse, fine = draw_logits(inr, DOUBLE, (5, 7)), draw_logits(inr, DOUBLE, (15, 21))
    torch.testing.assert_close(fine[..., 1::3, 1::3], coarse, rtol=0, atol=1e-12)
    points = pixel_centres((5, 7), DOUBLE)
    logits = inr(inr.encode(points), DOUBLE)
    if inr.finest is None:
        torch.testing.assert_close(logits, coarse.flatten(2), rtol=0, atol=1e-12)
    order = torch.randperm(len(points), generator=draws(0)[0])
    shuffled = torch.cat([inr(inr.encode(part), DOUBLE) for part in points[order].split(4)], dim=-1)
    torch.testing.assert_close(shuffled, logits[..., order], rtol=0, atol=1e-12)


def test_drawing_in_parts_is_drawing_at_once() -> None:
    inr = FourierINR(draws(1))
    whole = inr(inr.encode(pixel_centres((120, 100), AREAS)), AREAS).unflatten(-1, (120, 100))
    torch.testing.assert_close(draw_logits(inr, AREAS, (120, 100)), whole)


@pytest.mark.parametrize(("family", "conditioning"), EVERY)
def test_only_none_draws_one_field_for_all_areas(family: str, conditioning: str) -> None:
    logits = draw_logits(small(family, 1, 2, conditioning=conditioning), DOUBLE, (5, 5))
    assert logits.shape == (2, 2, 5, 5)
    assert torch.equal(logits[:, 0], logits[:, 1]) == (conditioning == "none")


@pytest.mark.parametrize("family", FAMILIES)
def test_film_starts_without_effect(family: str) -> None:
    """With scale 1 and shift 0, all areas have one field, that of the same network without conditioning."""
    film = FAMILIES[family].make(draws(1, 2), conditioning="film")
    none = FAMILIES[family].make(draws(1, 2), conditioning="none")
    shapes = {name: value.shape for name, value in none.state_dict().items()}
    none.load_state_dict(
        {name: v for name, v in film.state_dict().items() if v.shape == shapes.get(name)}, strict=False
    )
    film, none = film.double(), none.double()
    torch.testing.assert_close(draw_logits(film, DOUBLE, (6, 6)), draw_logits(none, DOUBLE, (6, 6)), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("family", "options"),
    [
        (FourierINR, {"conditioning": "film", "octaves": 4, "sigma": 0.5}),
        (SirenINR, {}),
        (WireINR, {"conditioning": "none"}),
        (GridINR, {"table_size": 64}),
    ],
)
@pytest.mark.slow
def test_a_network_starts_from_a_field_of_each_image_at_every_area(family: type[INR], options: dict[str, Any]) -> None:
    x, y = pixel_centres((16, 20), AREAS).T.unflatten(1, (16, 20))
    field = torch.stack([(2 * x).sin() * y.cos(), x * y])
    inr = family(draws(1, 2), width=32, **options)
    inr.start_from(field)
    drawn = draw_logits(inr, torch.tensor([0.05, 0.1, 0.4]), (16, 20)).flatten(2)
    for logits, expected in zip(drawn, field.flatten(1), strict=True):
        assert float(torch.corrcoef(torch.cat([logits, expected[None]]))[-1].min()) > 0.95
    assert all(parameter.grad is None for parameter in inr.parameters())


@pytest.mark.parametrize("family", [FourierINR, SirenINR, WireINR, GridINR])
def test_a_speed_changes_the_steps_and_not_the_initial_field(family: type[INR]) -> None:
    options = {"width": 6, "conditioning": "film"}
    plain, slow = family(draws(1), **options), family(draws(1), speed=0.1, film_speed=2.0, **options)
    torch.testing.assert_close(draw_logits(plain, AREAS, (5, 5)), draw_logits(slow, AREAS, (5, 5)))
    with torch.no_grad():
        for inr in (plain, slow):
            inr.network.last.weight += 1
            inr.network.last.bias += 1
    weights = [inr.network.last.weight * inr.network.last.gain for inr in (plain, slow)]
    torch.testing.assert_close(weights[0] - 1, weights[1] - 0.1)


def test_rows_of_each_octave_have_twice_the_frequencies_of_the_one_before() -> None:
    plain, octaves = FourierINR(draws(1), frequencies=7), FourierINR(draws(1), frequencies=7, octaves=3)
    factors = (octaves.frequencies / plain.frequencies)[0]
    torch.testing.assert_close(factors, torch.tensor([1.0, 1, 1, 2, 2, 4, 4]).expand(2, 7))


def discs(size: int) -> torch.Tensor:
    """Two discs in different places, 2 x size x size, 1 inside."""
    u = pixel_centres((size, size), AREAS)
    centres = torch.tensor([[-0.3, 0.2], [0.4, -0.1]])
    return ((u - centres[:, None]).norm(dim=-1) < 0.45).float().unflatten(-1, (size, size))


@pytest.mark.parametrize(
    ("family", "conditioning"),
    [(FourierINR, "concat"), (FourierINR, "film"), (SirenINR, "concat"), (WireINR, "film"), (GridINR, "concat")],
)
@pytest.mark.slow
def test_every_family_draws_a_disc(family: type[INR], conditioning: str) -> None:
    """100 steps of the default optimiser on a 20 x 20 grid; the discs are then drawn at twice the resolution."""
    inr = family(draws(1, 2), conditioning=conditioning)
    optimizer = torch.optim.Adam(inr.parameters(), lr=0.01, eps=1e-6)
    encoded, inside = inr.encode(pixel_centres((20, 20), AREAS)), discs(20).flatten(1)
    for _ in range(100):
        logits = inr(encoded, AREAS[:1])[:, 0]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, inside, reduction="none").mean(1).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    drawn, true = draw_logits(inr, AREAS[:1], (40, 40))[:, 0] > 0, discs(40) > 0
    overlap = (drawn & true).sum((-2, -1)) / (drawn | true).sum((-2, -1))
    assert overlap.min() > 0.85


def test_coordinates_are_pixel_centres_row_by_row() -> None:
    points = pixel_centres((2, 4), torch.zeros(1, dtype=torch.float64)).reshape(2, 4, 2)
    assert points[0, :, 0].tolist() == [-0.75, -0.25, 0.25, 0.75]
    assert points[:, 1, 1].tolist() == [-0.5, 0.5]


@pytest.mark.parametrize(
    ("family", "options", "sentence"),
    [
        *((family, {"width": 0}, "inr.width=0 .* at least 1") for family in (FourierINR, SirenINR, WireINR, GridINR)),
        *((family, {"depth": -1}, "inr.depth=-1 .* at least 1") for family in (FourierINR, SirenINR, WireINR, GridINR)),
        *(
            (family, {"conditioning": "fim"}, "inr.conditioning=fim is not one of concat, film, none")
            for family in (FourierINR, SirenINR, WireINR, GridINR)
        ),
        (FourierINR, {"frequencies": 0}, "inr.frequencies=0 .* at least 1"),
        (FourierINR, {"sigma": 0.0}, "inr.sigma=0 .* positive"),
        (SirenINR, {"first_omega": -1.0}, "inr.first_omega=-1 .* positive"),
        (SirenINR, {"hidden_omega": 0.0}, "inr.hidden_omega=0 .* positive"),
        (WireINR, {"omega": float("nan")}, "inr.omega=nan .* positive"),
        (WireINR, {"scale": float("inf")}, "inr.scale=inf .* positive"),
    ],
)
def test_refusals_name_the_option(family: type[INR], options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        family(draws(1), **options)

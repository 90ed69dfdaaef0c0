"""Networks of a stack against one network written with torch.nn, and storing one image's weights."""

import math

import pytest
import torch
from torch import nn

from inr_xai.errors import UserError
from inr_xai.inr import FourierINR, draw_logits, pixel_centres

AREAS = torch.tensor([0.1, 0.4])


def draws(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def by_hand(inr: FourierINR, image: int, u: torch.Tensor, area: float) -> torch.Tensor:
    """One network at one point, the area's encoding beside gamma(u) in the input."""
    angles = [2 * math.pi * float(u @ column) for column in inr.frequencies[image].T]
    gamma = [math.sin(v) for v in angles] + [math.cos(v) for v in angles]
    z = math.log(area / (1 - area)) / 3
    inputs = torch.tensor([*gamma, z, math.sin(math.pi * z), math.cos(math.pi * z)])
    first = inr.first.weight[image], inr.area.linear.weight[image]
    x = torch.relu(inputs @ torch.cat(first) + inr.first.bias[image, 0] + inr.area.linear.bias[image, 0])
    for layer in inr.hidden:
        x = torch.relu(nn.functional.linear(x, layer.weight[image].T, layer.bias[image, 0]))
    return (x @ inr.last.weight[image, :, 0] + inr.last.bias[image, 0, 0]).detach()


def test_stack_is_many_single_networks() -> None:
    inr = FourierINR(draws(1, 2), width=8, depth=3, frequencies=5)
    points = pixel_centres((3, 4), AREAS)
    logits = inr(inr.encode(points), AREAS).detach()
    for b, a, p in [(0, 0, 0), (1, 1, 7), (0, 1, 11)]:
        assert float(logits[b, a, p]) == pytest.approx(float(by_hand(inr, b, points[p], float(AREAS[a]))), abs=1e-5)


def test_weights_come_from_the_images_own_generator() -> None:
    together, alone = FourierINR(draws(1, 2)).state_dict(), FourierINR(draws(2)).state_dict()
    assert all(torch.equal(together[name][1:], alone[name]) for name in alone)
    assert not torch.equal(together["first.weight"][0], together["first.weight"][1])


def test_exported_network_draws_the_same() -> None:
    stack, single = FourierINR(draws(1, 2, 3)), FourierINR(draws(9))
    single.load([stack.export(1)])
    torch.testing.assert_close(draw_logits(single, AREAS, (9, 7)), draw_logits(stack, AREAS, (9, 7))[1:2])


def test_none_draws_one_field_for_all_areas() -> None:
    logits = draw_logits(FourierINR(draws(1, 2), conditioning="none"), AREAS, (5, 5))
    assert logits.shape == (2, 2, 5, 5)
    assert torch.equal(logits[:, 0], logits[:, 1])
    conditioned = draw_logits(FourierINR(draws(1, 2)), AREAS, (5, 5))
    assert not torch.equal(conditioned[:, 0], conditioned[:, 1])


def test_coordinates_are_pixel_centres_row_by_row() -> None:
    points = pixel_centres((2, 4), torch.zeros(1, dtype=torch.float64)).reshape(2, 4, 2)
    assert points[0, :, 0].tolist() == [-0.75, -0.25, 0.25, 0.75]
    assert points[:, 1, 1].tolist() == [-0.5, 0.5]


def test_drawing_in_parts_is_drawing_at_once() -> None:
    inr = FourierINR(draws(1))
    whole = inr(inr.encode(pixel_centres((120, 100), AREAS)), AREAS).unflatten(-1, (120, 100))
    torch.testing.assert_close(draw_logits(inr, AREAS, (120, 100)), whole)


def test_refusals_name_the_option() -> None:
    with pytest.raises(UserError, match=r"inr.conditioning must be one of concat, none; got 'film'"):
        FourierINR(draws(1), conditioning="film")
    with pytest.raises(UserError, match=r"inr.sigma positive"):
        FourierINR(draws(1), sigma=0.0)

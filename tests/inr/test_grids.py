"""The pyramid against hat functions summed corner by corner, its nested masks, and the options of both grids."""

from typing import Any

import pytest
import torch

from inr_xai.classifier import FrozenClassifier
from inr_xai.config import check
from inr_xai.errors import UserError
from inr_xai.fitting.drawing import draw_logits, export_network, load_networks
from inr_xai.fitting.fit import fit_masks
from inr_xai.inr import GridINR, PyramidINR
from inr_xai.instantiate import instantiate
from inr_xai.masks import nesting_violation
from inr_xai.method import Method
from tests.conftest import pictures
from tests.helpers.inr_families import AREAS, draws, pixel_centres
from tests.helpers.reference import pyramid_logit
from tests.helpers.runs import configured

SIDES = (2, 3, 5)


def test_a_pyramid_is_the_sum_of_every_corners_hat_function() -> None:
    inr = PyramidINR(draws(1, 2), sides=SIDES, gain=1.5, scale=1.0).double()
    points = torch.tensor([[-1.0, -1.0], [1.0, 1.0], [0.25, -1.0], [0.3, -0.71], [-0.2, 0.6]]).double()
    logits = inr(inr.encode(points), AREAS.double()).detach()
    assert logits.shape == (2, 2, 5)
    for b in range(2):
        table = export_network(inr, b)["table"].numpy()
        for p, point in enumerate(points.tolist()):
            expected = pyramid_logit(table, (point[0], point[1]), SIDES, 1.5)
            assert logits[b, :, p].tolist() == pytest.approx([expected, expected], rel=1e-9, abs=1e-12)


def test_values_of_a_pyramid_come_from_the_images_own_generator_and_can_be_stored() -> None:
    together, alone = PyramidINR(draws(1, 2), sides=SIDES), PyramidINR(draws(2), sides=SIDES)
    assert torch.equal(together.table[1:], alone.table)
    load_networks(alone, [export_network(together, 0)])
    whole = draw_logits(together, AREAS, (9, 7))
    torch.testing.assert_close(draw_logits(alone, AREAS, (9, 7)), whole[:1])
    assert not torch.allclose(whole[0], whole[1])


def test_gradient_reaches_every_corner_of_its_own_image_only() -> None:
    inr = PyramidINR(draws(1, 2), sides=SIDES)
    inr(inr.encode(pixel_centres((12, 12), AREAS)), AREAS)[0].sum().backward()
    assert inr.table.grad is not None
    assert bool((inr.table.grad[0] != 0).all())
    assert bool((inr.table.grad[1] == 0).all())


def test_larger_masks_of_a_pyramid_contain_the_smaller_ones(tiny: FrozenClassifier) -> None:
    method = Method(areas=(0.1, 0.2, 0.4), steps=3, nested=True, inr=PyramidINR)
    result = fit_masks(pictures(2), torch.tensor([0, 1]), ["a", "b"], tiny, method)
    areas = torch.tensor(method.areas)
    # Stored masks are rounded to float16, and ties at the threshold are changed by one unit in the last place.
    assert float(nesting_violation(result.masks[:, 0].float(), areas).max()) < 1e-6


def test_the_configuration_of_the_pyramid_is_its_default() -> None:
    cfg = configured("inr=pyramid")
    check(cfg)
    family = instantiate(cfg.inr)
    assert torch.equal(family(draws(3)).table, PyramidINR(draws(3)).table)
    assert family(draws(3)).sides == PyramidINR(draws(3)).sides


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"conditioning": "film"}, "inr.conditioning=film is not available with inr=pyramid"),
        ({"sides": []}, "inr.sides names no grid"),
        ({"sides": [4, 0]}, "inr.sides=0 is out of range"),
        ({"gain": 0.0}, "inr.gain=0 is out of range"),
        ({"scale": -1.0}, "inr.scale=-1 is out of range"),
    ],
)
@pytest.mark.slow
def test_wrong_options_of_a_pyramid_are_refused_before_any_work(options: dict[str, object], sentence: str) -> None:
    cfg = configured("inr=pyramid")
    for name, value in options.items():
        cfg.inr[name] = value
    with pytest.raises(UserError, match=sentence):
        check(cfg)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"levels": 0}, "inr.levels=0 .* at least 1"),
        ({"features": 0}, "inr.features=0 .* at least 1"),
        ({"base": 0}, "inr.base=0 .* at least 1"),
        ({"growth": 0.9}, r"inr.growth=0.9 .* at least 1"),
        ({"table_size": 100}, "inr.table_size=100 is no power of two"),
        ({"feature_scale": 0.0}, "inr.feature_scale=0 .* positive"),
    ],
)
def test_wrong_options_of_grids_with_a_network_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        GridINR(draws(1), **options)

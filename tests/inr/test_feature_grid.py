"""The network of grids' features: its linear start, its nearly nested masks, and what a fit sees of it."""

from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from inr_xai.classifier import FrozenClassifier
from inr_xai.errors import UserError
from inr_xai.fitting.drawing import draw_logits, export_network
from inr_xai.fitting.fit import fit_masks
from inr_xai.fitting.mask_module import MaskModule
from inr_xai.inr import FeatureGridINR
from inr_xai.masks import nesting_violation
from inr_xai.method import Method
from inr_xai.types import Batch
from tests.conftest import pictures
from tests.helpers.inr_families import AREAS, FAMILIES, draws, pixel_centres, small
from tests.helpers.reference import grid_inputs

SIDES = (4, 7, 14, 28)


@pytest.mark.parametrize(
    "options", [{}, {"features": 3, "depth": 3, "speed": 1.0}, {"depth": 1, "conditioning": "none"}]
)
def test_at_the_start_it_is_the_sum_of_the_grids_means_at_every_area(options: dict[str, Any]) -> None:
    inr = FeatureGridINR(draws(1, 2), **options).double()
    points = pixel_centres((3, 5), AREAS.double())
    logits = inr(inr.encode(points), AREAS.double()).detach()
    for b in range(2):
        table = export_network(inr, b)["table"].numpy()
        for p, point in enumerate(points.tolist()):
            expected = 5 * sum(grid_inputs(table, point, SIDES, None)) / table.shape[1]
            assert logits[b, :, p].tolist() == pytest.approx([expected, expected], abs=1e-6)


@pytest.mark.parametrize("size", [(9, 7), (18, 14), (2, 3)])
def test_a_drawing_interpolates_the_corners_of_the_finest_grid(size: tuple[int, int]) -> None:
    """The network, with weights unlike the initial ones, is written as loops, and torch samples its corners."""
    inr, areas = small("feature_grid", 1), AREAS.double()
    weights = {name: value.numpy() for name, value in export_network(inr, 0).items()}
    logit = FAMILIES["feature_grid"].logit
    places = [-1 + 0.4 * corner for corner in range(6)]
    corners = [[[logit(weights, (x, y), float(area), "film") for x in places] for y in places] for area in areas]
    points = pixel_centres(size, areas).unflatten(0, size)
    expected = F.grid_sample(areas.new_tensor([corners]), points[None], mode="bilinear", align_corners=True)
    torch.testing.assert_close(draw_logits(inr, areas, size), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("dtype", "tolerance", "options", "stride"),
    [
        (torch.float64, 1e-9, {}, 1),
        (torch.float64, 1e-9, {"sides": (2, 4, 8)}, 2),
        (torch.float64, 1e-9, {"sides": (3, 5, 13), "conditioning": "none"}, 4),
        (torch.float32, 1e-5, {}, 4),
    ],
)
def test_a_fit_sees_what_is_drawn(
    tiny: FrozenClassifier, dtype: torch.dtype, tolerance: float, options: dict[str, Any], stride: int
) -> None:
    method = Method(areas=(0.1, 0.3), stride=stride, inr=partial(FeatureGridINR, **options))
    batch = Batch(pictures(2).to(dtype), torch.tensor([0, 1]), ["a", "b"])
    module = MaskModule(batch, explanation=1, classifier=tiny, method=method)
    with torch.no_grad():
        for parameter in module.inr.parameters():  # weights far from the initial ones, where the network is linear
            parameter += 0.2 * parameter.std() * torch.randn(parameter.shape, generator=draws(0)[0]).to(parameter)
        module.inr.film += 0.2 * torch.randn(module.inr.film.shape, generator=draws(1)[0]).to(module.inr.film)
        module.on_fit_start()
        fitted = module.current_masks(1.0)
        logits = draw_logits(module.inr, module.areas, (24, 24))
        drawn = method.area_rule.masks(logits, module.areas, None, progress=1.0)
        torch.testing.assert_close(fitted, drawn, rtol=0, atol=tolerance)
        at_pixels = module.inr(module.inr.encode(pixel_centres((24, 24), module.areas)), module.areas)
        assert float((at_pixels - logits.flatten(2)).abs().max()) > 1e-3
        with torch.autocast("cpu", torch.bfloat16):  # it does not reach the masks
            assert torch.equal(module.current_masks(1.0), fitted)


@pytest.mark.parametrize("conditioning", ["film", "none"])
def test_it_starts_from_a_field_and_keeps_the_features_apart(conditioning: str) -> None:
    y, x = pixel_centres((20, 24), AREAS.double()).unflatten(0, (20, 24)).unbind(-1)[::-1]
    field = torch.stack([(3 * x).sin() * (2 * y).cos(), x * y])
    inr = FeatureGridINR(draws(1, 2), conditioning=conditioning).double()
    before = inr.table.detach().clone()
    inr.start_from(field)
    drawn = draw_logits(inr, AREAS.double(), (20, 24))
    assert float((drawn - field[:, None]).abs().max()) < 0.05
    torch.testing.assert_close(inr.table.diff(dim=-1), before.diff(dim=-1))


def test_masks_of_neighbouring_areas_are_nearly_nested(tiny: FrozenClassifier) -> None:
    method = Method(areas=(0.1, 0.2, 0.4), steps=8, inr=FeatureGridINR)
    result = fit_masks(pictures(2), torch.tensor([0, 1]), ["a", "b"], tiny, method)
    masks, areas = result.masks[:, 0].float(), torch.tensor(method.areas)
    assert not torch.equal(result.networks[0][0]["film"][:3], torch.zeros_like(result.networks[0][0]["film"][:3]))
    for pair in ([0, 1], [1, 2]):
        assert float(nesting_violation(masks[:, pair], areas[pair]).max()) <= 0.05


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"conditioning": "concat"}, "inr.conditioning=concat is not available with inr=feature_grid; use .*=film"),
        ({"sides": []}, "inr.sides names no grid"),
        ({"width": 63}, "inr.width=63 has no room .* an even number, at least 16"),
        ({"width": 14}, "inr.width=14 has no room .* at least 16"),
        ({"features": 0}, "inr.features=0 .* at least 1"),
        ({"speed": 0.0}, "inr.speed=0 .* positive"),
        ({"film_speed": -1.0}, "inr.film_speed=-1 .* positive"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        FeatureGridINR(draws(1), **options)

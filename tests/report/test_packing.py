"""Packed masks, unpacked, are the run's own hard masks."""

from pathlib import Path

import numpy as np
import pytest
import torch

from inr_xai import load
from inr_xai.report.content import packed_masks
from inr_xai.report.packing import drawn_areas, pack, pack_map, step_areas
from tests.helpers.report_pages import AREAS, largest_values, made_up, unpacked
from tests.helpers.runs import explain

OVERRIDES = {
    "ranks": ["inr.conditioning=none", "nested=true"],
    "masks": ["exclusion.area=0", "optimizer.lr=0.3", "steps=5"],
}


@pytest.fixture(scope="module", params=list(OVERRIDES))
def kind_and_run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A run whose masks nest, or one whose masks do not."""
    out = tmp_path_factory.mktemp(request.param)
    explain(out, "data.size=2", "seed=1", *OVERRIDES[request.param])
    return request.param, out


@pytest.mark.slow
def test_at_drawn_areas_the_mask_is_that_of_the_run_pixel_by_pixel(kind_and_run: tuple[str, Path]) -> None:
    kind, out = kind_and_run
    kinds = []
    for explained in load(out, ["tests"]).values():
        packed = packed_masks(explained.record, ["tests"])
        kinds.append(packed.kind)
        drawn = drawn_areas(explained.areas, 0.3, 24 * 24)
        steps = [packed.areas.index(area) for area in drawn if area in packed.areas]
        assert len(steps) > 25
        assert set(explained.areas) <= {packed.areas[step] for step in steps}
        for step in {*steps[::3], *map(packed.areas.index, explained.areas)}:
            for k in (1, 2):
                area = packed.areas[step]
                hard = largest_values(explained.mask(area, explanation=k), area)
                assert np.array_equal(unpacked(packed, k, step), hard), (area, k)
    assert kind in kinds


@pytest.mark.slow
def test_between_drawn_areas_a_nested_mask_differs_by_rounding_alone(tmp_path: Path) -> None:
    explain(tmp_path, "data.size=1", *OVERRIDES["ranks"])
    (explained,) = load(tmp_path, ["tests"]).values()
    packed = packed_masks(explained.record, ["tests"])
    drawn = drawn_areas(explained.areas, 0.3, 24 * 24)
    between = [step for step, area in enumerate(packed.areas) if area not in drawn and area > 0.01][::23]
    assert len(between) > 10
    for step in between:
        mask, hard = unpacked(packed, 1, step), largest_values(explained.mask(packed.areas[step]), packed.areas[step])
        assert mask.sum() == hard.sum()
        assert (mask != hard).sum() <= 2


def test_masks_that_do_not_nest_are_kept_one_by_one() -> None:
    for nested, kind in ((True, "ranks"), (False, "masks")):
        packed = made_up("a", nested=nested).masks
        assert packed.kind == kind
        for area in AREAS:
            assert unpacked(packed, 2, packed.areas.index(area)).sum() == int(area * 256)


def test_further_masks_than_sixteen_stand_below() -> None:
    masks = torch.rand(1, 32, 5, 7, generator=torch.Generator().manual_seed(0))
    areas = [(step + 1) / 35 for step in range(32)]
    packed = pack(masks, areas, areas)
    assert (packed.kind, packed.size) == ("masks", (5, 7))
    for step in (0, 15, 16, 31):
        assert np.array_equal(unpacked(packed, 1, step), largest_values(masks[0, step], areas[step]))


def test_a_heatmap_is_cut_at_its_largest_values_and_ties_in_a_fixed_order() -> None:
    heatmap = torch.rand(20, 30, generator=torch.Generator().manual_seed(3))
    packed = pack_map(heatmap, [0.07, 0.2], name="a")
    assert packed.areas[-1] == 0.5
    for area in (0.07, 0.2, 0.5):
        assert np.array_equal(unpacked(packed, 1, packed.areas.index(area)), largest_values(heatmap, area))
    flat = torch.zeros(20, 30)
    first, again, other = (pack_map(flat, [0.1], name=name) for name in ("a", "a", "b"))
    assert first == again != other
    assert unpacked(first, 1, first.areas.index(0.1)).sum() == 60


def test_fitted_areas_are_drawn_and_are_steps() -> None:
    areas = drawn_areas([0.05, 0.1, 0.2], 0.5, 224 * 224)
    assert {0.05, 0.1, 0.2, 0.5} <= set(areas)
    assert len(set(areas)) == 32
    assert areas == sorted(areas)
    assert {0.05, 0.1, 0.2, 0.5} <= set(step_areas(areas, [0.05, 0.1, 0.2]))
    assert drawn_areas([0.4], 1 / 2, 30)[0] * 30 >= 1
    assert max(drawn_areas([0.7], 0.5, 1000)) == 0.7
    assert len(drawn_areas([place / 100 for place in range(1, 80)], 1.0, 1000)) <= 32

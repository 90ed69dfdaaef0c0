"""Scoring of maps: our own as `score_masks` scores them, others by hand, and what cannot be scored."""

import pytest
import torch

from inr_xai.classifier import FrozenClassifier
from inr_xai.columns import BASELINES
from inr_xai.compare.methods.base import MethodMaps
from inr_xai.compare.methods.controls import CentredDisc, RandomMasks
from inr_xai.compare.scorer import COMPARED_SCORES, MAPS_NOT_FINITE, MapScorer
from inr_xai.errors import UserError
from inr_xai.masks import area_error, grayness, hard_masks, nesting_violation
from inr_xai.metrics.shape import components, perimeter
from inr_xai.scoring.scores import LOGITS_NOT_FINITE, score_masks
from inr_xai.seeding import generator
from inr_xai.types import Preprocessing, Row
from tests.conftest import SIDE, pictures
from tests.helpers.comparison import AREAS

NAME, TARGET, SEED = "cat", 2, 5
GAME_COLUMNS = [f"{game}_{name}" for game in ("preservation_hard", "deletion_hard") for name in (*BASELINES, "mean")]


def rows_of(tiny: FrozenClassifier, maps: MethodMaps, **options: int) -> list[Row]:
    photos = pictures(3, seed=1)
    scorer = MapScorer(tiny, pictures(1)[0], TARGET, NAME, areas=AREAS, seed=SEED, photos=photos, **options)
    return scorer.rows(maps)


def scores_of_a_run(
    tiny: FrozenClassifier, masks: torch.Tensor, free: torch.Tensor | None = None
) -> dict[str, list[float]]:
    """The columns that a run writes for the same masks."""
    scores = score_masks(
        tiny,
        pictures(1),
        torch.tensor([TARGET]),
        masks[None],
        areas=AREAS,
        sample_ids=[NAME],
        seed=SEED,
        photos=pictures(3, seed=1)[None],
        free=free,
    )
    assert scores.failures == {}
    return {name: column[0].tolist() for name, column in scores.columns.items()}


def soft_masks(count: int = 2) -> torch.Tensor:
    return pictures(1, seed=3)[0, :count].half()


def test_masks_of_ours_have_the_scores_of_a_run(tiny: FrozenClassifier) -> None:
    masks = soft_masks()
    rows, expected = rows_of(tiny, MethodMaps(masks, passes=8.0, seconds=2.5)), scores_of_a_run(tiny, masks)
    for place, row in enumerate(rows):
        assert (row["image_id"], row["target"], row["area"]) == (NAME, TARGET, AREAS[place])
        assert (row["passes"], row["seconds"]) == (8, 2.5)
        for name in ("p_full", *GAME_COLUMNS, "area_error", "grayness"):
            assert row[name] == expected[name][place], name


def test_columns_of_the_masks_alone(tiny: FrozenClassifier) -> None:
    masks, areas = soft_masks()[None], torch.tensor(AREAS, dtype=torch.float64)
    hard = hard_masks(masks, areas, generators=[generator(SEED, NAME, "ties")])
    for place, row in enumerate(rows_of(tiny, MethodMaps(masks[0], passes=0, seconds=0))):
        assert row["area_error"] == area_error(masks, areas)[0, place].item()
        assert row["grayness"] == grayness(masks)[0, place].item()
        assert row["nesting_violation"] == nesting_violation(masks, areas).item()
        assert row["components"] == components(hard)[0, place].item()
        assert row["perimeter"] == perimeter(hard)[0, place].item()


def test_a_heatmap_is_cut_at_each_area_and_has_no_area_of_its_own(tiny: FrozenClassifier) -> None:
    disc = CentredDisc().explain(pictures(1)[0], TARGET, NAME)
    rows, expected = rows_of(tiny, disc), scores_of_a_run(tiny, disc.maps.expand(2, -1, -1))
    for place, row in enumerate(rows):
        assert all(row[name] == expected[name][place] for name in GAME_COLUMNS)
        assert all(row[name] != row[name] for name in ("area_error", "grayness", "nesting_violation", "shared_pixels"))


def test_random_masks_score_what_a_run_calls_chance(tiny: FrozenClassifier) -> None:
    random = RandomMasks(seed=SEED).explain(pictures(1)[0], TARGET, NAME)
    free = torch.ones(1, 2, SIDE, SIDE, dtype=torch.bool)
    free[..., : SIDE // 2] = False
    for region in (None, free):
        maps = MethodMaps(random.maps, passes=0, seconds=0, draws=True, free=None if region is None else region[0])
        expected = scores_of_a_run(tiny, soft_masks(), region)
        for place, row in enumerate(rows_of(tiny, maps)):
            for name in BASELINES:
                assert row[f"preservation_hard_{name}"] == pytest.approx(expected[f"chance_{name}"][place], abs=1e-7)
            assert row["preservation_hard_mean"] == pytest.approx(expected["chance"][place], abs=1e-7)


def test_the_free_region_bounds_hard_masks_and_shared_pixels_are_counted(tiny: FrozenClassifier) -> None:
    first = torch.zeros(2, SIDE, SIDE, dtype=torch.bool)
    first[:, :6] = True
    masks = soft_masks()
    apart = rows_of(tiny, MethodMaps(masks, passes=0, seconds=0, free=~first, first_masks=first))
    assert [row["shared_pixels"] for row in apart] == [0, 0]
    expected = scores_of_a_run(tiny, masks, ~first[None])
    assert all(row[name] == expected[name][place] for place, row in enumerate(apart) for name in GAME_COLUMNS)
    same = rows_of(tiny, MethodMaps(first.half(), passes=0, seconds=0, first_masks=first))
    assert [row["shared_pixels"] for row in same] == [57, 144]  # 0.1 and 0.25 of 576 pixels


def test_stability_under_seeds(tiny: FrozenClassifier) -> None:
    masks = torch.zeros(2, SIDE, SIDE, dtype=torch.float16)
    masks[0].view(-1)[:57] = 1
    masks[1].view(-1)[:172] = 1
    other = masks.bool()
    other[1] = False
    other[1].view(-1)[100:272] = True
    rows = rows_of(tiny, MethodMaps(masks, passes=0, seconds=0, other_seed_masks=other))
    assert [row["seed_iou"] for row in rows] == [1, pytest.approx(72 / 272)]


def test_memory_changes_no_score(tiny: FrozenClassifier) -> None:
    maps = MethodMaps(soft_masks(), passes=0, seconds=0)
    for few, many in zip(rows_of(tiny, maps, masks_per_forward=3), rows_of(tiny, maps), strict=True):
        assert all(few[name] == pytest.approx(many[name], abs=1e-6) for name in GAME_COLUMNS)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_maps_that_are_not_finite_are_refused(tiny: FrozenClassifier, value: float) -> None:
    masks = soft_masks()
    masks[0, 0, 0] = value
    with pytest.raises(UserError) as refusal:
        rows_of(tiny, MethodMaps(masks, passes=0, seconds=0))
    assert str(refusal.value) == MAPS_NOT_FINITE


def test_logits_that_are_not_finite_are_refused() -> None:
    preprocessing = Preprocessing((SIDE, SIDE), SIDE, "bilinear", (0.5,) * 3, (0.25,) * 3)
    broken = FrozenClassifier(lambda images: torch.full((len(images), 5), torch.nan), preprocessing=preprocessing)
    with pytest.raises(UserError) as refusal:
        rows_of(broken, MethodMaps(soft_masks(), passes=0, seconds=0))
    assert str(refusal.value) == LOGITS_NOT_FINITE


def test_every_column_of_numbers_is_in_every_row(tiny: FrozenClassifier) -> None:
    for row in rows_of(tiny, MethodMaps(soft_masks(), passes=0, seconds=0)):
        assert [name for name in row if name in COMPARED_SCORES] == list(COMPARED_SCORES)

"""Scores of masks: against one copy at a time in float64, identities, known answers, independence of the batch."""

import contextlib
import math
from collections.abc import Iterator
from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

from inr_xai.classifier import FrozenClassifier
from inr_xai.columns import SCORES
from inr_xai.metrics import hard_masks
from inr_xai.scoring import ExplanationScores, score_masks, scoring_baselines
from inr_xai.scoring.random_masks import smooth_fields
from inr_xai.scoring.scores import LOGITS_NOT_FINITE, MASK_NOT_FINITE
from inr_xai.seeding import generator
from inr_xai.types import Preprocessing
from tests.helpers import reference

AREAS = [0.1, 0.25, 0.5]
SIZE = (8, 10)
IDS = ["a", "b", "c"]
BASELINES = ["blur", "grey", "noise", "photo"]


class Stub:
    """A nonlinear classifier of four classes, which counts the images that it is given."""

    head = "softmax"
    colour_mean = (0.5, 0.4, 0.3)
    colour_std = (1.0, 1.0, 1.0)

    def __init__(self) -> None:
        draw = torch.Generator().manual_seed(5)
        self.weight = torch.randn(3 * math.prod(SIZE), 4, dtype=torch.float64, generator=draw) / 2
        self.images_seen, self.largest, self.is_frozen = 0, 0, False

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        assert self.is_frozen
        assert not torch.is_grad_enabled()
        self.images_seen, self.largest = self.images_seen + len(images), max(self.largest, len(images))
        return torch.tanh(images.flatten(1) - 0.5) @ self.weight.to(images)

    def probability(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return logits.softmax(1)[torch.arange(len(logits)), targets]

    @contextlib.contextmanager
    def frozen(self, device: torch.device, dtype: torch.dtype) -> Iterator[None]:
        self.is_frozen = True
        yield
        self.is_frozen = False


class RedShare(Stub):
    """A classifier whose probability is the mean of the red channel over some columns."""

    colour_mean = (0.0, 0.0, 0.0)

    def __init__(self, columns: slice = slice(None)) -> None:
        super().__init__()
        self.columns = columns

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        return images[:, :1, :, self.columns].mean((-2, -1))

    def probability(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return logits[:, 0]


def batch(dtype: torch.dtype = torch.float64) -> dict[str, torch.Tensor]:
    """Returns three images with stored masks (multiples of 1/8, with ties) and the free pixels at each area."""
    draw = torch.Generator().manual_seed(1)
    return {
        "images": torch.rand(3, 3, *SIZE, generator=draw).to(dtype),
        "targets": torch.tensor([2, 0, 3]),
        "masks": (torch.randint(0, 9, (3, len(AREAS), *SIZE), generator=draw) / 8).half(),
        "photos": torch.rand(3, 3, 3, *SIZE, generator=draw).to(dtype),
        "free": torch.rand(3, len(AREAS), *SIZE, generator=draw) < 0.7,
    }


def score(inputs: dict[str, torch.Tensor], classifier: Stub | None = None, **options) -> ExplanationScores:
    options = {"areas": AREAS, "sample_ids": IDS, "seed": 4, "masks_per_forward": 7} | options
    positional = [inputs[name] for name in ("images", "targets", "masks")]
    return score_masks(classifier or Stub(), *positional, photos=inputs["photos"], free=inputs.get("free"), **options)


def test_every_column_against_one_copy_at_a_time() -> None:
    inputs, stub = batch(), Stub()
    scores = score(inputs)
    drawn = scoring_baselines(
        inputs["images"], IDS, seed=4, colour_mean=torch.tensor(stub.colour_mean), photos=inputs["photos"]
    )
    stub.is_frozen = True
    for image in range(3):

        @torch.no_grad()
        def probability(pixels: np.ndarray, image: int = image) -> float:
            logits = stub(torch.from_numpy(pixels)[None]).numpy()[0]
            return float(np.exp(logits)[int(inputs["targets"][image])] / np.exp(logits).sum())

        baselines = {name: list(draws[image].numpy()) for name, draws in drawn.items()}
        pixels = inputs["images"][image].numpy()
        fields = smooth_fields(SIZE, generators=[generator(4, IDS[image], "chance")])[0]
        for position, area in enumerate(AREAS):
            free = inputs["free"][image, position]
            stored = inputs["masks"][image, position]
            ties = [generator(4, IDS[image], "ties")]
            hard = hard_masks(stored[None, None], torch.tensor([area]), generators=ties, free=free[None, None])[0, 0]
            expected = reference.games(probability, pixels, stored.double().numpy(), hard.numpy(), baselines)
            expected["p_full"] = probability(pixels)
            expected |= reference.chance(probability, pixels, fields.numpy(), area, free.numpy(), baselines)
            result = {name: float(scores.columns[name][image, position]) for name in expected}
            assert result == pytest.approx(expected, abs=1e-12)
            assert float(scores.columns["rank_violation"][image, position]) == pytest.approx(
                reference.rank_violation(stored.numpy(), area), abs=1e-6
            )


def test_a_mask_of_ones_is_the_image_and_a_mask_of_zeros_the_baseline() -> None:
    inputs = batch()
    inputs["masks"] = torch.ones_like(inputs["masks"])
    ones = score(inputs).columns
    inputs["masks"] = torch.zeros_like(inputs["masks"])
    zeros = score(inputs).columns
    for name in BASELINES:
        torch.testing.assert_close(ones[f"preservation_soft_{name}"], ones["p_full"], rtol=0, atol=1e-14)
        torch.testing.assert_close(zeros[f"deletion_soft_{name}"], ones["p_full"], rtol=0, atol=1e-14)
        torch.testing.assert_close(
            zeros[f"preservation_soft_{name}"], ones[f"deletion_soft_{name}"], rtol=0, atol=1e-14
        )
    grey = torch.tensor(Stub.colour_mean).double().reshape(1, 3, 1, 1).expand(3, 3, *SIZE)
    stub = Stub()
    stub.is_frozen = True
    with torch.no_grad():
        expected = stub.probability(stub(grey), inputs["targets"])
    torch.testing.assert_close(zeros["preservation_soft_grey"][:, 0], expected, rtol=0, atol=1e-14)


def test_deletion_of_a_mask_is_preservation_of_its_complement() -> None:
    inputs = batch()
    del inputs["free"]
    order = torch.rand(3, 1, math.prod(SIZE), generator=torch.Generator().manual_seed(0)).argsort(-1)
    inputs["masks"] = (order / 128).reshape(3, 1, *SIZE).half()  # exact in float16
    deleted = score(inputs, areas=[0.25]).columns
    inputs["masks"] = 1 - inputs["masks"]
    preserved = score(inputs, areas=[0.75]).columns
    for name in [*BASELINES, "mean"]:
        for kind in ("hard", "soft"):
            torch.testing.assert_close(
                deleted[f"deletion_{kind}_{name}"], preserved[f"preservation_{kind}_{name}"], rtol=0, atol=1e-12
            )


def test_a_batch_equals_one_image_at_a_time_in_any_order() -> None:
    inputs = batch()
    together = score(inputs)
    for image in (2, 0, 1):
        alone = score(
            {name: value[image : image + 1] for name, value in inputs.items()}, sample_ids=IDS[image : image + 1]
        )
        for name, column in alone.columns.items():
            torch.testing.assert_close(column[0], together.columns[name][image], rtol=0, atol=1e-12)


def test_an_area_is_scored_alike_whatever_other_areas_are_scored() -> None:
    inputs = batch()
    together = score(inputs).columns
    del together["nesting_violation"]  # which depends on all areas of an image
    inputs["masks"], inputs["free"] = inputs["masks"][:, 1:2], inputs["free"][:, 1:2]
    alone = score(inputs, areas=AREAS[1:2]).columns
    for name, column in together.items():
        torch.testing.assert_close(alone[name][:, 0], column[:, 1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("masks_per_forward", [1, 5, 1000])
def test_nothing_depends_on_how_many_masks_go_through_at_once(masks_per_forward: int) -> None:
    inputs, stub = batch(), Stub()
    scores, expected = score(inputs, stub, masks_per_forward=masks_per_forward), score(inputs)
    for name, column in scores.columns.items():
        torch.testing.assert_close(column, expected.columns[name], rtol=0, atol=1e-12)
    assert stub.largest <= masks_per_forward


def test_no_copy_goes_through_the_classifier_twice() -> None:
    stub = Stub()
    scores = score(batch(), stub)
    draws = 1 + 1 + 4 + 3
    assert scores.passes == stub.images_seen == 3 * (1 + len(AREAS) * (4 * draws + 8 * len(BASELINES)))


def test_seeds_change_noise_and_chance_alone() -> None:
    inputs = batch()
    inputs["masks"] += torch.arange(math.prod(SIZE)).reshape(SIZE).half() / 2000  # no ties
    first, second = score(inputs).columns, score(inputs, seed=5).columns
    same = {name for name in first if torch.equal(first[name], second[name])}
    changed = {name for name in first if not (first[name] == second[name]).any()}
    noisy = {f"{game}_{kind}_noise" for game in ("preservation", "deletion") for kind in ("hard", "soft")}
    noisy |= {name.replace("noise", "mean") for name in noisy}
    assert noisy <= changed
    assert {"chance", "chance_noise"} <= changed
    assert {"p_full", "area_error", "preservation_hard_photo", "deletion_soft_blur"} <= same


def test_chance_of_a_classifier_that_counts_kept_pixels() -> None:
    white = {
        "images": torch.ones(2, 3, *SIZE),
        "targets": torch.tensor([0, 0]),
        "masks": torch.rand(2, len(AREAS), *SIZE).half(),
        "photos": torch.tensor([0.0, 0.3, 0.9])[None, :, None, None, None].expand(2, 3, 3, *SIZE).clone(),
    }
    columns = score(white, RedShare(), sample_ids=["a", "b"]).columns
    for position, area in enumerate(AREAS):
        share = math.floor(area * math.prod(SIZE) + 1e-6) / math.prod(SIZE)
        photo = (3 * 0.0 + 3 * 0.3 + 2 * 0.9) / 8  # eight masks take turns over three photos
        assert columns["chance_grey"][:, position].tolist() == pytest.approx([share] * 2, abs=1e-6)
        assert columns["chance_blur"][:, position].tolist() == pytest.approx([1, 1], abs=1e-6)
        expected = share + (1 - share) * photo
        assert columns["chance_photo"][:, position].tolist() == pytest.approx([expected] * 2, abs=1e-6)
        expected = share + (1 - share) * 0.4  # scores count all draws alike
        assert columns["preservation_hard_photo"][:, position].tolist() == pytest.approx([expected] * 2, abs=1e-6)
        assert columns["deletion_hard_grey"][:, position].tolist() == pytest.approx([1 - share] * 2, abs=1e-6)


def test_chance_masks_stay_in_the_free_region() -> None:
    inputs = {
        "images": torch.ones(2, 3, *SIZE),
        "targets": torch.tensor([0, 0]),
        "masks": torch.rand(2, len(AREAS), *SIZE).half(),
        "photos": torch.zeros(2, 1, 3, *SIZE),
        "free": torch.zeros(2, len(AREAS), *SIZE, dtype=torch.bool),
    }
    inputs["free"][..., 6:] = True  # 4 of 10 columns: fewer pixels than the largest area asks for
    blocked = score(inputs, RedShare(slice(0, 6)), sample_ids=["a", "b"]).columns
    assert blocked["chance_grey"].eq(0).all()
    assert blocked["preservation_hard_photo"].eq(0).all()
    everywhere = score(inputs, RedShare(), sample_ids=["a", "b"]).columns["chance_photo"]
    torch.testing.assert_close(everywhere, torch.tensor([[0.1, 0.25, 0.4]] * 2))


def test_an_image_with_infinite_logits_fails_alone() -> None:
    inputs = batch()
    expected = score(inputs).columns
    inputs["images"][1, 0, 0, 0] = torch.nan
    scores = score(inputs)
    assert scores.failures == {1: LOGITS_NOT_FINITE}
    for name, column in scores.columns.items():
        assert column[1].isnan().all()
        torch.testing.assert_close(column[[0, 2]], expected[name][[0, 2]], rtol=0, atol=1e-12)


def test_infinite_logits_are_a_failure_even_where_the_probability_is_finite() -> None:
    class Overflowing(Stub):
        def __call__(self, images: torch.Tensor) -> torch.Tensor:
            return super().__call__(images).index_fill(1, torch.tensor([1]), -torch.inf)

    assert score(batch(), Overflowing()).failures == dict.fromkeys(range(3), LOGITS_NOT_FINITE)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_an_image_with_a_broken_mask_fails_alone(value: float) -> None:
    inputs = batch()
    expected = score(inputs).columns
    inputs["masks"][2, 1, 0, 0] = value
    scores = score(inputs)
    assert scores.failures == {2: MASK_NOT_FINITE}
    for name, column in scores.columns.items():
        assert column[2].isnan().all()
        torch.testing.assert_close(column[:2], expected[name][:2], rtol=0, atol=1e-12)


def test_rows_hold_the_columns_in_order() -> None:
    scores = score(batch())
    rows = scores.rows(2)
    assert [(row["sample_id"], row["explanation"], row["area"]) for row in rows] == [
        (sample_id, 2, area) for sample_id in IDS for area in AREAS
    ]
    assert all([row[name] for row in rows] == column.flatten().tolist() for name, column in scores.columns.items())
    games = map("_".join, product(("preservation", "deletion"), ("hard", "soft"), (*BASELINES, "mean")))
    geometry = ["area_error", "grayness", "share_above_half", "rank_violation", "nesting_violation"]
    chances = [*(f"chance_{name}" for name in BASELINES), "chance"]
    together = map("_".join, product(("union_hard", "remaining_hard"), (*BASELINES, "mean")))
    scored = [*geometry, *games, "p_full", *chances, *together, "union_share"]
    assert list(rows[0]) == ["sample_id", "explanation", "area", *scored]
    assert list(scores.columns) == list(SCORES)


def test_a_real_classifier_is_frozen_while_it_scores() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(3 * math.prod(SIZE), 4))
    preprocessing = Preprocessing(SIZE, 10, "bilinear", (0.5, 0.4, 0.3), (0.2, 0.2, 0.2))
    classifier = FrozenClassifier(model, preprocessing=preprocessing)
    inputs = batch(torch.float32)
    first, second = score(inputs, classifier), score(inputs, classifier)
    assert all(torch.equal(first.columns[name], second.columns[name]) for name in first.columns)
    assert model.training
    assert model[1].training
    assert model[2].weight.requires_grad
    normalised = (inputs["images"] - torch.tensor([0.5, 0.4, 0.3])[:, None, None]) / 0.2
    whole = (normalised.flatten(1) @ model[2].weight.T + model[2].bias).softmax(1)
    expected = whole[torch.arange(3), inputs["targets"]].detach()
    torch.testing.assert_close(first.columns["p_full"][:, 0], expected)

"""Several explanations together: against one copy at a time in float64, identities, and the number of passes."""

import numpy as np
import pytest
import torch

from inr_xai.columns import BASELINES, UNION_COLUMNS
from inr_xai.metrics import hard_masks
from inr_xai.scoring import ExplanationScores, score_masks, scoring_baselines
from inr_xai.seeding import generator
from tests.helpers import reference
from tests.scoring.test_scores import AREAS, IDS, SIZE, RedShare, Stub, batch, score


def second(inputs: dict[str, torch.Tensor], earlier: torch.Tensor, stub: Stub) -> ExplanationScores:
    """Scores other masks of the same images as their second explanation, which overlaps with the first."""
    masks = inputs["masks"].flip(-1)
    return score(inputs | {"masks": masks}, stub, earlier=earlier)


def hard_of(masks: torch.Tensor, free: torch.Tensor) -> torch.Tensor:
    """Returns the hard masks of an explanation."""
    ties = [generator(4, name, "ties") for name in IDS]
    return hard_masks(masks, torch.tensor(AREAS), generators=ties, free=free)


def test_of_two_explanations_against_one_copy_at_a_time() -> None:
    inputs, stub = batch(), Stub()
    first = score(inputs, stub)
    scores = second(inputs, first.union, stub)
    hards = [hard_of(masks, inputs["free"]) for masks in (inputs["masks"], inputs["masks"].flip(-1))]
    assert (hards[0] & hards[1]).any()
    assert torch.equal(scores.union, hards[0] | hards[1])
    colour = torch.tensor(stub.colour_mean)
    drawn = scoring_baselines(inputs["images"], IDS, seed=4, colour_mean=colour, photos=inputs["photos"])
    stub.is_frozen = True
    for image in range(3):

        @torch.no_grad()
        def probability(pixels: np.ndarray, image: int = image) -> float:
            logits = stub(torch.from_numpy(pixels)[None]).numpy()[0]
            return float(np.exp(logits)[int(inputs["targets"][image])] / np.exp(logits).sum())

        baselines = {name: list(draws[image].numpy()) for name, draws in drawn.items()}
        for position in range(len(AREAS)):
            both = [hard[image, position].numpy() for hard in hards]
            expected = reference.together(probability, inputs["images"][image].numpy(), both, baselines)
            result = {name: float(scores.columns[name][image, position]) for name in expected}
            assert result == pytest.approx(expected, abs=1e-7)  # union_share is in single precision
            assert set(result) == {*UNION_COLUMNS, "union_share"}


def test_the_first_explanation_is_its_own_union_and_costs_no_more_passes() -> None:
    inputs, stub = batch(), Stub()
    scores = score(inputs, stub)
    for end in (*BASELINES, "mean"):
        assert torch.equal(scores.columns[f"union_hard_{end}"], scores.columns[f"preservation_hard_{end}"])
        assert torch.equal(scores.columns[f"remaining_hard_{end}"], scores.columns[f"deletion_hard_{end}"])
    hard = hard_of(inputs["masks"], inputs["free"])
    torch.testing.assert_close(scores.columns["union_share"], hard.float().mean((-2, -1)))
    alone = scores.passes
    before = stub.images_seen
    later = second(inputs, scores.union, stub)
    draws = 1 + 1 + 4 + 3
    assert later.passes == stub.images_seen - before == alone + 3 * len(AREAS) * 2 * draws  # two copies under each draw


def test_a_second_explanation_that_repeats_the_first_adds_nothing() -> None:
    inputs = batch()
    first = score(inputs)
    again = score(inputs, earlier=first.union)
    assert torch.equal(again.union, first.union)
    for name, column in first.columns.items():
        torch.testing.assert_close(again.columns[name], column, rtol=0, atol=1e-14)


def test_a_union_of_everything_is_the_image_and_leaves_the_baseline() -> None:
    inputs = batch()
    everywhere = torch.ones(3, len(AREAS), *SIZE, dtype=torch.bool)
    columns = score(inputs, earlier=everywhere).columns
    empty = score(inputs | {"masks": torch.zeros_like(inputs["masks"])}).columns
    for name in BASELINES:
        torch.testing.assert_close(columns[f"union_hard_{name}"], columns["p_full"], rtol=0, atol=1e-14)
        torch.testing.assert_close(
            columns[f"remaining_hard_{name}"], empty[f"preservation_soft_{name}"], rtol=0, atol=1e-14
        )
    assert columns["union_share"].eq(1).all()


def test_a_classifier_that_counts_pixels_sees_the_share_of_the_union() -> None:
    white = {
        "images": torch.ones(2, 3, *SIZE),
        "targets": torch.tensor([0, 0]),
        "masks": torch.rand(2, len(AREAS), *SIZE, generator=torch.Generator().manual_seed(0)).half(),
        "photos": torch.zeros(2, 1, 3, *SIZE),
    }
    options = {"areas": AREAS, "sample_ids": ["a", "b"], "seed": 0, "photos": white["photos"]}
    positional = [white[name] for name in ("images", "targets")]
    first = score_masks(RedShare(), *positional, white["masks"], **options)
    later = score_masks(RedShare(), *positional, 1 - white["masks"], earlier=first.union, **options)
    shares = torch.tensor([0.2, 0.5, 1.0]).expand(2, 3)  # the largest and the smallest values do not overlap
    torch.testing.assert_close(later.columns["union_share"], shares)
    for name in ("grey", "photo"):
        torch.testing.assert_close(later.columns[f"union_hard_{name}"], shares)
        torch.testing.assert_close(later.columns[f"remaining_hard_{name}"], 1 - shares)


def test_a_batch_equals_one_image_at_a_time() -> None:
    inputs, stub = batch(), Stub()
    first = score(inputs, stub)
    together = second(inputs, first.union, stub)
    for image in (2, 0, 1):
        place = slice(image, image + 1)
        alone = score(
            {name: value[place] for name, value in inputs.items()} | {"masks": inputs["masks"][place].flip(-1)},
            sample_ids=IDS[place],
            earlier=first.union[place],
        )
        for name in (*UNION_COLUMNS, "union_share"):
            torch.testing.assert_close(alone.columns[name][0], together.columns[name][image], rtol=0, atol=1e-12)

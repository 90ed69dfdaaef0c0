"""Several explanations together: against one copy at a time in float64, identities, and what is asked for them."""

import numpy as np
import pytest
import torch

from inr_xai.columns import BASELINES, TOGETHER
from inr_xai.metrics import hard_masks
from inr_xai.scoring import Scores, score_masks, scoring_baselines
from inr_xai.seeding import generator
from tests.helpers import reference
from tests.scoring.test_scores import AREAS, IDS, SIZE, RedShare, Stub, batch, score


def second(given: dict[str, torch.Tensor], earlier: torch.Tensor, stub: Stub) -> Scores:
    """Other masks of the same images, scored as their second explanation. Some of their pixels lie in the first."""
    masks = given["masks"].flip(-1)
    return score(given | {"masks": masks}, stub, earlier=earlier)


def hard_of(masks: torch.Tensor, free: torch.Tensor) -> torch.Tensor:
    ties = [generator(4, name, "ties") for name in IDS]
    return hard_masks(masks, torch.tensor(AREAS), generators=ties, free=free)


def test_of_two_explanations_against_one_copy_at_a_time() -> None:
    given, stub = batch(), Stub()
    first = score(given, stub)
    scores = second(given, first.union, stub)
    hards = [hard_of(masks, given["free"]) for masks in (given["masks"], given["masks"].flip(-1))]
    assert (hards[0] & hards[1]).any()
    assert torch.equal(scores.union, hards[0] | hards[1])
    colour = torch.tensor(stub.colour_mean)
    drawn = scoring_baselines(given["images"], IDS, seed=4, colour_mean=colour, photos=given["photos"])
    stub.is_frozen = True
    for image in range(3):

        @torch.no_grad()
        def probability(pixels: np.ndarray, image: int = image) -> float:
            logits = stub(torch.from_numpy(pixels)[None]).numpy()[0]
            return float(np.exp(logits)[int(given["targets"][image])] / np.exp(logits).sum())

        own = {name: list(draws[image].numpy()) for name, draws in drawn.items()}
        for position in range(len(AREAS)):
            both = [hard[image, position].numpy() for hard in hards]
            wanted = reference.together(probability, given["images"][image].numpy(), both, own)
            found = {name: float(scores.columns[name][image, position]) for name in wanted}
            assert found == pytest.approx(wanted, abs=1e-7)  # union_share is in single precision
            assert set(found) == {*TOGETHER, "union_share"}


def test_the_first_explanation_is_its_own_union_and_nothing_is_asked_for_it() -> None:
    given, stub = batch(), Stub()
    scores = score(given, stub)
    for end in (*BASELINES, "mean"):
        assert torch.equal(scores.columns[f"union_hard_{end}"], scores.columns[f"preservation_hard_{end}"])
        assert torch.equal(scores.columns[f"remaining_hard_{end}"], scores.columns[f"deletion_hard_{end}"])
    hard = hard_of(given["masks"], given["free"])
    torch.testing.assert_close(scores.columns["union_share"], hard.float().mean((-2, -1)))
    alone = scores.passes
    before = stub.asked
    later = second(given, scores.union, stub)
    draws = 1 + 1 + 4 + 3
    assert later.passes == stub.asked - before == alone + 3 * len(AREAS) * 2 * draws  # two copies under each draw


def test_a_second_explanation_that_repeats_the_first_adds_nothing() -> None:
    given = batch()
    first = score(given)
    again = score(given, earlier=first.union)
    assert torch.equal(again.union, first.union)
    for name, column in first.columns.items():
        torch.testing.assert_close(again.columns[name], column, rtol=0, atol=1e-14)


def test_a_union_of_everything_is_the_image_and_leaves_the_baseline() -> None:
    given = batch()
    everywhere = torch.ones(3, len(AREAS), *SIZE, dtype=torch.bool)
    columns = score(given, earlier=everywhere).columns
    empty = score(given | {"masks": torch.zeros_like(given["masks"])}).columns
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
    given, stub = batch(), Stub()
    first = score(given, stub)
    together = second(given, first.union, stub)
    for image in (2, 0, 1):
        one = slice(image, image + 1)
        alone = score(
            {name: value[one] for name, value in given.items()} | {"masks": given["masks"][one].flip(-1)},
            sample_ids=IDS[one],
            earlier=first.union[one],
        )
        for name in (*TOGETHER, "union_share"):
            torch.testing.assert_close(alone.columns[name][0], together.columns[name][image], rtol=0, atol=1e-12)

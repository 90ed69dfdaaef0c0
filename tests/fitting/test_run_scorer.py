"""Scores of a run's explanations: the rows of those that an image keeps, and what is stored of dropped ones."""

from dataclasses import replace

import pytest
import torch

from inr_xai.classifier import demo
from inr_xai.config import composed
from inr_xai.data import Synthetic
from inr_xai.fitting.fit import fit_masks
from inr_xai.fitting.run_scorer import RunScorer
from inr_xai.fitting.stopping import Candidate
from inr_xai.instantiate import build_method
from inr_xai.types import Batch
from tests.fitting.test_stopping import AUTO, NAMES, TARGETS, classifier, images
from tests.helpers.planted import SQUARE, square


def test_a_fixed_number_of_explanations_is_kept_with_all_rows() -> None:
    photos = torch.full((2, 1, 3, 24, 24), 0.5)
    scorer = RunScorer(classifier(), Batch(images(), TARGETS, NAMES), replace(AUTO, explanations=2), photos=photos)
    masks = torch.stack([square(4, 4), square(0, 0)])
    for k in (1, 2):
        assert scorer(Candidate(k, [0, 1], masks, None)) == [True] * 2
    assert [[(row["sample_id"], row["target"], row["explanation"]) for row in rows] for rows in scorer.rows] == [
        [(name, 1, 1), (name, 1, 2)] for name in NAMES
    ]
    assert (scorer.failures, scorer.dropped) == ({}, {})


def test_rows_and_dropped_explanations_of_a_batch_that_shrinks() -> None:
    photos = torch.full((2, 1, 3, 24, 24), 0.5)
    scorer = RunScorer(classifier(), Batch(images(), TARGETS, NAMES), AUTO, photos=photos)
    assert scorer(Candidate(1, [0, 1], torch.stack([square(4, 4), square(2, 2)]), None)) == [True, True]
    assert scorer(Candidate(2, [0, 1], torch.stack([square(16, 16), square(14, 14)]), None)) == [False, True]
    assert scorer(Candidate(3, [1], square(16, 0)[None], None)) == [False]
    assert [len(rows) for rows in scorer.rows] == [1, 2]
    share = SQUARE**2 / 24**2
    assert [row["union_share"] for row in scorer.rows[1]] == pytest.approx([share, 2 * share])
    assert {place: scores["explanation"] for place, scores in scorer.dropped.items()} == {0: 2, 1: 3}
    assert all(0 <= scores["preservation"] < 0.01 for scores in scorer.dropped.values())


@pytest.mark.slow
def test_the_demo_has_a_second_explanation_only_with_a_texture() -> None:
    """An image with both cues, and the same on a plain ground, whose only cue is in the first explanation.

    The masks are those of +preset=pyramid; those of the default find almost as much beside an object on plain ground.
    """
    method = build_method(composed("+preset=pyramid", "explanations=auto", "stop.share=0.4", "stop.most=2"))
    network, counts = demo(), {}
    for cues in ("both", "object"):
        data = Synthetic(1, cues=cues)
        sample = data.load(data.ids[0], network.preprocessing)
        photos = torch.stack([data.load(name, network.preprocessing).image for name in data.scoring_ids[:3]])
        image, target = sample.image[None], torch.tensor([sample.target])
        scorer = RunScorer(network, Batch(image, target, data.ids), method, photos=photos[None])
        counts[cues] = fit_masks(image, target, data.ids, network, method, keep=scorer).counts
        assert len(scorer.rows[0]) == 3 * counts[cues][0]
    assert counts == {"both": [2], "object": [1]}

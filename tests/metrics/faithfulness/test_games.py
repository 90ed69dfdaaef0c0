"""Preservation and deletion: against loops over pixels, the scores of a run, and values known by hand."""

import numpy as np
import pytest
import torch

from inr_xai.classifier import FrozenClassifier
from inr_xai.metrics.faithfulness.games import deletion, preservation
from inr_xai.metrics.inputs import probability_score
from inr_xai.scoring.masked_model import MaskedModel
from tests.conftest import pictures
from tests.helpers.metric_inputs import TARGETS, photos, score, score_alone, tied_maps


def two_masks() -> torch.Tensor:
    """Returns masks of few values, three images at two areas."""
    return torch.stack([tied_maps(6)[area::2] for area in range(2)], dim=1)


def random_baseline(count: int = 2) -> torch.Tensor:
    """Returns random draws of a baseline for three images."""
    drawn = torch.rand(3, count, 3, 24, 24, generator=torch.Generator().manual_seed(2))
    return drawn.double()


@pytest.mark.parametrize("masks", [two_masks(), two_masks() > 0.5], ids=["soft", "hard"])
def test_both_games_against_loops(masks: torch.Tensor) -> None:
    images, baseline = photos(), random_baseline()
    kept = preservation(score, images, TARGETS, masks, baseline=baseline)
    removed = deletion(score, images, TARGETS, masks, baseline=baseline)
    for image in range(3):
        for area in range(2):
            values = [[], []]
            for draw in range(2):
                x, b = images[image].numpy(), baseline[image, draw].numpy()
                weight = masks[image, area].double().numpy()
                copies = [np.zeros_like(x), np.zeros_like(x)]
                for channel in range(3):
                    copies[0][channel] = weight * x[channel] + (1 - weight) * b[channel]
                    copies[1][channel] = (1 - weight) * x[channel] + weight * b[channel]
                for game in range(2):
                    values[game].append(score_alone(torch.from_numpy(copies[game]), int(TARGETS[image])))
            assert float(kept[image, area]) == pytest.approx(np.mean(values[0]), abs=1e-12)
            assert float(removed[image, area]) == pytest.approx(np.mean(values[1]), abs=1e-12)


def test_all_and_nothing() -> None:
    images, baseline = photos(), random_baseline(1)
    whole, bare = score(images, TARGETS), score(baseline[:, 0], TARGETS)
    masks = torch.stack([torch.ones(3, 24, 24), torch.zeros(3, 24, 24)], dim=1)
    ends = torch.stack([whole, bare], dim=1)
    assert torch.equal(preservation(score, images, TARGETS, masks, baseline=baseline), ends)
    assert torch.equal(deletion(score, images, TARGETS, masks, baseline=baseline), ends.flip(1))


def test_deletion_is_preservation_by_the_complement() -> None:
    call = score, photos(), TARGETS
    removed = deletion(*call, two_masks(), baseline=random_baseline())
    torch.testing.assert_close(
        removed, preservation(*call, 1 - two_masks(), baseline=random_baseline()), rtol=0, atol=0
    )


def test_scores_are_those_of_a_run(tiny: FrozenClassifier) -> None:
    images, masks, baseline = pictures(3), two_masks().float(), random_baseline().float()
    model = MaskedModel(tiny, images, TARGETS, baselines={"given": baseline}, masks_per_forward=5)
    with tiny.frozen(images.device, images.dtype), torch.no_grad():
        expected = model.means(masks)["given"]
    result = preservation(probability_score(tiny, batch_size=2), images, TARGETS, masks, baseline=baseline)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-6)


def test_an_image_does_not_depend_on_its_neighbours() -> None:
    images, masks, baseline = photos(), two_masks(), random_baseline()
    together = preservation(score, images, TARGETS, masks, baseline=baseline)
    for i in range(3):
        place = slice(i, i + 1)
        alone = preservation(score, images[place], TARGETS[place], masks[place], baseline=baseline[place])
        torch.testing.assert_close(alone[0], together[i], rtol=0, atol=1e-12)


def test_masks_in_half_precision_are_what_they_stand_for() -> None:
    call = score, photos(), TARGETS
    half = preservation(*call, two_masks().half(), baseline=random_baseline())
    assert torch.equal(half, preservation(*call, two_masks(), baseline=random_baseline()))  # quarters are exact


@pytest.mark.parametrize("bad", [torch.nan, -0.1, 1.1])
@pytest.mark.parametrize("game", [preservation, deletion])
def test_masks_out_of_range_are_refused(game, bad: float) -> None:
    masks = two_masks()
    masks[1, 0, 2, 3] = bad
    with pytest.raises(ValueError, match=r"masks in \[0, 1\] without NaN"):
        game(score, photos(), TARGETS, masks, baseline=random_baseline())

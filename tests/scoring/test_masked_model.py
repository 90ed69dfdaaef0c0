"""The classifier on masked copies of images: against one copy at a time, and how many copies it sees."""

import itertools

import pytest
import torch

from inr_xai.scoring.masked_model import MaskedModel
from tests.scoring.test_scores import SIZE, Stub, batch

MASKS = torch.rand(3, 5, *SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
DRAWS = {
    name: torch.rand(3, count, 3, *SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(count))
    for name, count in (("noise", 2), ("photo", 3))
}


@pytest.fixture
def stub() -> Stub:
    classifier = Stub()
    classifier.is_frozen = True
    return classifier


@pytest.fixture
def model(stub: Stub) -> MaskedModel:
    inputs = batch()
    return MaskedModel(stub, inputs["images"], inputs["targets"], baselines=DRAWS, masks_per_forward=4)


def probability(model: MaskedModel, image: int, mask: int, draw: torch.Tensor) -> float:
    """Returns p_t of one masked copy by itself."""
    weight = MASKS[image, mask]
    copy = weight * model.images[image] + (1 - weight) * draw
    with torch.no_grad():
        return float(model.classifier(copy[None]).softmax(1)[0, model.targets[image]])


@torch.no_grad()
def test_each_mask_is_averaged_over_the_draws_of_each_baseline(model: MaskedModel, stub: Stub) -> None:
    means = model.means(MASKS)
    assert model.passes == stub.images_seen == 3 * 5 * (2 + 3)
    assert stub.largest <= 4
    for image, mask in itertools.product(range(3), range(5)):
        for name, draws in DRAWS.items():
            expected = [probability(model, image, mask, draw) for draw in draws[image]]
            assert float(means[name][image, mask]) == pytest.approx(sum(expected) / len(expected), abs=1e-12)


@torch.no_grad()
def test_masks_take_turns_over_the_draws(model: MaskedModel) -> None:
    alternating, turns = model.alternating(MASKS), model.in_turn(MASKS)
    assert model.passes == 2 * 3 * 5 * 2
    for image in range(3):
        for place, (name, draws) in enumerate(DRAWS.items()):
            count = draws.shape[1]
            expected = [probability(model, image, mask, draws[image, mask % count]) for mask in range(5)]
            assert turns[image, :, place].tolist() == pytest.approx(expected, abs=1e-12)
            assert float(alternating[name][image]) == pytest.approx(sum(expected) / 5, abs=1e-12)


@torch.no_grad()
def test_a_mask_of_ones_is_the_whole_image(model: MaskedModel) -> None:
    for values in model.means(torch.ones_like(MASKS)).values():
        torch.testing.assert_close(values, model.whole()[:, None].expand(-1, 5), rtol=0, atol=1e-12)


@torch.no_grad()
def test_an_image_whose_logits_are_not_finite_is_nan_alone(model: MaskedModel) -> None:
    expected = model.whole()
    model.images = model.images.clone()
    model.images[1, 0, 0, 0] = torch.nan
    assert model.whole()[1].isnan()
    assert torch.equal(model.whole()[[0, 2]], expected[[0, 2]])
    assert model.means(MASKS)["noise"].isnan().any(1).tolist() == [False, True, False]

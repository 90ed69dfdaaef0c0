"""Random fidelity: against means over all sets of pixels, and models whose answer is known."""

import itertools
import math

import pytest
import torch

from inr_xai.metrics.faithfulness.random_removal import RandomFidelity, random_fidelity, removal_cost
from tests.helpers.metric_inputs import TARGETS, draws, photos, score, score_alone

GREY = torch.full((3, 3, 24, 24), 0.4, dtype=torch.float64)
REGION = torch.zeros(3, 1, 24, 24, dtype=torch.bool)
REGION[:, 0, 4:16:2, 10] = True  # six pixels


def test_the_cost_is_the_mean_over_all_sets() -> None:
    images = 5 * photos() % 1
    count = 1000
    call = score, images, TARGETS, REGION
    result = removal_cost(*call, baseline=GREY, generators=draws(3), share=0.34, draws=count)  # 2 of 6 pixels
    for i in range(3):
        target, values = int(TARGETS[i]), []
        for pair in itertools.combinations(REGION[i, 0].nonzero().tolist(), 2):
            changed = images[i].clone()
            for row, column in pair:
                changed[:, row, column] = GREY[i, :, row, column]
            values.append(score_alone(images[i], target) - score_alone(changed, target))
        mean = sum(values) / len(values)
        deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / len(values) / count)
        assert deviation > 0
        assert abs(float(result[i, 0]) - mean) < 4.5 * deviation


def test_all_of_a_region_is_its_deletion() -> None:
    images = photos()
    result = removal_cost(score, images, TARGETS, REGION, baseline=GREY, generators=draws(3), share=1, draws=2)
    removed = torch.where(REGION, GREY, images)
    expected = score(images, TARGETS) - score(removed, TARGETS)
    torch.testing.assert_close(result[:, 0], expected, rtol=0, atol=1e-12)


def brightness(images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Returns the share of the upper half that is white."""
    return images[:, 0, :4].mean((1, 2))


@pytest.mark.parametrize(("share", "most", "lost"), [(0.5, 1.0, 16), (0.5, 0.125, 8), (0.26, 1.0, 8), (0.01, 1.0, 0)])
def test_a_share_of_the_region_is_removed_and_at_most_a_share_of_the_image(
    share: float, most: float, lost: int
) -> None:
    white, black = torch.ones(1, 1, 8, 8, dtype=torch.float64), torch.zeros(1, 1, 8, 8, dtype=torch.float64)
    upper = torch.zeros(1, 2, 8, 8, dtype=torch.bool)
    upper[:, 0, :4], upper[:, 1, 4:] = True, True
    call = {"baseline": black, "generators": draws(1), "share": share, "most": most, "draws": 3}
    target = torch.tensor([0])
    assert removal_cost(brightness, white, target, upper, **call)[0].tolist() == pytest.approx([lost / 32, 0])
    result = random_fidelity(brightness, white, target, upper, **call | {"generators": draws(1)})
    assert result[0].tolist() == pytest.approx([lost / 32, -lost / 32])
    nothing = random_fidelity(brightness, white, target, upper & False, **call | {"generators": draws(1)})
    assert nothing[0, 0] <= 0


def test_fidelity_is_the_difference_and_does_not_depend_on_neighbours() -> None:
    images = photos()
    masks = torch.rand(3, 2, 24, 24, generator=torch.Generator().manual_seed(1)) > 0.7
    call = {"draws": 4, "share": 0.3}
    together = random_fidelity(score, images, TARGETS, masks, baseline=GREY, generators=draws(3), **call)
    for i in range(3):
        place, draw = slice(i, i + 1), draws(3)[i : i + 1]
        parts = [
            removal_cost(score, images[place], TARGETS[place], part, baseline=GREY[place], generators=draw, **call)
            for part in (masks[place], ~masks[place])
        ]
        torch.testing.assert_close(together[place], parts[0] - parts[1], rtol=0, atol=1e-9)


def test_a_mask_does_not_depend_on_the_other_areas() -> None:
    images = photos()
    masks = torch.rand(3, 3, 24, 24, generator=torch.Generator().manual_seed(1)) > 0.7
    call = score, images, TARGETS
    together = random_fidelity(*call, masks, baseline=GREY, generators=draws(3), draws=4)
    for area in range(3):
        alone = random_fidelity(*call, masks[:, [area]], baseline=GREY, generators=draws(3), draws=4)
        torch.testing.assert_close(alone, together[:, [area]], rtol=0, atol=1e-12)
    assert (together - together[:, :1]).abs()[:, 1:].min() > 1e-9


@pytest.mark.parametrize("option", [{"share": 0.0}, {"most": 1.5}, {"draws": 0}])
def test_bad_options_are_one_sentence(option: dict[str, float]) -> None:
    ((name, value),) = option.items()
    with pytest.raises(ValueError, match=rf"expected share and most in \(0, 1\].*{name}={value}"):
        random_fidelity(score, photos(), TARGETS, REGION, baseline=GREY, generators=draws(3), **option)
    with pytest.raises(ValueError, match="one generator per image, 3, got 2"):
        random_fidelity(score, photos(), TARGETS, REGION, baseline=GREY, generators=draws(2))


def test_the_class_is_a_mean_over_all_processes() -> None:
    first, second = RandomFidelity(), RandomFidelity()
    first.update(torch.tensor([[0.25, -0.75]]))
    second.update(torch.tensor([[0.5, 1.0]]))
    first.merge_state(second)
    assert float(first.compute()) == 0.25
    assert RandomFidelity.higher_is_better
    with pytest.raises(ValueError, match="NaN"):
        first.update(torch.tensor([[torch.nan]]))

"""Jitter against padded images."""

import pytest
import torch

from inr_xai.draws import Rows
from inr_xai.errors import UserError
from inr_xai.perturbation import Blur, Jitter
from inr_xai.perturbation.shifts import Shifts
from tests.helpers.perturbations import SLOTS, STILL, masks, random_numbers, shown


def jittered(jitter: Jitter, values: torch.Tensor, steps: int) -> torch.Tensor:
    """What jitter makes of the masks of images at every step."""
    images, slots = values.shape[:2]
    rows = Rows.where(torch.ones(steps, images * slots, dtype=torch.bool), slots)
    shifts = Shifts(jitter, (24, 24), random_numbers(images), rows)
    return torch.stack([shifts.at(step, progress=0.0).masks(values) for step in range(steps)])


@pytest.mark.parametrize("per_mask", [False, True])
def test_jitter_is_a_shift_with_replicated_borders(per_mask: bool) -> None:
    padded = torch.nn.functional.pad(masks()[:2], (3, 3, 3, 3), mode="replicate")
    shifted = torch.stack([padded[..., dy : dy + 24, dx : dx + 24] for dy in range(7) for dx in range(7)])
    moved = jittered(Jitter(3 / 24, per_mask=per_mask), masks()[:2], steps=60)
    same = (shifted[:, None] == moved).flatten(-2).all(-1)
    assert (same.sum(0) == 1).all()
    number = same.long().argmax(0)
    assert torch.equal(number[..., 0], number[..., 1]) != per_mask
    assert not torch.equal(number[:, 0], number[:, 1])
    assert len(number.unique()) > 40


def test_jitter_shifts_image_fixed_baseline_and_mask_together() -> None:
    """What is shifted before the blend is what shifting the blend gives."""
    masked, still = (shown(Blur(), jitter=jitter, steps=5) for jitter in (Jitter(0.2, flip=True), STILL))
    for step in range(5):
        blended = still.draw(step, progress=0.0)(masks())
        for mask in range(SLOTS):
            expected = masked.shifts.at(step, progress=0.0)(blended[:, mask], torch.arange(3) * SLOTS)
            torch.testing.assert_close(masked.draw(step, progress=0.0)(masks())[:, mask], expected)


def test_jitter_flips_half_of_the_time() -> None:
    results = jittered(Jitter(0.0, flip=True), masks()[:1], steps=40)[:, 0]
    mirrored = sum(torch.equal(result, masks()[0].flip(-1)) for result in results)
    assert mirrored + sum(torch.equal(result, masks()[0]) for result in results) == 40
    assert 8 < mirrored < 32


def test_jitter_ends_with_its_part_of_the_fit() -> None:
    shifts = shown(Blur(), jitter=Jitter(0.2, until=0.5), steps=9).shifts
    moved = [not torch.equal(shifts.at(step, progress=step / 8).masks(masks()), masks()) for step in range(9)]
    assert moved == [True] * 5 + [False] * 4
    with pytest.raises(UserError, match=r"jitter.until must lie in \(0, 1\].* got 0"):
        Jitter(until=0.0)


def test_the_shift_of_jitter_must_be_a_fraction() -> None:
    with pytest.raises(UserError, match=r"jitter.shift .* got 3"):
        Jitter(3)

"""The projection against bisection in float64 and against numerical gradients; the penalty against a loop."""

import statistics

import pytest
import torch

from inr_xai.area import AreaProjection, Memory, RankPenalty, rank_distance

AREAS = torch.tensor([0.05, 0.3, 0.7], dtype=torch.float64)


def fields(b: int = 2, side: int = 12, seed: int = 0) -> torch.Tensor:
    return torch.randn(b, 3, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 3


def free_region(side: int = 12) -> torch.Tensor:
    """Returns free pixels, images x areas: all but a block that differs from mask to mask."""
    free = torch.ones(2, 3, side, side, dtype=torch.bool)
    free[0, :, :4] = False
    free[1, 1, :, :2] = False
    return free


def bisected(logits: torch.Tensor, area: float, free: torch.Tensor, temperature: float) -> torch.Tensor:
    """Computes one mask by plain bisection on tau."""
    low, high = -100.0, 100.0
    for _ in range(200):
        tau = (low + high) / 2
        mask = torch.where(free, 1 / (1 + torch.exp(-(logits - tau) / temperature)), 0.0)
        low, high = (tau, high) if mask.mean() > area else (low, tau)
    return mask


@pytest.mark.parametrize("temperature", [1.0, 0.05])
def test_projection_agrees_with_bisection(temperature: float) -> None:
    logits, free = fields(), free_region()
    masks = AreaProjection(1.0, end=temperature, standardise=False).masks(logits, AREAS, free, progress=1.0)
    for i in range(2):
        for j, area in enumerate(AREAS.tolist()):
            torch.testing.assert_close(
                masks[i, j], bisected(logits[i, j], area, free[i, j], temperature), atol=1e-9, rtol=0
            )


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_area_is_exact_in_single_precision_at_any_scale(scale: float) -> None:
    logits = fields(side=96).float() * scale
    masks = AreaProjection(end=0.1).masks(logits, AREAS.float(), None, progress=1.0)
    assert (masks.double().mean((-2, -1)) - AREAS).abs().max() < 2e-6


def test_gradient_includes_the_change_of_tau() -> None:
    free = free_region(6)
    rule = AreaProjection(0.7, end=0.7, standardise=False)
    logits = fields(side=6).requires_grad_()
    assert torch.autograd.gradcheck(lambda f: rule.masks(f, AREAS, free, progress=0.0), logits, atol=1e-6)


@pytest.mark.slow
def test_standardised_masks_have_the_right_gradient_and_do_not_depend_on_scale() -> None:
    free = free_region(6)
    rule = AreaProjection(0.7, end=0.7, standardise=True)
    logits = fields(side=6).requires_grad_()
    assert torch.autograd.gradcheck(lambda f: rule.masks(f, AREAS, free, progress=0.0), logits, atol=1e-6)
    masks = rule.masks(logits, AREAS, free, progress=0.0)
    torch.testing.assert_close(rule.masks(5 * logits + 3, AREAS, free, progress=0.0), masks, atol=1e-8, rtol=0)


def test_gradient_keeps_the_area_and_leaves_blocked_pixels_at_zero() -> None:
    logits, free = fields().requires_grad_(), free_region()
    masks = AreaProjection(end=0.5).masks(logits, AREAS, free, progress=1.0)
    (masks * fields(seed=1)).sum().backward()
    assert logits.grad is not None
    assert (logits.grad[~free] == 0).all()
    assert (masks[~free] == 0).all()
    # tau cancels a common shift of the logits, so the gradient along it is 0.
    torch.testing.assert_close(logits.grad.sum((-2, -1)), torch.zeros(2, 3, dtype=torch.float64), atol=1e-10, rtol=0)


def test_all_free_pixels_are_kept_if_they_are_just_enough() -> None:
    free = torch.zeros(1, 1, 10, 10, dtype=torch.bool)
    free[..., :3] = True
    area = torch.tensor([0.3], dtype=torch.float64)
    masks = AreaProjection().masks(torch.randn(1, 1, 10, 10).double().requires_grad_(), area, free, progress=1.0)
    torch.testing.assert_close(masks, free.double())


def test_a_constant_field_has_the_area_and_a_finite_gradient() -> None:
    logits = torch.zeros(1, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    masks = AreaProjection().masks(logits, AREAS, None, progress=1.0)
    torch.testing.assert_close(masks, AREAS[None, :, None, None].expand_as(masks))
    masks[0, 0, 0, 0].backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def two_values(side: int) -> torch.Tensor:
    """A field of two values, the larger one on a third of the pixels."""
    return (torch.arange(side * side).reshape(side, side) % 3 == 0).float()


HARD_FIELDS = {
    "normal": fields(1, 32)[0, 0].float(),
    "two values": two_values(32),
    "heavy tails": fields(1, 32)[0, 0].float().exp() ** 3,
    "one pixel": torch.zeros(32, 32).index_fill(0, torch.tensor([5]), 1.0) * torch.eye(32),
    "constant": torch.ones(32, 32),
}


@pytest.mark.parametrize("kind", HARD_FIELDS)
@pytest.mark.parametrize("few", [False, True])
@pytest.mark.slow
def test_the_area_of_every_step_of_a_fit_is_exact(kind: str, few: bool) -> None:
    """The tau of the step before is the start, while the field drifts by several percent of its spread a step."""
    areas = torch.tensor([0.002, 0.05, 1 / 3, 0.5, 0.99])
    drift = torch.randn(60, 1, 1, 32, 32, generator=torch.Generator().manual_seed(1)) * 0.03
    start = (HARD_FIELDS[kind] - HARD_FIELDS[kind].mean()) / HARD_FIELDS[kind].std().clamp(min=1e-3)
    free = torch.rand(1, 5, 32, 32, generator=torch.Generator().manual_seed(2)) < 0.6 if few else None
    expected = areas if free is None else torch.minimum(areas, free[0].float().mean((-2, -1)))
    memory: Memory = {}
    errors = []
    for step, field in enumerate((start + drift.cumsum(0)).expand(-1, 1, 5, -1, -1)):
        masks = AreaProjection().masks(field.contiguous(), areas, free, progress=step / 59, memory=memory)
        errors.append(float((masks[0].double().mean((-2, -1)) - expected).abs().max()))
    assert statistics.median(errors) < 2e-6
    assert max(errors[1:]) < 5e-3
    assert memory["tau"].shape == (1, 5, 1, 1)


def test_no_mask_depends_on_others_of_the_batch() -> None:
    logits = fields(side=32).float()
    rule = AreaProjection(end=0.03)
    together = rule.masks(logits, AREAS.float(), None, progress=1.0)
    alone = torch.cat([rule.masks(image[None], AREAS.float(), None, progress=1.0) for image in logits])
    assert torch.equal(together, alone)
    memories: list[Memory] = [{}, {}, {}]
    for step in range(3):
        together = rule.masks(logits * (1 + step), AREAS.float(), None, progress=step / 2, memory=memories[2])
        alone = torch.cat(
            [
                rule.masks(image[None] * (1 + step), AREAS.float(), None, progress=step / 2, memory=memory)
                for image, memory in zip(logits, memories[:2], strict=True)
            ]
        )
        assert torch.equal(together, alone)


def test_a_step_that_remembers_has_the_same_mask_and_gradient() -> None:
    free = free_region()
    for pixels in (None, free):
        rule, memory = AreaProjection(), dict[str, torch.Tensor]()
        rule.masks(fields(), AREAS, pixels, progress=0.4, memory=memory)
        logits = (fields() + 0.02 * fields(seed=1)).requires_grad_()
        results = []
        for remembered in (None, memory):
            masks = rule.masks(logits, AREAS, pixels, progress=0.45, memory=remembered)
            (gradient,) = torch.autograd.grad((masks * fields(seed=2)).sum(), logits)
            results.append((masks, gradient))
        torch.testing.assert_close(results[1], results[0], rtol=0, atol=1e-5)


def test_temperature_falls_geometrically() -> None:
    logits = fields()
    halfway = AreaProjection(4.0, end=1.0, hold=1).masks(logits, AREAS, None, progress=0.5)
    torch.testing.assert_close(halfway, AreaProjection(2.0, end=2.0).masks(logits, AREAS, None, progress=0.0))
    held = AreaProjection(16.0, end=1.0, hold=2).masks(logits, AREAS, None, progress=0.5)
    torch.testing.assert_close(held, AreaProjection(8.0, end=8.0).masks(logits, AREAS, None, progress=0.0))


def test_rank_distance_agrees_with_a_loop_over_sorted_values() -> None:
    masks = fields(side=5).sigmoid()
    for i in range(2):
        for j, area in enumerate(AREAS.tolist()):
            values = sorted(masks[i, j].flatten().tolist())
            ones = int(area * 25 + 1e-6)
            expected = sum((v - (1.0 if n >= 25 - ones else 0.0)) ** 2 for n, v in enumerate(values)) / 25
            assert rank_distance(masks, AREAS)[i, j].item() == pytest.approx(expected, abs=1e-12)


def test_penalty_grows_and_blocked_pixels_are_zero() -> None:
    rule, free = RankPenalty(300.0, growth=16.0), free_region()
    masks = rule.masks(fields(), AREAS, free, progress=0.0)
    torch.testing.assert_close(masks, fields().sigmoid() * free)
    early = rule.penalty(masks, AREAS, free, progress=0.0)
    torch.testing.assert_close(early, 300 * rank_distance(masks, AREAS).sum(1))
    torch.testing.assert_close(rule.penalty(masks, AREAS, free, progress=1.0), 16 * early)
    assert (AreaProjection().penalty(masks, AREAS, free, progress=0.5) == 0).all()


@pytest.mark.parametrize(("start", "end"), [(1.0, 0.0), (0.1, 1.0)])
def test_impossible_temperatures_are_refused(start: float, end: float) -> None:
    with pytest.raises(ValueError, match=f"start={start}, end={end}"):
        AreaProjection(start, end=end)

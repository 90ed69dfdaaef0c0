"""Two rules that make a mask keep a given area: projection (ours), or a penalty on its sorted values.

Rank penalty: Fong, Patrick, Vedaldi, "Understanding Deep Networks via Extremal Perturbations and Smooth Masks",
ICCV 2019, section 3.1. The projection and its gradient: METHOD, "Area: two rules", in docs/method.md.
"""

from abc import ABC, abstractmethod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from inr_xai.errors import UserError
from inr_xai.limits import require_numbers
from inr_xai.masks import distance_of_ranks
from inr_xai.types import Areas, Free, Masks

NEWTON_STEPS = 30
FOLLOWING_STEPS = 3
"""Newton steps of a fit from the tau of the step before, which is near."""
FLAT = 1e-12  # with a smaller sum of slopes a mask cannot change while its area stays the same; its gradient vanishes


FitProgress = float | Float[Tensor, ""]
"""From 0 to 1 over a fit; a tensor where a step is compiled or replayed, and its value is not known to the host."""
Memory = dict[str, Any]
"""Values that a rule keeps between the steps of a fit, by a name of its own."""


class AreaRule(ABC):
    """Turns the INR's logits into masks; `progress` runs from 0 to 1 over a fit and is 1 for rendering."""

    exact = False
    """Whether masks have their areas by themselves, so that a fit need not ask for the penalty, which is 0."""

    @abstractmethod
    def masks(
        self, logits: Masks, areas: Areas, free: Free | None, *, progress: FitProgress, memory: Memory | None = None
    ) -> Masks:
        """Returns masks in [0, 1], which are 0 at pixels that are not free.

        Args:
            memory: what the rule keeps from one step of a fit to the next, empty at first; None for rendering.
        """

    @abstractmethod
    def penalty(self, masks: Masks, areas: Areas, free: Free | None, *, progress: FitProgress) -> Float[Tensor, " b"]:
        """Returns the term of the loss for masks that miss their area: per image, summed over areas."""


class AreaProjection(AreaRule):
    """m = sigmoid((f - tau)/T) on the free pixels with tau such that mean(m) = a exactly; T falls as the fit goes on.

    Args:
        start, end: temperature T at the beginning and at the end, in standard deviations of the logits if
            `standardise` is true, otherwise in units of the logits. Masks are rendered at `end`.
        hold: T = start * (end/start)^(progress^hold). T falls geometrically if `hold` is 1; a larger value keeps masks
            soft for longer.
        standardise: divide the logits of each mask by their standard deviation over the free pixels. Only the ratio of
            f and T matters, so this gives T the same meaning for every image.
    """

    exact = True

    def __init__(self, start: float = 1.0, *, end: float = 0.03, hold: float = 1.0, standardise: bool = True):
        if not 0 < end <= start or hold <= 0:
            raise UserError(
                "area_rule needs 0 < end <= start and hold > 0, the course of the temperature; "
                f"got start={start}, end={end}, hold={hold}"
            )
        require_numbers("area_rule", start=start, end=end, hold=hold)
        self.start, self.end, self.hold, self.standardise = start, end, hold, standardise

    def masks(
        self, logits: Masks, areas: Areas, free: Free | None, *, progress: FitProgress, memory: Memory | None = None
    ) -> Masks:
        temperature = self.start * (self.end / self.start) ** (progress**self.hold)
        projected = _Projection.apply(logits, areas, free, temperature, self.standardise, memory)
        masks: Masks = projected[0]
        if memory is not None:
            _, memory["tau"], first = projected
            memory["temperature"] = temperature
            if first is not None:
                memory["area"], memory["offset"] = first
        return masks

    def penalty(self, masks: Masks, areas: Areas, free: Free | None, *, progress: FitProgress) -> Float[Tensor, " b"]:
        return masks.new_zeros(len(masks))


class RankPenalty(AreaRule):
    """m = sigmoid(f); the fit pays weight * mean((vecsort(m) - r_a)^2), r_a = (1-a)N zeros, then aN ones.

    Args:
        start: weight of the penalty at the beginning.
        growth: the weight at the end divided by that at the beginning (it grows geometrically); the 800 steps of the
            published method, at 1.0035 a step, give 16.
    """

    def __init__(self, start: float = 300.0, *, growth: float = 16.0):
        require_numbers("area_rule", start=start, growth=growth)
        self.start, self.growth = start, growth

    def masks(
        self, logits: Masks, areas: Areas, free: Free | None, *, progress: FitProgress, memory: Memory | None = None
    ) -> Masks:
        masks = torch.sigmoid(logits)
        return masks if free is None else masks * free.to(masks.dtype)

    def penalty(self, masks: Masks, areas: Areas, free: Free | None, *, progress: FitProgress) -> Float[Tensor, " b"]:
        weight = self.start * self.growth**progress
        return weight * rank_distance(masks, areas).sum(1)


def rank_distance(masks: Masks, areas: Areas) -> Float[Tensor, "b a"]:
    """Returns mean((vecsort(m) - r_a)^2): 0 for a binary mask of exactly area a (Fong et al. 2019, equation 4)."""
    return distance_of_ranks(masks, (areas.to(masks.dtype) * masks[0, 0].numel() + 1e-6).floor())


class _Projection(torch.autograd.Function):
    """The sigmoid of exact area; its backward pass includes how tau depends on f (implicit differentiation)."""

    @staticmethod
    def forward(ctx, logits, areas, free, temperature, standardise, memory):  # type: ignore[no-untyped-def]
        inside = None if free is None else free.to(logits.dtype)
        pixels = logits.shape[-2] * logits.shape[-1]
        count = pixels if inside is None else inside.sum((-2, -1), keepdim=True).clamp(min=1)
        width: float | Tensor = temperature
        if not standardise:
            scaled = logits / temperature
        elif memory is None:
            mean = _of_free(logits, inside).sum((-2, -1), keepdim=True) / count
            logits = logits - mean
            variance = _of_free(logits.square(), inside).sum((-2, -1), keepdim=True) / count
            std = (variance + 1e-12).sqrt()
            scaled, width = logits / std / temperature, std * temperature
        else:  # the same in fewer operators, but not to the bit
            pixelwise = _of_free(logits, inside)
            mean = pixelwise.mean((-2, -1), keepdim=True)
            mean = mean if inside is None else mean * (pixels / count)
            logits = logits - mean
            norm = torch.linalg.vector_norm(_of_free(logits, inside), dim=(-2, -1), keepdim=True)
            width = (norm * (temperature / count**0.5)).clamp(min=1e-6 * temperature)
            scaled = logits / width
        first = None
        if memory:
            # In the units of the logits, tau stays about the same as T falls.
            tau = _follow_tau(scaled, memory, inside, memory["tau"] * (memory["temperature"] / temperature))
        else:
            share = (areas[None, :, None, None] * pixels / count).clamp(1e-6, 1 - 1e-6)
            tau = _solve_tau(scaled, share, inside, count)
            first = share * count / pixels, torch.logit(share)
        masks = _of_free(torch.sigmoid(scaled - tau), inside)
        if inside is not None:
            # If the free pixels are no more than the area, all of them are kept.
            masks = torch.where(areas[None, :, None, None] * pixels >= count, inside, masks)
        ctx.save_for_backward(masks, inside, scaled if standardise else None)
        ctx.width, ctx.temperature, ctx.count = width, temperature, count
        ctx.mark_non_differentiable(tau)
        ctx.set_materialize_grads(False)  # else each step would make zeros for tau
        return masks, tau, first

    @staticmethod
    def backward(ctx, upstream, *of_tau):  # type: ignore[no-untyped-def]
        if upstream is None:
            return None, None, None, None, None, None
        masks, inside, scaled = ctx.saved_tensors
        # Masks are exactly 0 at pixels that are not free, so the slope is 0 there too.
        slope = masks.addcmul(masks, masks, value=-1)
        total = slope.sum((-2, -1), keepdim=True)
        pulled = slope * upstream
        mean = pulled.sum((-2, -1), keepdim=True) / total.clamp(min=FLAT)
        gradient = pulled.addcmul(slope, mean, value=-1)
        if scaled is not None:
            # The share of the logits' mean is 0, because the gradient of masks of one area has the sum 0.
            along = (gradient * scaled).sum((-2, -1), keepdim=True) / ctx.count
            square = ctx.temperature**2
            if isinstance(square, Tensor):  # which is no number of the host, and may be another at each replay
                along, square = along * square, 1
            gradient = gradient.addcmul(_of_free(scaled, inside), along, value=-square)
        return gradient / ctx.width, None, None, None, None, None


def _of_free(values: Masks, inside: Masks | None) -> Masks:
    return values if inside is None else values * inside


def _solve_tau(
    scaled: Masks, share: Float[Tensor, "#b a #h #w"], inside: Masks | None, count: int | Tensor
) -> Float[Tensor, "b a 1 1"]:
    """Solves mean(sigmoid(scaled - tau)) = share over the free pixels by Newton steps, or bisection if one is too long.

    A mask that has converged does not change any more, so that no result depends on other masks of the batch.
    """
    tolerance = 1e-7 if scaled.dtype == torch.float32 else 1e-13
    low, high = _bracket(scaled, torch.logit(share), inside)
    tau, done = (low + high) / 2, torch.zeros_like(low, dtype=torch.bool)
    for _ in range(NEWTON_STEPS):
        masks = _of_free(torch.sigmoid(scaled - tau), inside)
        excess = masks.sum((-2, -1), keepdim=True) / count - share
        slope = (masks * (1 - masks)).sum((-2, -1), keepdim=True) / count
        done = done | (excess.abs() <= tolerance)
        # An accelerator would have to be waited for; there all steps are taken, and those that are done stay.
        if done.device.type == "cpu" and bool(done.all()):
            break
        low, high = torch.where(excess > 0, tau, low), torch.where(excess > 0, high, tau)
        step = tau + excess / slope.clamp(min=1e-30)
        step = torch.where((step > low) & (step < high), step, (low + high) / 2)
        tau = torch.where(done, tau, step)
    return tau


def _follow_tau(
    scaled: Masks, memory: Memory, inside: Masks | None, tau: Float[Tensor, "b a 1 1"]
) -> Float[Tensor, "b a 1 1"]:
    """Returns tau after a few bracketed Newton steps from one that is near; none of them waits for the device."""
    low, high = _bracket(scaled, memory["offset"], inside)
    for remaining in reversed(range(FOLLOWING_STEPS)):
        masks = _of_free(torch.sigmoid(scaled - tau), inside)
        excess = masks.mean((-2, -1), keepdim=True) - memory["area"]
        if remaining:
            slope = masks.addcmul(masks, masks, value=-1).mean((-2, -1), keepdim=True)
            step = torch.addcdiv(tau, excess, slope)
            above = excess > 0
            low, high = torch.where(above, tau, low), torch.where(above, high, tau)
            # What is no number is equal to nothing, and leads to bisection too.
            tau = torch.where(step.clamp(low, high) == step, step, torch.lerp(low, high, 0.5))
        else:  # the slope is that of the step before
            tau = torch.addcdiv(tau, excess, slope.clamp(min=1e-30)).clamp(low, high)
    return tau


def _bracket(scaled: Masks, offset: Tensor, inside: Masks | None) -> tuple[Tensor, Tensor]:
    """Returns tau if all free logits equalled the smallest one, and if they equalled the largest one.

    Args:
        offset: the logit of the share of the free pixels that a mask keeps.
    """
    if inside is None:
        low, high = scaled.flatten(-2).aminmax(dim=-1, keepdim=True)
        return low.unsqueeze(-1) - offset, high.unsqueeze(-1) - offset
    blocked = inside == 0
    low = scaled.masked_fill(blocked, torch.inf).amin((-2, -1), keepdim=True) - offset
    high = scaled.masked_fill(blocked, -torch.inf).amax((-2, -1), keepdim=True) - offset
    return low.nan_to_num(0.0, 0.0, 0.0), high.nan_to_num(0.0, 0.0, 0.0)

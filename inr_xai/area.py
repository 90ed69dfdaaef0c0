"""Two rules that make a mask keep a given area: projection (ours), or a penalty on its sorted values.

Rank penalty: Fong, Patrick, Vedaldi, "Understanding Deep Networks via Extremal Perturbations and Smooth Masks",
ICCV 2019, section 3.1. The projection and its gradient: METHOD, "Area: two rules", in docs/method.md.
"""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from inr_xai.errors import UserError
from inr_xai.limits import require_numbers
from inr_xai.masks import distance_of_ranks
from inr_xai.types import Areas, Free, Masks

NEWTON_STEPS = 30
FLAT = 1e-12  # below this sum of slopes a mask cannot change while its area stays the same


class AreaRule(ABC):
    """Turns the INR's logits into masks; `progress` runs from 0 to 1 over a fit and is 1 for rendering."""

    @abstractmethod
    def masks(self, logits: Masks, areas: Areas, free: Free | None, *, progress: float) -> Masks:
        """Returns masks in [0, 1], which are 0 at pixels that are not free."""

    @abstractmethod
    def penalty(self, masks: Masks, areas: Areas, free: Free | None, *, progress: float) -> Float[Tensor, " b"]:
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

    def __init__(self, start: float = 1.0, *, end: float = 0.03, hold: float = 1.0, standardise: bool = True):
        if not 0 < end <= start or hold <= 0:
            raise UserError(
                "area_rule needs 0 < end <= start and hold > 0, the course of the temperature; "
                f"got start={start}, end={end}, hold={hold}"
            )
        require_numbers("area_rule", start=start, end=end, hold=hold)
        self.start, self.end, self.hold, self.standardise = start, end, hold, standardise

    def masks(self, logits: Masks, areas: Areas, free: Free | None, *, progress: float) -> Masks:
        temperature = self.start * (self.end / self.start) ** (progress**self.hold)
        inside = torch.ones_like(logits) if free is None else free.to(logits.dtype)
        if self.standardise:
            count = inside.sum((-2, -1), keepdim=True).clamp(min=1)
            mean = (logits * inside).sum((-2, -1), keepdim=True) / count
            variance = ((logits - mean).square() * inside).sum((-2, -1), keepdim=True) / count
            logits = (logits - mean) / (variance + 1e-12).sqrt()
        return _Projection.apply(logits, areas, inside, temperature)

    def penalty(self, masks: Masks, areas: Areas, free: Free | None, *, progress: float) -> Float[Tensor, " b"]:
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

    def masks(self, logits: Masks, areas: Areas, free: Free | None, *, progress: float) -> Masks:
        masks = torch.sigmoid(logits)
        return masks if free is None else masks * free.to(masks.dtype)

    def penalty(self, masks: Masks, areas: Areas, free: Free | None, *, progress: float) -> Float[Tensor, " b"]:
        weight = self.start * self.growth**progress
        return weight * rank_distance(masks, areas).sum(1)


def rank_distance(masks: Masks, areas: Areas) -> Float[Tensor, "b a"]:
    """Returns mean((vecsort(m) - r_a)^2): 0 for a binary mask of exactly area a (Fong et al. 2019, equation 4)."""
    return distance_of_ranks(masks, (areas.to(masks.dtype) * masks[0, 0].numel() + 1e-6).floor())


class _Projection(torch.autograd.Function):
    """The sigmoid of exact area; its backward pass includes how tau depends on f (implicit differentiation)."""

    @staticmethod
    def forward(ctx, logits, areas, inside, temperature):  # type: ignore[no-untyped-def]
        scaled = logits / temperature
        tau = _solve_tau(scaled, areas, inside)
        masks = torch.sigmoid(scaled - tau) * inside
        # If the free pixels are no more than the area, all of them are kept.
        full = areas[None, :, None, None] * inside[0, 0].numel() >= inside.sum((-2, -1), keepdim=True)
        masks = torch.where(full, inside, masks)
        ctx.save_for_backward(masks)
        ctx.temperature = temperature
        return masks

    @staticmethod
    def backward(ctx, upstream):  # type: ignore[no-untyped-def]
        (masks,) = ctx.saved_tensors
        # Masks are exactly 0 at pixels that are not free, so the slope is 0 there too.
        slope = masks * (1 - masks) / ctx.temperature
        total = slope.sum((-2, -1), keepdim=True)
        pulled = slope * upstream
        gradient = pulled - slope * (pulled.sum((-2, -1), keepdim=True) / total.clamp(min=FLAT))
        return torch.where(total < FLAT, torch.zeros_like(gradient), gradient), None, None, None


def _solve_tau(scaled: Masks, areas: Areas, inside: Masks) -> Float[Tensor, "b a 1 1"]:
    """Solves mean(inside * sigmoid(scaled - tau)) = a for tau: Newton's method, or bisection if a step is too long.

    A mask that has converged does not change any more, so that no result depends on other masks of the batch.
    """
    n = scaled[0, 0].numel()
    count = inside.sum((-2, -1), keepdim=True).clamp(min=1)
    share = (areas[None, :, None, None] * n / count).clamp(1e-6, 1 - 1e-6)
    tolerance = 1e-7 if scaled.dtype == torch.float32 else 1e-13
    blocked = inside == 0
    # If all free logits equalled the smallest (largest) one, tau would be the lower (upper) end of the bracket.
    offset = torch.logit(share)
    low = scaled.masked_fill(blocked, torch.inf).amin((-2, -1), keepdim=True) - offset
    high = scaled.masked_fill(blocked, -torch.inf).amax((-2, -1), keepdim=True) - offset
    low, high = low.nan_to_num(0.0, 0.0, 0.0), high.nan_to_num(0.0, 0.0, 0.0)
    tau, done = (low + high) / 2, torch.zeros_like(low, dtype=torch.bool)
    for _ in range(NEWTON_STEPS):
        masks = torch.sigmoid(scaled - tau) * inside
        excess = masks.sum((-2, -1), keepdim=True) / count - share
        slope = (masks * (1 - masks)).sum((-2, -1), keepdim=True) / count
        done = done | (excess.abs() <= tolerance)
        if bool(done.all()):
            break
        low, high = torch.where(excess > 0, tau, low), torch.where(excess > 0, high, tau)
        step = tau + excess / slope.clamp(min=1e-30)
        step = torch.where((step > low) & (step < high), step, (low + high) / 2)
        tau = torch.where(done, tau, step)
    return tau

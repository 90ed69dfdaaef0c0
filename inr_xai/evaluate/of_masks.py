"""What masks are by themselves, area by area."""

import torch
from jaxtyping import Float
from torch import Tensor

from inr_xai.evaluate.explained_image import ExplainedImage, MetricValues
from inr_xai.masks import area_error, grayness, nesting_violation, rank_violation


def areas_error(subject: ExplainedImage) -> MetricValues:
    return per_area("area_error", area_error(masks_of(subject), areas_of(subject)), subject)


def rank_violations(subject: ExplainedImage) -> MetricValues:
    return per_area("rank_violation", rank_violation(masks_of(subject), areas_of(subject)), subject)


def graynesses(subject: ExplainedImage) -> MetricValues:
    return per_area("grayness", grayness(masks_of(subject)), subject)


def nesting(subject: ExplainedImage) -> MetricValues:
    return {"nesting_violation": float(nesting_violation(masks_of(subject), areas_of(subject)))}


def masks_of(subject: ExplainedImage) -> Float[Tensor, "1 a h w"]:
    """A batch of the one subject's masks."""
    assert subject.masks is not None, "choose() refuses measures of masks where there are none"
    return subject.masks[None]


def areas_of(subject: ExplainedImage) -> Float[Tensor, " a"]:
    """In double precision, as pixel counts need them."""
    return torch.tensor(subject.areas, dtype=torch.float64)


def per_area(name: str, values: Float[Tensor, "1 a"], subject: ExplainedImage) -> MetricValues:
    """A column for each area."""
    return {f"{name}/a{area:g}": value for area, value in zip(subject.areas, values[0].tolist(), strict=True)}

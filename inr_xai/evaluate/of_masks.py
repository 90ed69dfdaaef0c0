"""The metrics of an explained image that read its masks, most with a value for each area."""

from inr_xai import masks as geometry
from inr_xai import metrics
from inr_xai.evaluate.explained_image import ExplainedImage, MetricValues


def area_error(image: ExplainedImage) -> MetricValues:
    """Returns |mean(m) - a| of each mask."""
    return image.per_area("area_error", geometry.area_error(image.mask_batch, image.area_tensor))


def rank_violation(image: ExplainedImage) -> MetricValues:
    """Returns the distance of each mask's sorted values from those of a binary mask of its area."""
    return image.per_area("rank_violation", geometry.rank_violation(image.mask_batch, image.area_tensor))


def grayness(image: ExplainedImage) -> MetricValues:
    """Returns mean(4 m (1 - m)) of each mask."""
    return image.per_area("grayness", geometry.grayness(image.mask_batch))


def nesting_violation(image: ExplainedImage) -> MetricValues:
    """Returns how much smaller masks keep that larger ones do not, one value for all areas."""
    return {"nesting_violation": float(geometry.nesting_violation(image.mask_batch, image.area_tensor))}


def hallucination(image: ExplainedImage) -> MetricValues:
    """Returns the new edges that the image on the mean colour has under each mask, per edge of the image."""
    values = metrics.hallucination(image.images, image.mask_batch, baseline=image.mean_colour)
    return image.per_area("hallucination", values)


def random_fidelity(image: ExplainedImage) -> MetricValues:
    """Returns what random parts of each hard mask cost the class, less what random parts of the rest cost it."""
    values = metrics.random_fidelity(
        image.score,
        image.images,
        image.targets,
        image.hard,
        baseline=image.mean_colour,
        generators=image.generators("random fidelity"),
    )
    return image.per_area("random_fidelity", values)

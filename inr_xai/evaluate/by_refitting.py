"""The metrics that need more explanations than the one at hand: of changed images, other classes, randomised models."""

from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from inr_xai import metrics
from inr_xai.classifier.frozen import FrozenClassifier
from inr_xai.data.photo_pool import PhotoPool
from inr_xai.errors import UserError
from inr_xai.evaluate.explained_image import ExplainedImage, MetricValues
from inr_xai.fitting.fit import fit_masks
from inr_xai.fitting.importance import importance_maps
from inr_xai.method import Method
from inr_xai.metrics.inputs import ExplainWith
from inr_xai.types import Images, Targets


def max_sensitivity(image: ExplainedImage) -> MetricValues:
    """Returns the largest relative change of the heatmap under small noise on the image."""
    explain = partial(_explain_with(image), _model(image))
    draws = image.generators("sensitivity")
    return {"max_sensitivity": float(metrics.max_sensitivity(explain, image.images, image.targets, generators=draws))}


def mprt(image: ExplainedImage) -> MetricValues:
    """Returns the similarity to the heatmaps of cascadingly randomised models, the mean over layers."""
    by_layer = metrics.mprt(_explain_with(image), _model(image), image.images, image.targets, seed=image.seed)
    return {"mprt": float(torch.stack(list(by_layer.values())).mean())}


def efficient_mprt(image: ExplainedImage) -> MetricValues:
    """Returns the relative rise of the heatmap's complexity if all layers are randomised."""
    value = metrics.efficient_mprt(_explain_with(image), _model(image), image.images, image.targets, seed=image.seed)
    return {"efficient_mprt": float(value)}


def random_logit(image: ExplainedImage) -> MetricValues:
    """Returns the similarity to the heatmap of another class, which is drawn at random."""
    with image.classifier.frozen(image.heatmap.device, image.images.dtype):
        classes = image.classifier(image.images).shape[1]
    explain = partial(_explain_with(image), _model(image))
    draws = image.generators("other class")
    value = metrics.random_logit(explain, image.images, image.targets, classes=classes, generators=draws)
    return {"random_logit": float(value)}


def _explain_with(image: ExplainedImage) -> ExplainWith:
    assert image.explain_with is not None, "choose() refuses metrics that explain anew if nothing can"
    return image.explain_with


def _model(image: ExplainedImage) -> nn.Module:
    """Returns the classifier's model. Raises UserError if it is no torch.nn.Module."""
    model = image.classifier.model
    if not isinstance(model, nn.Module):
        raise UserError("only a torch.nn.Module has layers to randomise; leave mprt out of --metrics")
    return model


def refit(classifier: FrozenClassifier, method: Method, donors: PhotoPool | None) -> ExplainWith:
    """Returns a function that explains another model in the classifier's place by the method of a run.

    It returns the heatmap of each image, and raises UserError if a fit fails, or if fits start from stored maps.
    """

    def explain(model: nn.Module, images: Images, targets: Targets) -> Float[Tensor, "b h w"]:
        if not method.start.explains_any_class:
            raise UserError(
                "start=maps has no maps of changed images, of other classes or of randomised models; leave the metrics "
                "that explain anew out of --metrics, or evaluate a run with start=gradient or start=none"
            )
        other = classifier.of(model)
        ids = [str(place) for place in range(len(images))]  # a place has the same random draws in every call
        photos = None if donors is None else donors.all()
        fits = fit_masks(images, targets, ids, other, method, donors=photos)
        if fits.failures:
            raise UserError(next(iter(fits.failures.values())))
        return importance_maps(fits, method, ids, (images.shape[-2], images.shape[-1])).to(images)

    return explain

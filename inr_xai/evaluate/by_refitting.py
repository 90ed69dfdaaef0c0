"""What needs other explanations than the one at hand: of changed images, of other classes, of randomised models."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from inr_xai.classifier.frozen import FrozenClassifier
from inr_xai.data.photo_pool import PhotoPool
from inr_xai.errors import UserError
from inr_xai.evaluate.explained_image import ExplainedImage, MetricValues
from inr_xai.fitting.fit import fit_masks
from inr_xai.fitting.importance import importance_maps
from inr_xai.method import Method
from inr_xai.metrics.inputs import ExplainWith
from inr_xai.metrics.robustness.randomisation import efficient_mprt, mprt, random_logit
from inr_xai.metrics.robustness.sensitivity import max_sensitivity
from inr_xai.types import Images, Targets


def sensitivity(subject: ExplainedImage) -> MetricValues:
    draws = subject.generators("sensitivity")
    found = max_sensitivity(_explain(subject), subject.images, subject.targets, generators=draws)
    return {"max_sensitivity": float(found)}


def randomised(subject: ExplainedImage) -> MetricValues:
    """Similarity to the explanations of cascadingly randomised models: the mean over the layers."""
    assert subject.explain_with is not None
    found = mprt(subject.explain_with, _model(subject), subject.images, subject.targets, seed=subject.seed)
    return {"mprt": float(torch.stack(list(found.values())).mean())}


def efficient(subject: ExplainedImage) -> MetricValues:
    assert subject.explain_with is not None
    found = efficient_mprt(subject.explain_with, _model(subject), subject.images, subject.targets, seed=subject.seed)
    return {"efficient_mprt": float(found)}


def other_class(subject: ExplainedImage) -> MetricValues:
    with subject.classifier.frozen(subject.heatmap.device, subject.images.dtype):
        classes = subject.classifier(subject.images).shape[1]
    draws = subject.generators("other class")
    found = random_logit(_explain(subject), subject.images, subject.targets, classes=classes, generators=draws)
    return {"random_logit": float(found)}


def _explain(subject: ExplainedImage):  # type: ignore[no-untyped-def]
    def explain(images: Tensor, targets: Tensor) -> Tensor:
        assert subject.explain_with is not None
        return subject.explain_with(_model(subject), images, targets)

    return explain


def _model(subject: ExplainedImage) -> nn.Module:
    model = subject.classifier.model
    if not isinstance(model, nn.Module):
        raise UserError("only a torch.nn.Module has layers to randomise; leave mprt out of --metrics")
    return model


def refit(classifier: FrozenClassifier, method: Method, donors: PhotoPool | None) -> ExplainWith:
    """The run's method for another model in the classifier's place: its heatmap of every image."""

    def explain(model: nn.Module, images: Images, targets: Targets) -> Float[Tensor, "b h w"]:
        other = classifier.of(model)
        ids = [str(place) for place in range(len(images))]  # alike for like places: the fit's own noise stays out
        photos = None if donors is None else donors.all()
        fitted = fit_masks(images, targets, ids, other, method, donors=photos)
        if fitted.failures:
            raise UserError(next(iter(fitted.failures.values())))
        return importance_maps(fitted, method, ids, (images.shape[-2], images.shape[-1])).to(images)

    return explain

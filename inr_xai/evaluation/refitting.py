"""What needs other explanations than the one at hand: of changed images, of other classes, of randomised models."""

import torch
from torch import Tensor, nn

from inr_xai.errors import UserError
from inr_xai.evaluation.subject import Subject
from inr_xai.metrics.randomisation import efficient_mprt, mprt, random_logit
from inr_xai.metrics.sensitivity import max_sensitivity

Values = dict[str, float]


def sensitivity(subject: Subject) -> Values:
    draws = subject.generators("sensitivity")
    found = max_sensitivity(_explain(subject), subject.images, subject.targets, generators=draws)
    return {"max_sensitivity": float(found)}


def randomised(subject: Subject) -> Values:
    """Similarity to the explanations of cascadingly randomised models: the mean over the layers."""
    assert subject.explain_with is not None
    found = mprt(subject.explain_with, _model(subject), subject.images, subject.targets, seed=subject.seed)
    return {"mprt": float(torch.stack(list(found.values())).mean())}


def efficient(subject: Subject) -> Values:
    assert subject.explain_with is not None
    found = efficient_mprt(subject.explain_with, _model(subject), subject.images, subject.targets, seed=subject.seed)
    return {"efficient_mprt": float(found)}


def other_class(subject: Subject) -> Values:
    with subject.classifier.frozen(subject.heatmap.device, subject.images.dtype):
        classes = subject.classifier(subject.images).shape[1]
    draws = subject.generators("other class")
    found = random_logit(_explain(subject), subject.images, subject.targets, classes=classes, generators=draws)
    return {"random_logit": float(found)}


def _explain(subject: Subject):  # type: ignore[no-untyped-def]
    def explain(images: Tensor, targets: Tensor) -> Tensor:
        assert subject.explain_with is not None
        return subject.explain_with(_model(subject), images, targets)

    return explain


def _model(subject: Subject) -> nn.Module:
    model = subject.classifier.model
    if not isinstance(model, nn.Module):
        raise UserError("only a torch.nn.Module has layers to randomise; leave mprt out of --metrics")
    return model

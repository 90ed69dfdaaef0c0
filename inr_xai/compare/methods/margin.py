"""The margin of a class: its logit less that of the best other class of the photo.

Its attributions say what speaks for the class rather than for the one that it could most easily be taken for.
Prabhushankar, Kwon, Temel, AlRegib, "Contrastive Explanations in Neural Networks", ICIP 2020; as a reward of
perturbations: Fong, Patrick, Vedaldi, ICCV 2019, section 4.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from inr_xai.classifier import FrozenClassifier
from inr_xai.errors import UserError
from inr_xai.types import Images


def best_other_class(logits: Float[Tensor, " n"], target: int) -> int:
    """Returns the class of the largest logit among all but the target.

    It is the runner-up if the target is the most likely class, and else the most likely class.

    >>> best_other_class(torch.tensor([1.0, 3.0, 2.0]), 1), best_other_class(torch.tensor([1.0, 3.0, 2.0]), 0)
    (2, 1)
    """
    others = logits.detach().clone()
    others[target] = -torch.inf
    return int(others.argmax())


class MarginOfRow:
    """The margin of the target in the logits of one photo, as grad-cam takes a target."""

    def __init__(self, target: int):
        self._target = target

    def __call__(self, logits: Float[Tensor, " n"]) -> Float[Tensor, ""]:
        return logits[self._target] - logits[best_other_class(logits, self._target)]


class LogitMargin(nn.Module):
    """The margin of the target for each of many images, as captum takes a model.

    The other class is that of the whole photo for all images, so that the margin is one linear function of the logits
    on the way from the baseline to the photo.

    Args:
        model: returns the logits of images.
        photo: the photo whose best other class is meant; the model sees it once.
    """

    def __init__(self, model: nn.Module, photo: Float[Tensor, "1 c h w"], target: int):
        super().__init__()
        self.model = model
        with torch.no_grad():
            self._classes = target, best_other_class(model(photo)[0], target)

    def forward(self, images: Images) -> Float[Tensor, " b"]:
        logits = self.model(images)
        target, other = self._classes
        return logits[:, target] - logits[:, other]


def require_two_classes(classifier: FrozenClassifier) -> None:
    """Raises UserError if the classifier has one output, beside which there is no other class."""
    if classifier.count_classes() < 2:
        raise UserError(
            "a margin compares a class with the others, and the classifier has one output; take gradcam or "
            "integrated_gradients, which explain the output itself"
        )

"""What the classifier says of whole images: the classes that it finds most likely, for the rows and for readers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from inr_xai.classifier.frozen import in_parts
from inr_xai.types import Classifier, Images, Row

MOST = 5
"""Classes that are kept of an image."""


@dataclass(frozen=True)
class WholeAnswer:
    """The most likely classes of one image, the first first.

    Args:
        classes: class indices, at most five; none if the outputs are scores of no classes.
        probabilities: of each of them, in [0, 1].
    """

    classes: tuple[int, ...] = ()
    probabilities: tuple[float, ...] = ()

    def pairs(self) -> list[list[float]]:
        """Returns [class index, probability] of each class, as a masks file stores them."""
        return [[index, p] for index, p in zip(self.classes, self.probabilities, strict=True)]

    def columns(self, target: int, label: int | None, class_names: Sequence[str] | None) -> Row:
        """Returns the columns of a row that say which class is explained, what is predicted, and whether it is right.

        Cells are None where nothing is known. `right` is 1 if the most likely class is the label, else 0.
        """
        predicted = self.classes[0] if self.classes else None
        return {
            "target_name": _name(class_names, target),
            "predicted": predicted,
            "predicted_name": None if predicted is None else _name(class_names, predicted),
            "p_predicted": self.probabilities[0] if self.probabilities else None,
            "right": None if predicted is None or label is None else int(predicted == label),
        }


@torch.no_grad()
def ask_whole(classifier: Classifier, images: Images, *, at_once: int = 32) -> list[WholeAnswer]:
    """Returns what the classifier says of each image; an image without finite logits has an empty answer."""
    if classifier.head == "none":
        return [WholeAnswer()] * len(images)
    with classifier.frozen(images.device, images.dtype):
        parts = in_parts(lambda some: ask_frozen(classifier, images[some]), len(images), at_once, of=classifier)
        return [answer for part in parts for answer in part]


@torch.no_grad()
def ask_frozen(classifier: Classifier, images: Images) -> list[WholeAnswer]:
    """Returns what `ask_whole` does, by one pass of a classifier that is frozen and has the images' device and dtype.

    It leaves the model alone, so that another thread may use it meanwhile.
    """
    if classifier.head == "none":
        return [WholeAnswer()] * len(images)
    logits = classifier(images)
    classes = logits.nan_to_num(-torch.inf).topk(min(MOST, logits.shape[1]), dim=1).indices
    values = torch.stack([classifier.probability(logits, column) for column in classes.unbind(1)], dim=1)
    return _answers(classes.tolist(), values.tolist(), logits.isfinite().all(1))


def _answers(classes: list[list[int]], values: list[list[float]], finite: Any) -> list[WholeAnswer]:
    known = zip(classes, values, finite.tolist(), strict=True)
    return [WholeAnswer(tuple(one), tuple(p)) if is_finite else WholeAnswer() for one, p, is_finite in known]


def _name(class_names: Sequence[str] | None, index: int) -> str | None:
    return class_names[index] if class_names and index < len(class_names) else None

"""The rule that says which class of an image is explained; runs and comparisons share it.

The wrong-target control explains a class that the image does not show: the score that a fit reaches for it is what
masks alone can produce. METHOD, "The audit", in docs/method.md.
"""

from dataclasses import dataclass

import torch

from inr_xai.classifier.frozen import HEADS, FrozenClassifier, require_class
from inr_xai.errors import UserError
from inr_xai.limits import require_probabilities
from inr_xai.seeding import generator
from inr_xai.types import Image

ABSENT = 1e-3  # an image does not show classes below this probability


@dataclass(frozen=True)
class TargetRule:
    """Chooses the class of an image that is explained.

    Args:
        targets: "label", "predicted", "wrong" (a class that the image does not show), or a class index.
        seed: seed of the draw of a wrong class, which also depends on the image's id.
    """

    targets: str | int
    seed: int = 0

    @property
    def asks_classifier(self) -> bool:
        """Whether the choice needs the classifier's answer for the image."""
        return self.targets in ("predicted", "wrong")

    @torch.no_grad()
    def choose(self, classifier: FrozenClassifier, image: Image, label: int | None, image_id: str) -> int:
        """Returns the class index.

        Args:
            image: c x h x w, values in [0, 1], on the device where the classifier runs.
            label: class index of the image's label; None if unknown.

        Raises:
            UserError: the image has no label, the classifier has no such class, or the image may show every class.
        """
        if self.targets == "wrong":
            require_probabilities(classifier.head, "data.targets=wrong")
        if self.asks_classifier:
            with classifier.frozen(image.device, image.dtype):
                target = int(classifier(image[None]).argmax())
            if self.targets == "wrong":
                target = wrong_target(classifier, image, target, label, image_id, self.seed)
        elif isinstance(self.targets, int):
            target = self.targets
        elif classifier.head == "none" and classifier.count_classes() == 1:
            target = 0  # a label says nothing of the one score
        elif label is None:
            raise UserError(f"{image_id!r} has no label; set data.targets=predicted")
        else:
            target = label
        require_class(target, classifier.count_classes())
        return target


@torch.no_grad()
def wrong_target(
    classifier: FrozenClassifier, image: Image, target: int, label: int | None, image_id: str, seed: int = 0
) -> int:
    """Draws one of the classes with p < 0.001 on the image, all equally likely.

    Args:
        target, label: classes that are never drawn: the one that is explained, and the image's label.

    Raises:
        UserError: there is no such class, or the outputs are no probabilities.
    """
    require_probabilities(classifier.head, "a class that the image does not show")
    with classifier.frozen(image.device, image.dtype):
        p = HEADS[classifier.head].probabilities(classifier(image[None]))[0]
    absent = [index for index in (p < ABSENT).nonzero().flatten().tolist() if index not in (target, label)]
    if not absent:
        raise UserError(f"the classifier gives every other class of {image_id!r} a probability of {ABSENT} or more")
    draw = generator(seed, image_id, "wrong target")
    return int(absent[int(torch.randint(0, len(absent), (), generator=draw))])

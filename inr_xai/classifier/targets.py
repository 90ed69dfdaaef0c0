"""Which class to explain of each image, by the option `data.targets`: the one rule of runs and comparisons.

The wrong-target control is a class that the image does not show: what a fit reaches for it is what masks can draw by
themselves. METHOD, "Metrics", in docs/method.md.
"""

from dataclasses import dataclass

import torch

from inr_xai.classifier.frozen import PROBABILITIES, FrozenClassifier, require_class
from inr_xai.errors import UserError
from inr_xai.seeding import generator
from inr_xai.types import Image

ABSENT = 1e-3  # classes below this probability are not on the image


@dataclass(frozen=True)
class TargetRule:
    """The class to explain of an image.

    Args:
        targets: "label", "predicted", "wrong" (a class that the image does not show), or one class index.
        seed: names the wrong class, with the image's id.
    """

    targets: str | int
    seed: int = 0

    @torch.no_grad()
    def choose(self, classifier: FrozenClassifier, image: Image, label: int | None, image_id: str) -> int:
        """The class index.

        Args:
            image: on the device where the classifier is asked.
            label: the image's own class; None where unknown.

        Raises:
            UserError: the image has no label, the classifier no such class, or there is no class that is absent.
        """
        if isinstance(self.targets, int):
            target = self.targets
        elif self.targets == "label":
            if label is None:
                raise UserError(f"{image_id!r} has no label; set data.targets=predicted")
            target = label
        else:
            with classifier.frozen(image.device, image.dtype):
                target = int(classifier(image[None]).argmax())
            if self.targets == "wrong":
                target = wrong_target(classifier, image, target, label, image_id, self.seed)
        require_class(target, classifier.count_classes())
        return target


@torch.no_grad()
def wrong_target(
    classifier: FrozenClassifier, image: Image, target: int, label: int | None, image_id: str, seed: int = 0
) -> int:
    """One of the classes with p < 0.001 on the image, neither the explained nor the labelled one, each as likely.

    Raises:
        UserError: there is no such class.
    """
    with classifier.frozen(image.device, image.dtype):
        p = PROBABILITIES[classifier.head](classifier(image[None]))[0]
    absent = [index for index in (p < ABSENT).nonzero().flatten().tolist() if index not in (target, label)]
    if not absent:
        raise UserError(f"the classifier gives every other class of {image_id!r} a probability of {ABSENT} or more")
    draw = generator(seed, image_id, "wrong target")
    return int(absent[int(torch.randint(0, len(absent), (), generator=draw))])

"""The wrong-target control: a class that the image does not show, drawn per image.

What a fit reaches for such a class is what masks can draw by themselves. METHOD, "Metrics", in docs/method.md.
"""

import torch

from inr_xai.classifier import FrozenClassifier
from inr_xai.classifier.frozen import PROBABILITIES
from inr_xai.errors import UserError
from inr_xai.seeding import generator
from inr_xai.types import Image

ABSENT = 1e-3  # classes below this probability are not on the image


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

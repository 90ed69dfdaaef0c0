"""The draw of a class that the image does not show."""

import pytest
import torch

from inr_xai.classifier import FrozenClassifier
from inr_xai.errors import UserError
from inr_xai.classifier.wrong import wrong_target
from inr_xai.seeding import generator
from inr_xai.types import Preprocessing


def test_the_wrong_target_is_drawn_from_the_absent_classes() -> None:
    preprocessing = Preprocessing((2, 2), 2, "bilinear", (0.0,) * 3, (1.0,) * 3)
    logits = torch.tensor([[9.0, -9.0, -8.0, 5.0, -7.0, -9.0, 2.5]])
    classifier = FrozenClassifier(lambda images: logits, preprocessing=preprocessing)
    image = torch.zeros(3, 2, 2)
    absent = [1, 2, 5]  # class 6 has p > 0.001, 0 is explained, 4 is the label
    for name in "abcdef":
        place = int(torch.randint(0, 3, (), generator=generator(0, name, "wrong target")))
        assert wrong_target(classifier, image, 0, 4, name) == absent[place]
    assert {wrong_target(classifier, image, 0, 4, str(name)) for name in range(40)} == set(absent)


def test_an_image_that_shows_every_class_has_no_wrong_one() -> None:
    preprocessing = Preprocessing((2, 2), 2, "bilinear", (0.0,) * 3, (1.0,) * 3)
    classifier = FrozenClassifier(lambda images: torch.zeros(1, 3), preprocessing=preprocessing)
    with pytest.raises(UserError, match="every other class"):
        wrong_target(classifier, torch.zeros(3, 2, 2), 0, None, "a")

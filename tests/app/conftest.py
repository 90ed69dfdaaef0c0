"""A desk with a tiny classifier, and photos as files."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inr_xai.app.classifiers import Classifiers
from inr_xai.app.desk import Desk
from inr_xai.app.question import AS_GIVEN, Fields
from inr_xai.classifier import FrozenClassifier
from inr_xai.method import Method
from tests.conftest import pictures, tiny_classifier

NAMES = ["ant", "bee, wasp", "cat", "dog", "eel"]


def named() -> FrozenClassifier:
    """Returns the tiny classifier with names of its classes."""
    classifier = tiny_classifier()
    classifier.class_names = list(NAMES)
    return classifier


def fields_of(photo: Path | str | None, **changes: str) -> Fields:
    """Returns fields as the page has them at the start, with some changed."""
    values = {"classifier": "tiny", "target": "", "areas": "0.1, 30%", "explanations": "2", "preset": AS_GIVEN}
    return Fields(None if photo is None else str(photo), **values | changes)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A photo of 40 x 30 pixels."""
    pixels = (pictures(1, side=40)[0] * 255).byte().permute(1, 2, 0).numpy()
    Image.fromarray(np.ascontiguousarray(pixels[:30])).save(tmp_path / "a photo.png")
    return tmp_path / "a photo.png"


@pytest.fixture
def desk() -> Iterator[Desk]:
    """A desk with the tiny classifier alone, whose fits have six steps."""
    desk = Desk(Classifiers({"tiny": named}), Method(areas=(0.1, 0.3), explanations=2, steps=6), most=1)
    yield desk
    desk.close()

"""What is asked of a photo, as the page's fields say it, checked before it waits for its turn."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from inr_xai.app.classifiers import Classifiers, chosen_class
from inr_xai.app.photo import DroppedPhoto, read_photo
from inr_xai.classifier.frozen import FrozenClassifier
from inr_xai.errors import UserError
from inr_xai.explanation.presets import PRESETS, preset_options
from inr_xai.limits import AUTO
from inr_xai.method import Method

AS_GIVEN = "default"
"""The preset of the page that leaves the options of the start as they are."""


@dataclass(frozen=True)
class Fields:
    """The fields of the page, as they are filled in.

    Args:
        photo: the file; None if there is none.
        classifier: one of the names that are offered.
        target: an index or a name of a class; empty for the predicted one.
        areas: fractions or percentages of the image with commas between.
        explanations: a number, or auto.
        preset: a name of `PRESETS`, or AS_GIVEN.
    """

    photo: str | None
    classifier: str
    target: str | None
    areas: str
    explanations: str
    preset: str


@dataclass(frozen=True)
class Question:
    """What is explained, and how; a target of None stands for the predicted class."""

    photo: DroppedPhoto
    classifier: FrozenClassifier
    target: int | None
    method: Method


def question_of(fields: Fields, classifiers: Classifiers, method: Method) -> Question:
    """Returns what the fields ask.

    Args:
        method: the options of the start, of which the fields replace some.

    Raises:
        UserError: the photo cannot be read, there is no such class, or the masks cannot exist.
    """
    photo, classifier = read_photo(fields.photo), classifiers[fields.classifier]
    explanations: int | str = fields.explanations.strip().lower()
    if explanations != AUTO:
        if not str(explanations).isdecimal():
            raise UserError(f"explanations must be a number or auto; got {fields.explanations!r:.40}")
        explanations = int(explanations)
    options = {} if fields.preset == AS_GIVEN else preset_options(fields.preset)
    asked = replace(method, areas=areas_of(fields.areas), explanations=explanations, **options)
    return Question(photo, classifier, chosen_class(fields.target, classifier), asked)


def areas_of(text: str) -> tuple[float, ...]:
    """Returns the areas of a text.

    >>> areas_of("0.05, 10 %; 0.2")
    (0.05, 0.1, 0.2)

    Raises:
        UserError: a part of it is no number.
    """
    areas = []
    for part in text.replace(";", ",").split(","):
        number = part.strip()
        if number:
            try:
                areas.append(float(number.removesuffix("%")) / (100 if number.endswith("%") else 1))
            except ValueError:
                raise UserError(f"areas must be numbers such as 0.05, 0.1, 20%; got {number!r:.40}") from None
    return tuple(areas)


def preset_names(*, accelerator: bool) -> Mapping[str, str]:
    """Returns the presets that the page offers, and what each of them is.

    Args:
        accelerator: whether the classifiers compute on one.
    """
    said = {
        AS_GIVEN: "default",
        "fast": "fast: a quarter of the steps",
        "best": "best: twice the steps",
        "gpu": "gpu: for a CUDA device",
    }
    return {
        name: words for name, words in said.items() if name in {AS_GIVEN, *PRESETS} and (accelerator or name != "gpu")
    }

"""The fields of the page as a question: what they mean, and what is refused before anything waits."""

from pathlib import Path

import pytest

from inr_xai.app.desk import Desk
from inr_xai.app.question import AS_GIVEN, areas_of, preset_names, question_of
from inr_xai.errors import UserError
from tests.app.conftest import fields_of


def test_fields_replace_the_options_of_the_start(desk: Desk, photo: Path) -> None:
    asked = question_of(fields_of(photo), desk.classifiers, desk.method)
    method = asked.method
    assert (method.areas, method.explanations, method.steps, asked.target) == ((0.1, 0.3), 2, 6, None)
    assert (asked.photo.name, asked.classifier) == ("a photo", desk.classifiers["tiny"])
    changes = {"explanations": " Auto", "preset": "fast", "target": "cat"}
    asked = question_of(fields_of(photo, **changes), desk.classifiers, desk.method)
    assert (asked.method.explanations, asked.method.steps, asked.target) == ("auto", 25, 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"areas": "1.5"}, r"areas must lie in \(0, 1\).*got 1.5"),
        ({"areas": "0.6"}, "0.6"),
        ({"areas": ""}, "areas is empty"),
        ({"areas": "a tenth"}, "areas must be numbers such as .*got 'a tenth'"),
        ({"explanations": "two"}, "explanations must be a number or auto; got 'two'"),
        ({"explanations": "0"}, "explanations=0"),
        ({"preset": "slow"}, "preset='slow' is none of"),
        ({"classifier": "none"}, "no classifier 'none'"),
        ({"target": "unicorn"}, "class 'unicorn' is the name of no class"),
    ],
)
@pytest.mark.slow
def test_refusals(desk: Desk, photo: Path, changes: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        question_of(fields_of(photo, **changes), desk.classifiers, desk.method)


def test_areas_are_fractions_or_percentages() -> None:
    assert areas_of("5 %, 0.1 ;20%,") == (0.05, 0.1, 0.2)


def test_the_preset_for_a_device_is_offered_where_there_is_one() -> None:
    assert list(preset_names(accelerator=False)) == [AS_GIVEN, "fast", "best"]
    assert list(preset_names(accelerator=True))[-1] == "gpu"

"""Shapes of plain values: what fits passes, and what does not is named with its place."""

from typing import Any

import pytest

from inr_xai.runs.structure import require

SHAPE = {"name": str, "frame": {"size": [int]}, "seconds": float, "flag?": bool, "area": (float, None), "rest": object}
RIGHT: dict[str, Any] = {"name": "a", "frame": {"size": [1, 2]}, "seconds": 1, "area": None, "rest": [{}], "more": 3}


def test_what_fits_passes() -> None:
    require(RIGHT, SHAPE)
    require(RIGHT | {"flag": True, "area": 0.5}, SHAPE)
    require({"a": 1, "b": 2.5}, {str: float})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": 3}, "name is a whole number, not text"),
        ({"frame": []}, "frame is a list, not an object"),
        ({"frame": {}}, "frame has no size"),
        ({"frame": {"size": [1, "2"]}}, r"frame\.size\[1\] is text, not a whole number"),
        ({"frame": {"size": [1.5]}}, r"frame\.size\[0\] is a number, not a whole number"),
        ({"seconds": True}, "seconds is true or false, not a number"),
        ({"seconds": None}, "seconds is null, not a number"),
        ({"flag": 1}, "flag is a whole number, not true or false"),
        ({"area": "x"}, "area is text, not a number or null"),
    ],
)
def test_what_does_not_fit_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        require(RIGHT | changes, SHAPE)


@pytest.mark.parametrize("value", [None, [], "text", 3])
def test_a_whole_that_is_no_object_is_named(value: object) -> None:
    with pytest.raises(ValueError, match=r"^its content is .*, not an object$"):
        require(value, SHAPE)

"""Which areas, explanations and stopping rules are allowed, at the edges."""

import pytest

from inr_xai.errors import UserError
from inr_xai.limits import Exclusion, Stop, check_exclusion, check_masks, most_explanations


def test_areas_inside_the_unit_interval_are_allowed() -> None:
    check_masks([0.001, 0.999], 1, Exclusion(), Stop())
    check_masks((0.5,), "auto", Exclusion(), Stop())


@pytest.mark.parametrize(
    ("areas", "sentence"),
    [
        ([], r"areas is empty; give at least one .* such as areas=\[0\.1\]"),
        ([0.1, 0.0], r"must lie in \(0, 1\).*got 0\.0"),
        ([1.0], r"must lie in \(0, 1\).*got 1\.0"),
        ([float("nan")], r"must lie in \(0, 1\).*got nan"),
        ([0.2, 0.1, 0.2], r"must not be repeated; 0\.2 occurs more than once in \[0\.2, 0\.1, 0\.2\]"),
    ],
)
def test_impossible_areas_are_refused(areas: list[float], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        check_masks(areas, 1, Exclusion(), Stop())


@pytest.mark.parametrize(
    ("mode", "area", "areas", "explanations"),
    [
        ("exclude", None, [0.5], 2),
        ("exclude", None, [1 / 3], 3),
        ("exclude", 0.0, [0.1, 0.25], 4),
        ("exclude", 0.2, [0.1], 5),
        ("penalty", None, [0.9], 7),  # masks that may overlap always fit
    ],
)
def test_explanations_that_just_fit_are_allowed(
    mode: str, area: float | None, areas: list[float], explanations: int
) -> None:
    check_exclusion(Exclusion(mode, area), areas=areas, explanations=explanations)


@pytest.mark.parametrize(
    ("mode", "area", "areas", "explanations", "sentence"),
    [
        ("block", None, [0.1], 1, "exclusion.mode must be exclude or penalty; got 'block'"),
        ("exclude", None, [0.1], 0, "explanations=0 is out of range; it must be at least 1"),
        ("exclude", 1.0, [0.1], 1, r"exclusion.area must lie in \(0, 1\).*got 1\.0"),
        ("exclude", -0.1, [0.1], 1, r"exclusion.area must lie in \(0, 1\).*got -0\.1"),
        ("exclude", None, [0.1, 0.51], 2, r"2 explanations of area 0\.51 .*use explanations=1 or areas up to 0\.5$"),
        ("exclude", 0.3, [0.1], 4, r"4 explanations of area 0\.3 .*use explanations=3 or areas up to 0\.25$"),
        ("exclude", 0.0, [0.15], 7, r"7 explanations of area 0\.15 .*use explanations=6 or areas up to 0\.142$"),
    ],
)
def test_explanations_that_do_not_fit_are_refused(
    mode: str, area: float | None, areas: list[float], explanations: int, sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        check_exclusion(Exclusion(mode, area), areas=areas, explanations=explanations)


@pytest.mark.parametrize(
    ("mode", "area", "areas", "most", "expected"),
    [
        ("exclude", None, [0.1, 0.3], 5, 3),
        ("exclude", None, [1 / 3], 5, 3),
        ("exclude", 0.5, [0.1], 5, 2),
        ("exclude", 0.0, [0.7], 5, 1),
        ("exclude", None, [0.1], 2, 2),
        ("penalty", 0.5, [0.4], 5, 5),
    ],
)
def test_the_largest_number_that_fits(
    mode: str, area: float | None, areas: list[float], most: int, expected: int
) -> None:
    assert most_explanations(Exclusion(mode, area), areas=areas, most=most) == expected


@pytest.mark.parametrize(
    ("share", "most", "sentence"),
    [
        (-0.1, 5, r"stop\.share=-0\.1 .* must lie in \[0, 1\]"),
        (float("nan"), 5, r"stop\.share=nan"),
        (1.5, 5, r"stop\.share=1\.5"),
        (0.1, 0, r"stop\.most=0 .* a whole number of explanations, at least 1"),
    ],
)
def test_impossible_stopping_rules_are_refused(share: float, most: int, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        check_masks([0.1], "auto", Exclusion(), Stop(share, most))

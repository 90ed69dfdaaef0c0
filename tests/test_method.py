"""The method: which combinations of its choices are refused, and what follows from them."""

import functools

import pytest

from inr_xai.area import RankPenalty
from inr_xai.errors import UserError
from inr_xai.inr import FourierINR
from inr_xai.limits import Exclusion, Stop
from inr_xai.method import Method
from inr_xai.objective import Hybrid


def test_the_largest_area_is_excluded_unless_another_is_given() -> None:
    assert Method(areas=(0.1, 0.3, 0.2)).exclusion_area == 0.3
    assert Method(areas=(0.1, 0.3), exclusion=Exclusion(area=0.15)).exclusion_area == 0.15


def test_auto_fits_as_many_explanations_as_the_image_and_the_rule_allow() -> None:
    assert (Method(explanations=2).auto, Method(explanations=2).most) == (False, 2)
    assert (Method(explanations="auto").auto, Method(areas=(0.3,), explanations="auto").most) == (True, 3)
    assert Method(areas=(0.1,), explanations="auto", stop=Stop(most=4)).most == 4


def test_an_explanation_costs_the_passes_of_its_objective_in_each_step() -> None:
    assert Method(areas=(0.1, 0.2), steps=7).passes == 7 * 2
    assert Method(areas=(0.1, 0.2), steps=7, objective=Hybrid()).passes == 7 * 3


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"areas": ()}, "areas is empty"),
        ({"areas": (0.1, 1.5)}, r"areas must lie in \(0, 1\).*got 1.5"),
        ({"areas": (0.1, 0.1)}, "areas must not be repeated; 0.1"),
        (
            {"areas": (0.4,), "explanations": 3},
            "3 explanations of area 0.4 do not fit.*explanations=2 or areas up to 0.333",
        ),
        ({"explanations": 0}, "explanations=0 is out of range; it must be at least 1"),
        ({"exclusion": Exclusion("block")}, "exclusion.mode must be exclude or penalty; got 'block'"),
        ({"exclusion": Exclusion(area=1.0)}, "exclusion.area must lie in .*got 1.0"),
    ],
)
def test_impossible_methods_are_refused(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        Method(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"inr": FourierINR}, "nested=true needs one field .*inr.conditioning=concat; use inr.conditioning=none"),
        (
            {"inr": functools.partial(FourierINR, conditioning="none"), "area_rule": RankPenalty()},
            "area_rule=projection",
        ),
        (
            {
                "inr": functools.partial(FourierINR, conditioning="none"),
                "explanations": 2,
                "exclusion": Exclusion(area=0.0),
            },
            "got exclusion.area=0; use exclusion.area=null or at least 0.3",
        ),
    ],
)
def test_nested_is_refused_if_masks_might_not_be(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        Method(nested=True, **options)  # type: ignore[arg-type]

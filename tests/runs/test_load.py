"""Reading a run back: what is stored of a method renders as the method does, and class paths in files are checked."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import inr_xai
from inr_xai.area import AreaProjection, RankPenalty
from inr_xai.errors import UserError
from inr_xai.inr import FourierINR, PyramidINR
from inr_xai.limits import Exclusion
from inr_xai.method import Method
from inr_xai.runs.load import Run, describe_drawing, draw_record, stored_method
from inr_xai.runs.masks_file import SampleRecord
from inr_xai.types import Frame

STORED = Path(__file__).resolve().parent / "data" / "run_0.1.0"
FRAME = Frame((8, 8), (8, 8), 0, 0, (8, 8))


def record(drawing: dict[str, Any], sample_id: str = "a") -> SampleRecord:
    """Returns a record that has nothing but how its masks are drawn."""
    return SampleRecord(sample_id, 0, FRAME, [0.1], torch.zeros(1, 1, 8, 8), [{}], torch.zeros(1, 1), [], drawing)


@pytest.mark.parametrize(
    "method",
    [
        Method(),
        Method(areas=(0.1, 0.3), seed=7, area_rule=AreaProjection(start=2.0, end=0.1, hold=3.0)),
        Method(areas=(0.1,), exclusion=Exclusion("exclude", 0.0), area_rule=RankPenalty(start=5.0)),
        Method(areas=(0.1, 0.2), explanations=2, exclusion=Exclusion("penalty", 0.15, 3.0)),
    ],
    ids=["defaults", "projection", "rank penalty", "penalty"],
)
def test_a_stored_method_draws_as_the_method_that_was_described(method: Method) -> None:
    stored = stored_method(record(describe_drawing(method)), method.areas)
    assert tuple(stored.areas) == tuple(method.areas)
    assert (stored.seed, stored.exclusion.mode) == (method.seed, method.exclusion.mode)
    assert stored.exclusion_area == method.exclusion_area
    assert (type(stored.area_rule), vars(stored.area_rule)) == (type(method.area_rule), vars(method.area_rule))
    assert describe_drawing(stored)["area_rule"] == describe_drawing(method)["area_rule"]


def test_other_areas_may_be_rendered_but_exclude_as_those_that_were_fitted() -> None:
    method = Method(areas=(0.1, 0.2), explanations=2)
    stored = stored_method(record(describe_drawing(method)), [0.05])
    assert (stored.areas, stored.exclusion_area) == ((0.05,), 0.2)


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        (PyramidINR, {"class": "inr_xai.inr.grids:PyramidINR", "arguments": {}}),
        (partial(FourierINR, width=16), {"class": "inr_xai.inr.fourier:FourierINR", "arguments": {"width": 16}}),
    ],
)
def test_the_family_is_described_by_its_class_and_arguments(family: Any, expected: dict[str, Any]) -> None:
    assert describe_drawing(Method(inr=family))["inr"] == expected


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "not_there.module:Rule",
            "this run names not_there.module:Rule, which is none of our classes; if you trust it",
        ),
        ("inr_xai.area:Nothing", "this run needs inr_xai.area:Nothing, which cannot be imported"),
        ("os:system", "this run names os:system, which is none of our classes"),
        ("inr_xai.area:torch.os.system", "which is no AreaRule; was the file changed by hand?"),
        ("inr_xai.area.:x", "cannot be imported"),
        ("", "which is none of our classes"),
        ("inr_xai.inr.grids:PyramidINR", "which is none of our classes"),
        ("inr_xai.area:torch.nn.Module", "which is no AreaRule"),
    ],
)
def test_a_class_path_that_is_no_area_rule_is_refused(path: str, message: str) -> None:
    drawing = describe_drawing(Method())
    drawing["area_rule"] = {"class": path, "arguments": {}}
    with pytest.raises(UserError) as caught:
        stored_method(record(drawing), [0.1])
    assert message in str(caught.value)


def test_a_run_is_a_mapping_from_image_ids() -> None:
    run = inr_xai.load(STORED)
    assert isinstance(run, Run)
    assert (len(run), list(run)) == (2, ["00000-disc", "00001-square"])
    assert run.info["config"]["steps"] == 6
    assert [row["sample_id"] for row in run.rows] == ["00000-disc"] * 2 + ["00001-square"] * 2
    assert run.summary["images"] == 2
    with pytest.raises(KeyError, match=r"'none' is not in this run; it has 2 samples"):
        run["none"]
    with pytest.raises(UserError, match=r"run\.json does not exist; is .* the folder of a run\?"):
        inr_xai.load(STORED / "masks")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"area": 0.1, "explanation": 0}, "explanation must lie in 1 to 2, the number fitted; got 0"),
        ({"area": 0.1, "explanation": 3}, "explanation must lie in 1 to 2, the number fitted; got 3"),
        ({"area": 0.1, "frame": "photo"}, "frame must be input or image; got 'photo'"),
        ({"area": 0.1, "size": 0}, "size must be a side in pixels or .height, width., whole and positive; got 0"),
        ({"area": 0.1, "size": (32, -1)}, "size must be a side in pixels .* got .32, -1."),
    ],
)
def test_a_mask_that_cannot_be_drawn_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        inr_xai.load(STORED)["00000-disc"].mask(**arguments)


def test_a_mask_has_the_size_that_is_asked_for_or_that_of_the_photo() -> None:
    explained = inr_xai.load(STORED)["00000-disc"]
    assert explained.mask(0.2).shape == explained.masks.shape[-2:]
    assert explained.mask(0.2, (24, 40)).shape == (24, 40)
    assert explained.mask(0.2, frame="image").shape == explained.frame.original
    assert torch.equal(draw_record(explained.record, [0.2], (24, 24), 1)[0], explained.mask(0.2, 24))

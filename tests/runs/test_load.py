"""Reading a run back: what is stored of a method renders as the method does, and class paths in files are checked."""

import shutil
import sys
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
from inr_xai.runs import masks_file
from inr_xai.runs.folder import RunFolder
from inr_xai.runs.index import ResultIndex
from inr_xai.runs.load import Run, describe_drawing, draw_record, stored_method
from inr_xai.runs.masks_file import SampleRecord, read_facts
from inr_xai.runs.masks_place import MasksPlace
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
    assert run.config == run.info["config"]
    assert run.config["steps"] == 6
    del run.info["config"]["areas"]
    with pytest.raises(UserError, match=r"run\.json has no config\.areas"):
        _ = run.config
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


def test_nothing_is_imported_that_the_user_does_not_allow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_rules.py").write_text(
        "from inr_xai.area import AreaProjection\nclass Mine(AreaProjection):\n    pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    stored = record(describe_drawing(Method()))
    stored.drawing["area_rule"]["class"] = "my_rules:Mine"
    for allowed in ([], ["my_rule"], ["my_rules.Other"], ["inr_xai"]):
        with pytest.raises(
            UserError, match=r"my_rules:Mine, which is none of our classes; .* allow_targets=\[my_rules\]"
        ):
            stored_method(stored, [0.1], allowed)
        assert "my_rules" not in sys.modules
    for allowed in (["my_rules"], ["my_rules.Mine"]):
        assert type(stored_method(stored, [0.1], allowed).area_rule).__name__ == "Mine"
    del sys.modules["my_rules"]


def test_a_run_of_parts_of_ones_own_is_rendered_if_they_are_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_nets.py").write_text("from inr_xai.inr import PyramidINR\nclass Net(PyramidINR):\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    folder = RunFolder(shutil.copytree(STORED, tmp_path / "run"))
    for name in sorted(folder.done()):
        stored = folder.read(name)
        stored.drawing["inr"]["class"] = "my_nets:Net"
        folder.masks_file(name).unlink()
        assert folder.commit(stored)
    with pytest.raises(UserError, match="my_nets:Net, which is none of our classes"):
        inr_xai.load(folder.path)["00000-disc"].importance()
    allowed = inr_xai.load(folder.path, allow_targets=["my_nets"])["00000-disc"]
    ours = inr_xai.load(STORED)["00000-disc"]
    assert torch.equal(allowed.mask(0.2, explanation=2), ours.mask(0.2, explanation=2))
    assert torch.equal(allowed.importance(), ours.importance())


@pytest.mark.parametrize(
    "arguments", [{"strat": 1.0}, {"start": [[[[1]]]]}, {"start": {"a": {"b": {"c": []}}}}, {"end": "x"}]
)
def test_arguments_that_a_class_does_not_take_are_refused(arguments: dict[str, Any]) -> None:
    stored = record(describe_drawing(Method()))
    stored.drawing["area_rule"]["arguments"] = arguments
    with pytest.raises(
        UserError, match=r"inr_xai\.area:AreaProjection with arguments that it does not take .* by hand\?"
    ):
        stored_method(stored, [0.1])


@pytest.mark.parametrize("change", ["missing", "other shape", "no number"])
def test_weights_that_are_not_those_of_the_inr_are_refused(change: str) -> None:
    stored = RunFolder(STORED).read("00000-disc")
    weights = stored.inrs[0]
    name = max(weights, key=lambda name: weights[name].numel())
    if change == "missing":
        del weights[name]
    else:
        weights[name] = torch.zeros(3) if change == "other shape" else torch.zeros(3, dtype=torch.int64)
    if change == "no number":
        stored.inrs[0] = {name: weights[name]}
    with pytest.raises(UserError, match="the weights of explanation 1 of '00000-disc' are not those of the INR"):
        draw_record(stored, [0.2], (24, 24), 1)


def test_rows_that_no_index_has_are_read_one_image_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[MasksPlace] = []
    monkeypatch.setattr(masks_file, "read_facts", lambda place: opened.append(place) or read_facts(place))
    rows = inr_xai.load(STORED).rows
    opened.clear()  # what checked the type of the property has read some
    next(iter(rows))
    assert len(opened) == 1
    assert len(rows) == len(list(rows)) == 4


def test_rows_that_the_index_has_are_read_from_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(shutil.copytree(STORED, tmp_path / "run"))
    before = list(inr_xai.load(folder.path).rows)
    ResultIndex(folder).add(folder.read("00001-square"))
    opened: list[str] = []
    monkeypatch.setattr(masks_file, "read_facts", lambda place: opened.append(place.file.stem) or read_facts(place))
    rows = inr_xai.load(folder.path).rows
    opened.clear()
    assert list(iter(rows)) == before
    assert opened == ["00000-disc"]
    (tmp_path / "run" / "masks" / "00000-disc.safetensors").unlink()
    with pytest.raises(UserError, match="has no masks of '00000-disc'"):
        list(rows)

"""The comparison: what is done stays, what is stale is done again, and a failure costs one photo of one method."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from inr_xai.classifier import FrozenClassifier
from inr_xai.compare import comparison as module
from inr_xai.compare.comparison import ComparedPhoto, Comparison, MapMaker
from inr_xai.compare.methods.base import MethodMaps
from inr_xai.compare.scorer import MAPS_NOT_FINITE
from inr_xai.compare.store import COLUMNS, MapCache, RowStore
from inr_xai.data import Synthetic
from inr_xai.errors import UserError
from inr_xai.types import Preprocessing, Sample
from tests.helpers.comparison import AREAS, Ramp, make_comparison, make_context

IDS = Synthetic(size=3).ids


def stored_rows(folder: Path, method: str = "ramp") -> dict[str, list[dict[str, str]]]:
    return RowStore(folder / "rows").read(method)


def test_rows_are_written_photo_by_photo(tiny: FrozenClassifier, tmp_path: Path) -> None:
    assert make_comparison(make_context(tiny), tmp_path, ramp=Ramp()).run(IDS) == 0
    text = (tmp_path / "rows" / "ramp.csv").read_text().splitlines()
    assert text[0].split(",") == list(COLUMNS)
    assert [line.split(",")[0] for line in text[1:]] == [name for name in IDS for _ in AREAS]
    row = stored_rows(tmp_path)[IDS[0]][0]
    assert (row["area"], row["passes"], row["seconds"], row["failed"], row["grayness"]) == ("0.1", "1", "0.5", "", "")
    assert row["p_full"] == f"{float(row['p_full']):.5g}"


def test_an_interrupted_comparison_goes_on_where_it_was(tiny: FrozenClassifier, tmp_path: Path) -> None:
    class Interrupted(Ramp):
        def explain(self, image: Any, target: int, image_id: str) -> MethodMaps:
            if image_id == IDS[1]:
                raise KeyboardInterrupt
            return super().explain(image, target, image_id)

    first, second = Interrupted(), Ramp()
    with pytest.raises(KeyboardInterrupt):
        make_comparison(make_context(tiny), tmp_path, ramp=first).run(IDS)
    assert list(stored_rows(tmp_path)) == IDS[:1]
    make_comparison(make_context(tiny), tmp_path, ramp=second).run(IDS)
    assert [name for name, _ in second.explained] == IDS[1:]
    uninterrupted = tmp_path / "uninterrupted"
    make_comparison(make_context(tiny), uninterrupted, ramp=Ramp()).run(IDS)
    assert (uninterrupted / "rows" / "ramp.csv").read_bytes() == (tmp_path / "rows" / "ramp.csv").read_bytes()


def test_photos_in_any_order_give_one_file(tiny: FrozenClassifier, tmp_path: Path) -> None:
    make_comparison(make_context(tiny), tmp_path / "forwards", ramp=Ramp()).run(IDS)
    make_comparison(make_context(tiny), tmp_path / "backwards", ramp=Ramp()).run(IDS[::-1])
    forwards, backwards = ((tmp_path / name / "rows" / "ramp.csv").read_bytes() for name in ("forwards", "backwards"))
    assert forwards == backwards


def test_other_settings_make_rows_and_maps_stale(tiny: FrozenClassifier, tmp_path: Path) -> None:
    make_comparison(make_context(tiny), tmp_path, ramp=Ramp()).run(IDS)
    same, other = Ramp(), Ramp(strength=0.5)
    make_comparison(make_context(tiny), tmp_path, ramp=same).run(IDS)
    assert same.explained == []
    before = stored_rows(tmp_path)
    make_comparison(make_context(tiny), tmp_path, ramp=other).run(IDS[:2])
    assert [name for name, _ in other.explained] == IDS[:2]
    after = stored_rows(tmp_path)
    assert after[IDS[2]] == before[IDS[2]]
    assert len({row["settings"] for rows in after.values() for row in rows}) == 2


def test_other_baselines_make_rows_stale_and_no_map(tiny: FrozenClassifier, tmp_path: Path) -> None:
    context, ramp = make_context(tiny), Ramp()
    make_comparison(context, tmp_path, ramp=ramp).run(IDS[:1])
    make_comparison(replace(context, crops="(.*)_"), tmp_path, ramp=ramp).run(IDS)
    assert [name for name, _ in ramp.explained] == IDS
    assert len({row["settings"] for rows in stored_rows(tmp_path).values() for row in rows}) == 1


def test_maps_and_rows_of_the_time_when_segmentations_were_in_the_settings_are_used(
    tiny: FrozenClassifier, tmp_path: Path
) -> None:
    def compared(data: dict[str, Any]) -> list[str]:
        """Runs a comparison whose maps depend on these options of the data, and returns which images it explained."""
        ramp = Ramp()
        maker = MapMaker(MapCache(tmp_path / "maps"), {"data": data, "classifier": {}})
        Comparison(make_context(tiny), {"ramp": ramp}, maker=maker, rows=RowStore(tmp_path / "rows")).run(IDS)
        return [name for name, _ in ramp.explained]

    file = tmp_path / "rows" / "ramp.csv"
    assert compared({"classes": None, "segmentations": None}) == IDS
    before = file.read_text()
    assert compared({"classes": None}) == []
    assert file.read_text() == before
    file.unlink()
    assert compared({"classes": None}) == []
    assert file.read_text() != before  # of the settings of now
    assert compared({"classes": "other"}) == IDS


def test_missing_rows_are_scored_from_stored_maps(tiny: FrozenClassifier, tmp_path: Path) -> None:
    make_comparison(make_context(tiny), tmp_path, ramp=Ramp()).run(IDS)
    file = tmp_path / "rows" / "ramp.csv"
    before = file.read_bytes()
    file.unlink()
    ramp = Ramp()
    make_comparison(make_context(tiny), tmp_path, ramp=ramp).run(IDS)
    assert (ramp.explained, file.read_bytes()) == ([], before)


def test_stored_maps_are_scored_again_at_other_areas(tiny: FrozenClassifier, tmp_path: Path) -> None:
    make_comparison(make_context(tiny), tmp_path, ramp=Ramp()).run(IDS[:1])
    ramp = Ramp()
    make_comparison(make_context(tiny, areas=(0.2, 0.3)), tmp_path, ramp=ramp).run(IDS[:1])
    assert ramp.explained == []
    assert [row["area"] for row in stored_rows(tmp_path)[IDS[0]]] == ["0.2", "0.3"]


def test_damaged_maps_are_made_again(tiny: FrozenClassifier, tmp_path: Path) -> None:
    make_comparison(make_context(tiny), tmp_path, ramp=Ramp()).run(IDS[:1])
    (tmp_path / "rows" / "ramp.csv").unlink()
    (tmp_path / "maps" / "ramp" / f"{IDS[0]}.safetensors").write_bytes(b"torn")
    ramp = Ramp()
    make_comparison(make_context(tiny), tmp_path, ramp=ramp).run(IDS[:1])
    assert [name for name, _ in ramp.explained] == IDS[:1]


def test_damaged_rows_are_refused_before_any_work(tiny: FrozenClassifier, tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "ramp.csv").write_text("image_id,area\na,0.1\n")
    ramp = Ramp()
    with pytest.raises(UserError, match=r"ramp.csv' has no column settings"):
        make_comparison(make_context(tiny), tmp_path, ramp=ramp).run(IDS)
    assert ramp.explained == []


def test_methods_of_equal_settings_share_maps(tiny: FrozenClassifier, tmp_path: Path) -> None:
    make_comparison(make_context(tiny), tmp_path, ramp=Ramp()).run(IDS[:1])
    twin = Ramp()
    make_comparison(make_context(tiny), tmp_path, twin=twin).run(IDS[:1])
    assert twin.explained == []
    assert stored_rows(tmp_path, "twin") == stored_rows(tmp_path)


def test_a_failure_costs_one_photo_of_one_method(tiny: FrozenClassifier, tmp_path: Path) -> None:
    class Failing(Ramp):
        def explain(self, image: Any, target: int, image_id: str) -> MethodMaps:
            raise RuntimeError("no room in '/home/somebody/x.bin'\nat all")

    methods = {"ramp": Ramp(broken=[IDS[1]]), "failing": Failing(strength=3), "good": Ramp(strength=2)}
    assert make_comparison(make_context(tiny), tmp_path, **methods).run(IDS) == 4
    (row,) = stored_rows(tmp_path)[IDS[1]]
    assert (row["failed"], row["p_full"]) == (MAPS_NOT_FINITE, "")
    assert [len(rows) for rows in stored_rows(tmp_path).values()] == [2, 1, 2]
    assert {rows[0]["failed"] for rows in stored_rows(tmp_path, "failing").values()} == {
        "RuntimeError: no room in 'x.bin' at all"
    }
    assert all(not row["failed"] for rows in stored_rows(tmp_path, "good").values() for row in rows)


def test_a_failed_photo_is_tried_again(tiny: FrozenClassifier, tmp_path: Path) -> None:
    class FailingOnce(Ramp):
        def explain(self, image: Any, target: int, image_id: str) -> MethodMaps:
            if not self.explained:
                self.explained.append((image_id, target))
                raise RuntimeError("not today")
            return super().explain(image, target, image_id)

    ramp = FailingOnce()
    assert make_comparison(make_context(tiny), tmp_path, ramp=ramp).run(IDS[:1]) == 1
    assert make_comparison(make_context(tiny), tmp_path, ramp=ramp).run(IDS[:1]) == 0
    assert [row["failed"] for row in stored_rows(tmp_path)[IDS[0]]] == ["", ""]


def test_a_photo_that_cannot_be_read_fails_for_every_method(tiny: FrozenClassifier, tmp_path: Path) -> None:
    class WithoutFirst(Synthetic):
        def load(self, sample_id: str, preprocessing: Preprocessing) -> Sample:
            if sample_id == IDS[0]:
                raise UserError(f"cannot read '{tmp_path}/{sample_id}.png'")
            return super().load(sample_id, preprocessing)

    methods = {"ramp": Ramp(), "other": Ramp(strength=2)}
    assert make_comparison(make_context(tiny, WithoutFirst(size=3)), tmp_path, **methods).run(IDS) == 2
    for method in methods:
        assert stored_rows(tmp_path, method)[IDS[0]][0]["failed"] == f"cannot read '{IDS[0]}.png'"
        assert list(stored_rows(tmp_path, method)) == IDS


def test_the_control_is_run_for_fitted_methods_on_the_first_photos(
    tiny: FrozenClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "wrong_target", lambda *arguments: 4)
    fitted, heatmap = Ramp(fitted=True), Ramp(strength=2)
    make_comparison(make_context(tiny), tmp_path, fitted=fitted, heatmap=heatmap).run(IDS, control=2)
    assert [target for _, target in fitted.explained] == [0, 4, 1, 4, 2]
    assert list(stored_rows(tmp_path, "fitted@wrong")) == IDS[:2]
    assert {row["target"] for rows in stored_rows(tmp_path, "fitted@wrong").values() for row in rows} == {"4"}
    assert RowStore(tmp_path / "rows").methods() == ["fitted", "fitted@wrong", "heatmap"]
    again = Ramp(fitted=True)
    make_comparison(make_context(tiny), tmp_path, fitted=again).run(IDS, control=2)
    assert again.explained == []


LOGITS = [0.0, 20.0, 1.0, 0.0, -1.0]
"""Class 1 is predicted; every other class has a probability below 0.001."""


@pytest.fixture
def sure() -> FrozenClassifier:
    """A classifier that gives every image the same logits."""
    preprocessing = Preprocessing((24, 24), 24, "bilinear", (0.5,) * 3, (0.25,) * 3)
    return FrozenClassifier(lambda images: torch.tensor(LOGITS).expand(len(images), -1), preprocessing=preprocessing)


@pytest.mark.parametrize(("targets", "expected"), [("label", 0), ("predicted", 1), (3, 3)])
def test_the_class_that_is_explained(sure: FrozenClassifier, tmp_path: Path, targets: str | int, expected: int) -> None:
    data, ramp = Synthetic(size=1, targets=targets), Ramp()
    context = make_context(sure, data)
    assert ComparedPhoto(context, data.ids[0]).target == expected
    assert make_comparison(context, tmp_path, ramp=ramp).run(data.ids) == 0
    assert ramp.explained == [(data.ids[0], expected)]
    assert {row["target"] for row in stored_rows(tmp_path)[data.ids[0]]} == {str(expected)}


def test_the_wrong_target_is_neither_the_label_nor_the_prediction(sure: FrozenClassifier, tmp_path: Path) -> None:
    """The labels of the first three images are 0, 1 and 2, and class 1 is predicted for each of them."""
    data, ramp = Synthetic(size=3, targets="wrong"), Ramp()
    context = make_context(sure, data)
    assert make_comparison(context, tmp_path, ramp=ramp).run(data.ids) == 0
    assert [name for name, _ in ramp.explained] == data.ids
    for label, (image_id, target) in enumerate(ramp.explained):
        assert ComparedPhoto(context, image_id).target == target
        assert target not in (label, 1)
        assert ComparedPhoto(context, image_id).p_full() < 1e-3
    assert {row["target"] for rows in stored_rows(tmp_path).values() for row in rows} == {
        str(target) for _, target in ramp.explained
    }


def test_the_prediction_is_explained(tiny: FrozenClassifier, tmp_path: Path) -> None:
    data, ramp = Synthetic(size=1, targets="predicted"), Ramp()
    make_comparison(make_context(tiny, data), tmp_path, ramp=ramp).run(data.ids)
    image = data.load(data.ids[0], tiny.preprocessing).image
    with tiny.frozen(), torch.no_grad():
        predicted = int(tiny(image[None]).argmax())
    assert ramp.explained == [(data.ids[0], predicted)]


def test_options_that_change_no_map_are_no_facts() -> None:
    data = {"_target_": "x", "root": "/photos", "limit": 3, "targets": "label", "classes": "/lists/classes.txt"}
    data["photo"] = "(.*)_"
    config = {"data": data, "classifier": {"name": "y", "checkpoint": "/files/weights.pth"}, "steps": 3}
    assert module.map_facts(config) == {
        "data": {"_target_": "x", "classes": "classes.txt"},
        "classifier": {"name": "y", "checkpoint": "weights.pth"},
    }
    assert config["data"] is data
    assert data["classes"] == "/lists/classes.txt"

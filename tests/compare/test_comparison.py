"""The comparison and its store: what is done stays, what is stale is done again, and what fails costs no other."""

from pathlib import Path
from typing import Any

import pytest
import torch

from inr_xai.classifier import FrozenClassifier
from inr_xai.compare import comparison as module
from inr_xai.compare.gallery import draw_sheet
from inr_xai.compare.methods.base import Maps
from inr_xai.compare.scorer import MAPS_NOT_FINITE
from inr_xai.compare.store import COLUMNS, MapCache, Rows, Stored, without_paths
from inr_xai.data import Synthetic
from inr_xai.digests import describe, digest
from inr_xai.errors import UserError
from inr_xai.types import Preprocessing, Sample
from tests.helpers.comparison import AREAS, Ramp, bench, comparison

IDS = Synthetic(size=3).ids
METHOD = "ramp"


def kept(folder: Path, method: str = METHOD) -> dict[str, list[dict[str, str]]]:
    return Rows(folder / "rows").read(method)


def test_rows_are_written_photo_by_photo(tiny: FrozenClassifier, tmp_path: Path) -> None:
    assert comparison(bench(tiny), tmp_path, ramp=Ramp()).run(IDS) == 0
    text = (tmp_path / "rows" / "ramp.csv").read_text().splitlines()
    assert text[0].split(",") == list(COLUMNS)
    assert [line.split(",")[0] for line in text[1:]] == [name for name in IDS for _ in AREAS]
    row = kept(tmp_path)[IDS[0]][0]
    assert (row["area"], row["passes"], row["seconds"], row["failed"], row["grayness"]) == ("0.1", "1", "0.5", "", "")
    assert row["p_full"] == f"{float(row['p_full']):.5g}"


def test_an_interrupted_comparison_goes_on_where_it_was(
    tiny: FrozenClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopped(Ramp):
        def explain(self, image: Any, target: int, image_id: str) -> Maps:
            if image_id == IDS[1]:
                raise KeyboardInterrupt
            return super().explain(image, target, image_id)

    first, second = Stopped(), Ramp()
    with pytest.raises(KeyboardInterrupt):
        comparison(bench(tiny), tmp_path, ramp=first).run(IDS)
    assert list(kept(tmp_path)) == IDS[:1]
    comparison(bench(tiny), tmp_path, ramp=second).run(IDS)
    assert [name for name, _ in second.asked] == IDS[1:]
    unbroken = tmp_path / "unbroken"
    comparison(bench(tiny), unbroken, ramp=Ramp()).run(IDS)
    assert (unbroken / "rows" / "ramp.csv").read_bytes() == (tmp_path / "rows" / "ramp.csv").read_bytes()


def test_other_settings_make_rows_and_maps_stale(tiny: FrozenClassifier, tmp_path: Path) -> None:
    comparison(bench(tiny), tmp_path, ramp=Ramp()).run(IDS)
    same, other = Ramp(), Ramp(strength=0.5)
    comparison(bench(tiny), tmp_path, ramp=same).run(IDS)
    assert same.asked == []
    before = kept(tmp_path)
    comparison(bench(tiny), tmp_path, ramp=other).run(IDS[:2])
    assert [name for name, _ in other.asked] == IDS[:2]
    after = kept(tmp_path)
    assert after[IDS[2]] == before[IDS[2]]
    assert len({row["settings"] for rows in after.values() for row in rows}) == 2


def test_missing_rows_are_scored_from_stored_maps(tiny: FrozenClassifier, tmp_path: Path) -> None:
    comparison(bench(tiny), tmp_path, ramp=Ramp()).run(IDS)
    file = tmp_path / "rows" / "ramp.csv"
    before = file.read_bytes()
    file.unlink()
    again = Ramp()
    comparison(bench(tiny), tmp_path, ramp=again).run(IDS)
    assert (again.asked, file.read_bytes()) == ([], before)


def test_other_areas_score_stored_maps_anew(tiny: FrozenClassifier, tmp_path: Path) -> None:
    comparison(bench(tiny), tmp_path, ramp=Ramp()).run(IDS[:1])
    again = Ramp()
    comparison(bench(tiny, areas=(0.2, 0.3)), tmp_path, ramp=again).run(IDS[:1])
    assert again.asked == []
    assert [row["area"] for row in kept(tmp_path)[IDS[0]]] == ["0.2", "0.3"]


def test_damaged_maps_are_made_again(tiny: FrozenClassifier, tmp_path: Path) -> None:
    comparison(bench(tiny), tmp_path, ramp=Ramp()).run(IDS[:1])
    (tmp_path / "rows" / "ramp.csv").unlink()
    (tmp_path / "maps" / "ramp" / f"{IDS[0]}.safetensors").write_bytes(b"torn")
    again = Ramp()
    comparison(bench(tiny), tmp_path, ramp=again).run(IDS[:1])
    assert [name for name, _ in again.asked] == IDS[:1]


def test_methods_of_equal_settings_share_maps(tiny: FrozenClassifier, tmp_path: Path) -> None:
    comparison(bench(tiny), tmp_path, ramp=Ramp()).run(IDS[:1])
    twin = Ramp()
    comparison(bench(tiny), tmp_path, twin=twin).run(IDS[:1])
    assert twin.asked == []
    assert kept(tmp_path, "twin") == kept(tmp_path)


def test_a_failure_costs_one_photo_of_one_method(tiny: FrozenClassifier, tmp_path: Path) -> None:
    class Raises(Ramp):
        def explain(self, image: Any, target: int, image_id: str) -> Maps:
            raise RuntimeError("no room in '/home/somebody/x.bin'\nat all")

    methods = {"ramp": Ramp(broken=[IDS[1]]), "raises": Raises(strength=3), "good": Ramp(strength=2)}
    assert comparison(bench(tiny), tmp_path, **methods).run(IDS) == 4
    (row,) = kept(tmp_path)[IDS[1]]
    assert (row["failed"], row["p_full"]) == (MAPS_NOT_FINITE, "")
    assert [len(rows) for rows in kept(tmp_path).values()] == [2, 1, 2]
    assert {rows[0]["failed"] for rows in kept(tmp_path, "raises").values()} == {
        "RuntimeError: no room in 'x.bin' at all"
    }
    assert all(not row["failed"] for rows in kept(tmp_path, "good").values() for row in rows)


def test_a_failed_photo_is_tried_again(tiny: FrozenClassifier, tmp_path: Path) -> None:
    class Moody(Ramp):
        def explain(self, image: Any, target: int, image_id: str) -> Maps:
            if not self.asked:
                self.asked.append((image_id, target))
                raise RuntimeError("not today")
            return super().explain(image, target, image_id)

    ramp = Moody()
    assert comparison(bench(tiny), tmp_path, ramp=ramp).run(IDS[:1]) == 1
    assert comparison(bench(tiny), tmp_path, ramp=ramp).run(IDS[:1]) == 0
    assert [row["failed"] for row in kept(tmp_path)[IDS[0]]] == ["", ""]


def test_a_photo_that_cannot_be_read_fails_for_every_method(tiny: FrozenClassifier, tmp_path: Path) -> None:
    class Holed(Synthetic):
        def load(self, sample_id: str, preprocessing: Preprocessing) -> Sample:
            if sample_id == IDS[0]:
                raise UserError(f"cannot read '{tmp_path}/{sample_id}.png'")
            return super().load(sample_id, preprocessing)

    both = {"ramp": Ramp(), "other": Ramp(strength=2)}
    assert comparison(bench(tiny, Holed(size=3)), tmp_path, **both).run(IDS) == 2
    for method in both:
        assert kept(tmp_path, method)[IDS[0]][0]["failed"] == f"cannot read '{IDS[0]}.png'"
        assert list(kept(tmp_path, method)) == IDS


def test_the_control_is_run_for_fitted_methods_on_the_first_photos(
    tiny: FrozenClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "wrong_target", lambda *given: 4)
    fitted, heatmap = Ramp(fitted=True), Ramp(strength=2)
    comparison(bench(tiny), tmp_path, fitted=fitted, heatmap=heatmap).run(IDS, control=2)
    assert [target for _, target in fitted.asked] == [0, 4, 1, 4, 2]
    assert list(kept(tmp_path, "fitted@wrong")) == IDS[:2]
    assert {row["target"] for rows in kept(tmp_path, "fitted@wrong").values() for row in rows} == {"4"}
    assert Rows(tmp_path / "rows").methods() == ["fitted", "fitted@wrong", "heatmap"]
    again = Ramp(fitted=True)
    comparison(bench(tiny), tmp_path, fitted=again).run(IDS, control=2)
    assert again.asked == []


@pytest.mark.parametrize("targets", ["predicted", 3])
def test_the_class_that_is_explained(tiny: FrozenClassifier, tmp_path: Path, targets: Any) -> None:
    data, ramp = Synthetic(size=1, targets=targets), Ramp()
    comparison(bench(tiny, data), tmp_path, ramp=ramp).run(data.ids)
    image = data.load(data.ids[0], tiny.preprocessing).image
    with tiny.frozen(), torch.no_grad():
        predicted = int(tiny(image[None]).argmax())
    assert ramp.asked == [(data.ids[0], predicted if targets == "predicted" else 3)]


def test_maps_come_back_as_they_were(tmp_path: Path) -> None:
    noise = torch.rand(2, 4, 5, generator=torch.Generator().manual_seed(0))
    free = noise > 0.5
    maps = Maps(noise, passes=3.0, seconds=1.25, free=free, first=~free, layer="x")
    cache = MapCache(tmp_path)
    written = cache.write("m", "a/b", Stored(maps, 7, "s"))
    assert cache.file("m", "a/b") == tmp_path / "m" / "a__b.safetensors"
    read = cache.read("m", "a/b", target=7, settings="s")
    for found in (written, read):
        assert found is not None
        assert torch.equal(found.maps, noise.half())
        assert torch.equal(found.free, free)
        assert torch.equal(found.first, ~free)
        assert (found.passes, found.seconds, found.layer, found.other, found.draws) == (3, 1.25, "x", None, False)
    assert cache.read("m", "a/b", target=8, settings="s") is None
    assert cache.read("m", "a/b", target=7, settings="t") is None


def test_heatmaps_keep_their_order_of_pixels(tmp_path: Path) -> None:
    heatmap = torch.linspace(1e-8, 2e-8, 20).reshape(1, 4, 5)  # all of it 0 in half precision
    stored = MapCache(tmp_path).write("m", "a", Stored(Maps(heatmap, passes=0, seconds=0), 0, "s"))
    assert torch.equal(stored.maps, heatmap)


@pytest.mark.parametrize(
    ("text", "published"),
    [
        ("cannot read the image '/data/x/a b/c.jpg' (gone)", "cannot read the image 'c.jpg' (gone)"),
        ("/data/x/c.jpg is damaged", "c.jpg is damaged"),
        ("see ~/photos/c.jpg and C:\\temp\\d.png", "see c.jpg and d.png"),
        ("p_t(x) and/or n01440764/tench, 3 / 4", "p_t(x) and/or n01440764/tench, 3 / 4"),
    ],
)
def test_no_absolute_path_is_published(text: str, published: str) -> None:
    assert without_paths(text) == published


def test_a_digest_depends_on_every_value() -> None:
    parts = [describe(Ramp()), describe(Ramp(strength=2)), describe({"a": [1, None]}), describe({"a": [1, 0]})]
    assert len({digest({"part": part}) for part in parts}) == 4
    assert describe(torch.optim.Adam) == {"class": "torch.optim.adam.Adam", "arguments": {}}


def test_a_sheet_is_drawn_from_what_is_stored(tiny: FrozenClassifier, tmp_path: Path) -> None:
    methods = {"ramp": Ramp(), "broken": Ramp(strength=2, broken=IDS)}
    comparison(bench(tiny), tmp_path, **methods).run(IDS[:2])
    asked = len(methods["ramp"].asked)
    maker = module.MapMaker(MapCache(tmp_path / "maps"), {"classifier": "tiny"})
    options = {"maker": maker, "rows": Rows(tmp_path / "rows"), "file": tmp_path / "sheet.png"}
    draw_sheet(bench(tiny), methods, IDS[:2], areas=[0.3], **options)
    assert (tmp_path / "sheet.png").stat().st_size > 1000
    assert len(methods["ramp"].asked) == asked
    with pytest.raises(UserError, match=r"holds 0\.2, at which nothing was compared"):
        draw_sheet(bench(tiny), methods, IDS[:2], areas=[0.2], **options)

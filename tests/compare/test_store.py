"""The files of a comparison: maps come back as they were stored, and no path of the machine is published."""

from pathlib import Path

import pytest
import torch

from inr_xai.compare.methods.base import MethodMaps
from inr_xai.compare.store import COLUMNS, MapCache, RowStore, StoredMaps, without_paths


def test_maps_come_back_as_they_were(tmp_path: Path) -> None:
    noise = torch.rand(2, 4, 5, generator=torch.Generator().manual_seed(0))
    free = noise > 0.5
    maps = MethodMaps(noise, passes=3.0, seconds=1.25, free=free, first_masks=~free, layer="x")
    cache = MapCache(tmp_path)
    written = cache.write("m", "a/b", StoredMaps(maps, 7, "s"))
    assert cache.file("m", "a/b") == tmp_path / "m" / "a__b.safetensors"
    read = cache.read("m", "a/b", target=7, accepted=("s",))
    for stored in (written, read):
        assert stored is not None
        assert torch.equal(stored.maps, noise.half())
        assert torch.equal(stored.free, free)
        assert torch.equal(stored.first_masks, ~free)
        assert (stored.passes, stored.seconds, stored.layer) == (3, 1.25, "x")
        assert (stored.other_seed_masks, stored.draws) == (None, False)
    assert cache.read("m", "a/b", target=8, accepted=("s",)) is None
    assert cache.read("m", "a/b", target=7, accepted=("t",)) is None
    assert cache.read("m", "a/b", target=7, accepted=("t", "s")) is not None


def test_heatmaps_keep_their_order_of_pixels(tmp_path: Path) -> None:
    heatmap = torch.linspace(1e-8, 2e-8, 20).reshape(1, 4, 5)  # all of it is 0 in half precision
    stored = MapCache(tmp_path).write("m", "a", StoredMaps(MethodMaps(heatmap, passes=0, seconds=0), 0, "s"))
    assert torch.equal(stored.maps, heatmap)


def test_rows_of_a_photo_are_replaced_together(tmp_path: Path) -> None:
    store = RowStore(tmp_path)
    store.fail("m", "b", "no map", settings="s")
    store.write("m", "a", [{"image_id": "a", "area": 0.1}, {"image_id": "a", "area": 0.3}], settings="s")
    assert not store.has("m", "b", accepted=("s",), count=2)
    store.write("m", "b", [{"image_id": "b", "area": 0.1}, {"image_id": "b", "area": 0.3}], settings="s")
    assert store.has("m", "b", accepted=("s",), count=2)
    assert not store.has("m", "b", accepted=("other",), count=2)
    assert store.has("m", "b", accepted=("other", "s"), count=2)
    assert not store.has("m", "b", accepted=("s",), count=1)
    store.tidy()
    header, *lines = (tmp_path / "m.csv").read_text().splitlines()
    assert header.split(",") == list(COLUMNS)
    assert [line.split(",")[:3] for line in lines] == [
        [name, "", area] for name, area in (("a", "0.1"), ("a", "0.3"), ("b", "0.1"), ("b", "0.3"))
    ]
    assert RowStore(tmp_path).read("m") == store.read("m")


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

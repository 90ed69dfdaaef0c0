"""The interventions on a photo: what is drawn for it, of whom, and what each image shows."""

from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from inr_xai.errors import UserError
from inr_xai.types import Frame, Preprocessing, Sample
from tests.conftest import pictures
from tests.helpers.scripts import script_module

SIDE = 56
COUNT = 14
PREPROCESSING = Preprocessing((SIDE, SIDE), SIDE, "bilinear", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
IDS = [f"class{number % 7}/{number:04d}_crop{crop}" for number in range(COUNT) for crop in (1, 2)]
"""Two crops of each photo, two photos of each class."""
GROUPS = {target: f"group {target // 2}" for target in range(7)}
LARGE = "class3/0003_crop1"
"""A sample of which more than half is object."""


class Drawn:
    """Photos of random colours, with a rectangle as the object."""

    def __init__(self) -> None:
        self.images = dict(zip(IDS, pictures(len(IDS), side=SIDE), strict=True))

    def load(self, sample_id: str, preprocessing: Preprocessing) -> Sample:
        place = IDS.index(sample_id)
        part = torch.zeros(SIDE, SIDE, dtype=torch.bool)
        part[5 : 20 + place % 5, 8 : 30 + place % 7] = True
        if sample_id == LARGE:
            part[: SIDE - 8] = True
        frame = Frame((SIDE, SIDE), (SIDE, SIDE), 0, 0, (SIDE, SIDE))
        return Sample(self.images[sample_id], int(sample_id[5]), sample_id, frame, part)


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return script_module("photo_swaps")


def photos(script: ModuleType, ids: list[str] = IDS, seed: int = 0, **changes: object) -> Any:
    data = Drawn()
    if changes:
        load = data.load
        data.load = lambda sample_id, preprocessing: replace(load(sample_id, preprocessing), **changes)  # type: ignore[method-assign]
    return script.Photos(ids, data, PREPROCESSING, GROUPS, seed=seed)


def test_what_is_lent_is_of_other_photos_of_unrelated_classes(script: ModuleType) -> None:
    lent = photos(script)
    for name in IDS:
        for drawn in (lent.grounds(name), lent.objects(name)):
            assert len({script.photo_of(other) for other in drawn}) == len(drawn)
            groups = {GROUPS[lent.targets[other]] for other in drawn}
            assert GROUPS[lent.targets[name]] not in groups
        assert (len(lent.grounds(name)), len(lent.objects(name))) == (8, 4)
        assert LARGE not in lent.grounds(name)
    assert any(LARGE in lent.objects(name) for name in IDS)


def test_what_is_drawn_depends_on_seed_and_id_alone(script: ModuleType) -> None:
    forwards, backwards = photos(script), photos(script, IDS[::-1])
    for name in IDS:
        forwards.blob(name)
    for name in IDS[::-1]:
        assert forwards.grounds(name) == backwards.grounds(name)
        assert forwards.objects(name) == backwards.objects(name)
        assert torch.equal(forwards.blob(name).part, backwards.blob(name).part)
    other = photos(script, seed=1)
    assert any(forwards.grounds(name) != other.grounds(name) for name in IDS)
    assert any(forwards.objects(name) != other.objects(name) for name in IDS)
    assert any(not torch.equal(forwards.blob(name).part, other.blob(name).part) for name in IDS)
    assert any(forwards.grounds(name)[:4] != forwards.objects(name) for name in IDS)


def test_the_interventions_are_the_same_whatever_was_made_before(script: ModuleType) -> None:
    first, second = photos(script), photos(script, IDS[::-1])
    name = IDS[5]
    before = script.swaps_of(first, name).variants()
    for other in IDS[:4]:
        script.swaps_of(second, other).variants()
    after = script.swaps_of(second, name).variants()
    assert list(before) == list(after)
    for key, images in before.items():
        assert all(map(torch.equal, images, after[key])), key


def test_a_blob_is_a_part_of_the_ground_as_large_as_the_object(script: ModuleType) -> None:
    lent = photos(script)
    for name in IDS:
        cut, blob = lent.cuts[name], lent.blob(name)
        assert not bool((blob.part & cut.hole).any())
        expected = min(int(cut.part.sum()), int((~cut.hole).sum()))
        assert int(blob.part.sum()) == expected
        assert (expected < int(cut.part.sum())) == (name == LARGE)


def test_every_intervention_changes_its_part_alone(script: ModuleType) -> None:
    lent = photos(script)
    name = IDS[4]
    swaps = script.swaps_of(lent, name)
    image, part, hole = swaps.cut.image, swaps.cut.part, swaps.cut.hole
    grounds = [lent.cuts[other].textured for other in lent.grounds(name)]
    variants = swaps.variants()
    counts = {key: len(images) for key, images in variants.items()}
    assert {key: count for key, count in counts.items() if count > 1} == {
        "grounds alone": 8,
        "object/grounds": 8,
        "blob/grounds": 8,
        "ground/objects": 4,
    }
    assert set(counts) == {
        *("photo", "grounds alone", "object/grounds", "object/mean", "object/blur"),
        *("ground/mean", "ground/blur", "ground/texture", "ground/objects"),
        *("blob/grounds", "blob/mean", "blob/blur", "rest/mean", "rest/blur", "rest/texture"),
        *("back/mean", "back/blur", "back/texture"),
    }

    def same(images: list[Tensor], other: Tensor, where: Tensor) -> bool:
        return all(torch.equal(one[:, where], other[:, where]) for one in images)

    assert torch.equal(variants["photo"][0], image)
    for key, images in variants.items():
        stays = key.split("/")[0]
        if stays == "object":
            assert same(images, image, part), key
        if stays == "ground" and key != "ground/objects":
            assert same(images, image, ~hole), key
        if stays == "blob":
            assert same(images, image, swaps.blob.part), key
        if stays == "rest":
            assert same(images, image, ~swaps.blob.hole), key
        if stays == "back":
            assert same(images, image, part | ~hole), key
    for one, ground in zip(variants["object/grounds"], grounds, strict=True):
        assert torch.equal(one[:, ~part], ground[:, ~part])
    assert all(map(torch.equal, variants["grounds alone"], grounds))
    for one, donor in zip(variants["ground/objects"], swaps.objects, strict=True):
        front, where = script.put_in_place(donor, part)
        assert torch.equal(one[:, where], front[:, where])
        assert torch.equal(one[:, ~where], swaps.cut.textured[:, ~where])


def test_refusals(script: ModuleType) -> None:
    with pytest.raises(UserError, match=r"has no object; give data\.segmentations"):
        photos(script, segmentation=None)
    with pytest.raises(UserError, match="has no class"):
        photos(script, target=None)
    few = photos(script, IDS[:12])
    with pytest.raises(UserError, match=r"4 other photos of unrelated classes could lend grounds .* 8 are drawn"):
        few.grounds(IDS[0])

"""ShapesInContext: what an image depends on, swaps of its parts, and how often each factor follows the label."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from inr_xai.data.photo_pool import PhotoPool
from inr_xai.data.scenes.context_scene import CHANCES, DISTRACTORS, ContextScenes, Kinds, draw
from inr_xai.data.scenes.shapes import REACH
from inr_xai.data.scenes.shapes_in_context import COUNTS, SETTINGS, ShapesInContext, parse_cues
from inr_xai.errors import UserError
from inr_xai.types import Preprocessing

GROUND_STEP = 20
"""Index of the random number for the step between the two tones of the ground, whose sign makes one of them the ink."""


def preprocessing(size: int = 128, resize: int = 128) -> Preprocessing:
    return Preprocessing((size, size), resize, "bilinear", (0.5,) * 3, (0.25,) * 3)


def chances(count: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, CHANCES, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def kinds(count: int, seed: int = 0, **fixed: torch.Tensor) -> Kinds:
    random = torch.Generator().manual_seed(seed)
    drawn = {factor: torch.randint(most, (count,), generator=random) for factor, most in COUNTS.items()}
    return Kinds(**{**drawn, **fixed})


def drawn(kinds: Kinds, chances: torch.Tensor, *, size: int = 64, **options: torch.Tensor) -> ContextScenes:
    """Draws scenes without grain."""
    return draw(kinds, chances, torch.zeros(len(chances), 3, size, size, dtype=chances.dtype), **options)


def grown(segmentation: torch.Tensor, by: int = 1) -> torch.Tensor:
    return F.max_pool2d(segmentation[None].float(), 2 * by + 1, 1, by)[0] > 0


def test_an_image_depends_on_seed_and_id_alone() -> None:
    few, many = ShapesInContext("both", size=3), ShapesInContext("both", size=20)
    backwards = {name: many.load(name, preprocessing()) for name in reversed(many.ids[:3])}
    for name in few.ids:
        assert torch.equal(few.load(name, preprocessing()).image, backwards[name].image)
    assert (backwards["00000"].image - backwards["00001"].image).abs().mean() > 0.05
    other = ShapesInContext("both", size=3, seed=1).load("00000", preprocessing()).image
    assert (other - backwards["00000"].image).abs().mean() > 0.05


def test_a_scene_does_not_depend_on_the_batch() -> None:
    scene_kinds, random = kinds(6), chances(6)
    together = drawn(scene_kinds, random)
    for index in range(6):
        row = slice(index, index + 1)
        alone = drawn(Kinds(**{factor: getattr(scene_kinds, factor)[row] for factor in COUNTS}), random[row])
        for part in ("images", "object", "distractor"):
            torch.testing.assert_close(getattr(together, part)[row], getattr(alone, part), rtol=0, atol=1e-12)


def test_swapping_the_object_changes_nothing_outside_both_silhouettes() -> None:
    data = ShapesInContext("object_only", size=4)
    for name in data.ids:
        shape = data.kinds(name)["object_shape"]
        before, after = (
            data.swapped(name, preprocessing(), object=kind) for kind in (None, (shape + 1 + int(name)) % 8)
        )
        assert torch.equal(data.swapped(name, preprocessing(), object=shape).image, before.image)
        outside = ~grown(before.segmentation | after.segmentation, 4)  # thin tips fade out
        assert outside.float().mean() > 0.5
        assert torch.equal(before.image[:, outside], after.image[:, outside])
        both = ~grown(~(before.segmentation & after.segmentation))
        assert torch.equal(before.image[:, both], after.image[:, both])
        different = before.segmentation ^ after.segmentation
        assert different.float().mean() > 0.01
        assert (before.image - after.image).abs().amax(0)[~grown(~different)].min() > 0.02
        assert after.target == before.target


def test_swapping_the_ground_changes_nothing_inside_object_and_distractor() -> None:
    data = ShapesInContext("context_only", size=4)
    for name in data.ids:
        ground = data.kinds(name)["background_texture"]
        before, after = (
            data.swapped(name, preprocessing(), background=kind) for kind in (None, (ground + 1 + int(name)) % 8)
        )
        assert torch.equal(after.segmentation, before.segmentation)
        distractor = data.distractor(name, preprocessing())
        for part in (before.segmentation, distractor):
            inside = ~grown(~part)
            assert inside.any()
            assert torch.equal(before.image[:, inside], after.image[:, inside])
        outside = ~grown(before.segmentation | distractor)
        changed = (before.image - after.image).abs().amax(0) > 0.02
        assert changed[outside].float().mean() > 0.1


def test_the_object_changes_exactly_the_pixels_that_it_covers() -> None:
    """Scenes with and without the object differ where it covers a pixel, wholly or in part."""
    scene_kinds, random = kinds(16), chances(16)
    both = drawn(scene_kinds, random)
    ground = drawn(scene_kinds, random, with_object=torch.zeros(16, dtype=torch.bool))
    assert torch.equal((both.images != ground.images).any(1), both.object > 0)
    assert ground.object.abs().max() == 0
    data = ShapesInContext("both", size=2)
    for name in data.ids:
        sample = data.load(name, preprocessing())
        other = data.swapped(name, preprocessing(), background=(sample.target + 3) % 8)
        same = (sample.image == other.image).all(0)
        assert same[~grown(~sample.segmentation)].all()


def test_object_and_distractor_have_their_areas_and_never_meet() -> None:
    random, extreme = chances(24), chances(16)
    extreme[:, :8] = extreme[:, :8].round().clamp(0, 1 - 1e-9)
    for rows in (random, extreme):
        scene = drawn(kinds(len(rows), 1), rows, size=128)
        assert (scene.object * scene.distractor).max() == 0
        for coverage, (low, high), column, error in (
            (scene.object, (0.08, 0.22), 2, 0.02),
            (scene.distractor, (0.006, 0.012), 4, 0.06),
        ):
            share = coverage.mean((1, 2))
            torch.testing.assert_close(share, low + (high - low) * rows[:, column], rtol=error, atol=0)
            assert torch.cat([coverage[:, [0, -1]], coverage[:, :, [0, -1]].mT], dim=1).max() < 0.5  # a tip's fringe


@pytest.mark.parametrize("name", DISTRACTORS)
def test_a_distractor_has_unit_area_and_a_distance_of_slope_one(name: str) -> None:
    axis = (torch.arange(400, dtype=torch.float64) + 0.5) / 400 * 2.4 - 1.2
    x, y = axis.expand(1, 400, 400), axis[:, None].expand(1, 400, 400)
    distance = DISTRACTORS[name](x, y)
    assert (distance < 0).double().mean().item() * 2.4**2 == pytest.approx(1, abs=0.01)
    assert torch.hypot(x, y)[distance < 0].max() <= REACH
    slope = (distance.diff(dim=2).abs().amax(), distance.diff(dim=1).abs().amax())
    assert max(slope) <= 2.4 / 400 * (1 + 1e-9)


def test_a_kind_determines_its_outline_or_pattern_and_nothing_else() -> None:
    random = chances(1).expand(8, -1)
    for factor, count in COUNTS.items():
        scene_kinds = dict.fromkeys(COUNTS, torch.zeros(8, dtype=torch.long)) | {factor: torch.arange(8) % count}
        scene = drawn(Kinds(**scene_kinds), random)
        inside, outside = scene.object.amin(0) == 1, (scene.object + scene.distractor).amax(0) == 0
        for part, changes in {
            "object": factor == "object_shape",
            "distractor": factor == "distractor",
        }.items():
            coverage = getattr(scene, part)
            assert torch.equal(coverage, coverage[:1].expand_as(coverage)) != changes
        for pixels, changes in ((inside, factor == "object_texture"), (outside, factor == "background_texture")):
            colours = scene.images[:, :, pixels]
            assert torch.equal(colours, colours[:1].expand_as(colours)) != changes


def test_mean_colours_do_not_tell_the_texture() -> None:
    """Both tones are equally often the ink; over both cases, every texture has the same mean colour."""
    random = chances(24).repeat(2, 1)
    random[24:, GROUND_STEP] = 1 - random[24:, GROUND_STEP]
    means = []
    for texture in range(8):
        scene_kinds = kinds(48, background_texture=torch.full((48,), texture))
        without = {"with_object": torch.zeros(48, dtype=torch.bool)}
        means.append(drawn(scene_kinds, random, size=48, **without).images.mean((2, 3)))
    colours = torch.stack(means)
    assert (colours.mean(1) - colours.mean((0, 1))).abs().max() < 0.01
    assert (colours[:, 0] - colours[0, 0]).abs().max() > 0.03  # in a single image it tells the texture


@pytest.mark.parametrize("setting", ["both", "object_context_25", "context_object_95"])
def test_correlations_of_factors_and_label(setting: str) -> None:
    """A factor of correlation c has the label's kind in c + (1 - c) / 8 of the images, up to 4.5 deviations."""
    count = 2000
    data = ShapesInContext(setting, size=count)
    drawn_kinds = np.array([list(data.kinds(name).values()) for name in data.ids])
    labels = np.arange(count) % 8
    for column, (factor, most) in enumerate(COUNTS.items()):
        correlation = SETTINGS[setting].get(factor, 0.0)
        expected = correlation + (1 - correlation) / 8  # also of the distractor: 4 of 8 labels, one in 4 of its kinds
        agree = (drawn_kinds[:, column] == labels).mean()
        assert abs(agree - expected) <= 4.5 * np.sqrt(expected * (1 - expected) / count)
        shares = np.bincount(drawn_kinds[:, column], minlength=most) / count
        assert np.abs(shares - 1 / most).max() < 4.5 * np.sqrt((1 - 1 / most) / most / count)
    for first, second in [(1, 0), (1, 2), (3, 0), (3, 1), (3, 2)]:
        correlation = np.corrcoef(drawn_kinds[:, first], drawn_kinds[:, second])[0, 1]
        assert abs(correlation) < 4.5 / np.sqrt(count)


def test_images_of_two_settings_differ_in_their_kinds_only() -> None:
    first, second = (ShapesInContext(setting, size=40) for setting in ("object_only", "context_only"))
    for name in first.ids[:3]:
        first_kinds, second_kinds = first.kinds(name), second.kinds(name)
        swapped = first.swapped(
            name, preprocessing(), object=second_kinds["object_shape"], background=second_kinds["background_texture"]
        )
        assert torch.equal(swapped.image, second.load(name, preprocessing()).image)
        assert first_kinds["distractor"] == second_kinds["distractor"]


def test_other_correlations() -> None:
    data = ShapesInContext({"object_texture": 1.0, "object_shape": 0}, size=64)
    assert all(data.kinds(name)["object_texture"] == data.label(name) for name in data.ids)
    assert sum(data.kinds(name)["object_shape"] == data.label(name) for name in data.ids) < 24


def test_ids_labels_and_pools() -> None:
    data = ShapesInContext("both", size=20)
    assert data.ids == sorted(data.ids)
    assert [data.load(name, preprocessing()).target for name in data.ids[5:10]] == [5, 6, 7, 0, 1]
    assert data.class_names[3] == "star, stripes"
    pools = [data.ids, data.scoring_ids, data.donor_ids]
    assert len(set().union(*pools)) == 20 + 22 + 64
    first = [data.load(pool[0], preprocessing()).image for pool in pools]
    assert min((a - b).abs().mean() for a, b in zip(first, first[1:] + first[:1], strict=True)) > 0.02


@pytest.mark.parametrize("size", [20, 200])
def test_an_image_is_scored_with_images_of_three_other_classes(size: int) -> None:
    """The images that replace its pixels show no object or ground of its class, and depend on no other image."""
    data = ShapesInContext("both", size=size)
    pool = PhotoPool(data.scoring_ids, data, preprocessing())
    for name in (data.ids[0], data.ids[7], data.ids[-1]):
        others = [f"{int(name) + step:05d}-score" for step in range(3)]
        images = torch.stack([data.load(other, preprocessing()).image for other in others])
        assert torch.equal(pool.following(name), images)
        assert [(data.label(other) - data.label(name)) % 8 for other in others] == [1, 2, 3]


@pytest.mark.parametrize(("size", "resize"), [(64, 64), (112, 128)])
def test_another_size_is_resized_and_cut(size: int, resize: int) -> None:
    data = ShapesInContext("both", size=2)
    for name in data.ids:
        original, sample = data.load(name, preprocessing()), data.load(name, preprocessing(size, resize))
        expected = F.interpolate(original.image[None], size=(resize, resize), mode="bilinear", antialias=True)[0]
        edge = (resize - size) // 2
        torch.testing.assert_close(sample.image, expected[:, edge : edge + size, edge : edge + size])
        assert sample.segmentation.shape == data.distractor(name, preprocessing(size, resize)).shape == (size, size)


@pytest.mark.parametrize("wrong", [{"size": 0}, {"every": 0}, {"limit": 0}, {"size": 100_001}, {"cues": "shape"}])
def test_wrong_options_are_named(wrong: dict) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises(UserError, match=rf"data\.{name}( is |=){value!r}"):
        ShapesInContext(**wrong)


@pytest.mark.parametrize(
    ("cues", "text"),
    [
        ({"distractor": 1.0}, "data.cues names 'distractor'; only object_shape, object_texture, background_texture "),
        ({"object_shape": 1.5}, "data.cues.object_shape is 1.5; give a correlation from 0 to 1"),
        ({"object_shape": float("nan")}, "data.cues.object_shape is nan; give"),
        ({"object_shape": "high"}, "data.cues.object_shape is 'high'; give a correlation from 0 to 1"),
        ({"object_shape": 1.0, "object_texture": None}, "data.cues.object_texture is None; give"),
        ({"object_shape": True}, "data.cues.object_shape is True; give"),
        (3, "data.cues is 3; choose one of object_only, "),
        (None, "data.cues is None; choose one of object_only, "),
        (["both"], "data.cues is ['both']; choose one of object_only, "),
    ],
)
def test_wrong_cues_are_named(cues: Any, text: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_cues(cues)
    assert str(caught.value).startswith(text)
    assert "\n" not in str(caught.value)


def test_unknown_images_and_kinds_are_named() -> None:
    data = ShapesInContext(size=8)
    with pytest.raises(UserError, match="no image '00008'"):
        data.load("00008", preprocessing())
    with pytest.raises(UserError, match="3 channels"):
        data.load("00000", Preprocessing((128, 128), 128, "bilinear", (0.5,), (0.25,)))
    with pytest.raises(UserError, match="no background texture 8"):
        data.swapped("00000", preprocessing(), background=8)

"""The synthetic images: what they depend on, and the drawing against supersampling."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from inr_xai.data.scenes.scene import CHANCES, Scenes, draw
from inr_xai.data.scenes.shapes import REACH, SHAPES, shape_distance
from inr_xai.data.scenes.synthetic import Synthetic
from inr_xai.data.scenes.textures import TEXTURES
from inr_xai.data.transform import to_input
from inr_xai.errors import UserError
from inr_xai.types import Preprocessing

KINDS = torch.arange(8)


@pytest.fixture(autouse=True)
def anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draws all scenes anew: the fixture of all tests, which remembers them, is off here."""
    monkeypatch.setattr(Synthetic, "_draw", Synthetic._draw.__wrapped__)  # type: ignore[attr-defined]


def preprocessing(size: int = 96, resize: int = 96) -> Preprocessing:
    return Preprocessing((size, size), resize, "bilinear", (0.5,) * 3, (0.25,) * 3)


def drawn(
    kinds: torch.Tensor,
    chances: torch.Tensor,
    *,
    size: int = 96,
    with_object: bool = True,
    with_texture: bool = True,
    grain: bool = False,
) -> Scenes:
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(len(kinds), 3, size, size, generator=generator, dtype=chances.dtype) * grain
    return draw(
        kinds,
        chances,
        noise,
        with_object=torch.full((len(kinds),), with_object),
        with_texture=torch.full((len(kinds),), with_texture),
    )


def chances(count: int = 8, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, CHANCES, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_an_image_depends_on_seed_and_id_alone() -> None:
    few, many = Synthetic(3), Synthetic(20)
    backwards = {name: many.load(name, preprocessing()) for name in reversed(many.ids)}
    for name in few.ids:
        torch.testing.assert_close(few.load(name, preprocessing()).image, backwards[name].image, rtol=0, atol=0)
    other = Synthetic(3, seed=1).load("00000-disc", preprocessing()).image
    assert (other - backwards["00000-disc"].image).abs().mean() > 0.05


def test_a_scene_does_not_depend_on_the_batch() -> None:
    together = drawn(KINDS, chances())
    for index in range(8):
        alone = drawn(KINDS[index : index + 1], chances()[index : index + 1])
        torch.testing.assert_close(together.images[index], alone.images[0], rtol=0, atol=1e-12)
        torch.testing.assert_close(together.coverage[index], alone.coverage[0], rtol=0, atol=1e-12)


def test_segmentation_divides_the_object_from_the_ground() -> None:
    """Outside, an image equals that without the object; inside, that on a plain ground; the edge mixes both."""
    both, figure, ground = (Synthetic(16, cues=cues) for cues in ("both", "object", "background"))
    for name in both.ids:
        sample = both.load(name, preprocessing())
        segmentation = sample.segmentation.float()[None]
        outside = F.max_pool2d(segmentation, 7, 1, 3)[0] == 0
        inside = -F.max_pool2d(-segmentation, 3, 1, 1)[0] == 1
        assert torch.equal(sample.image[:, outside], ground.load(name, preprocessing()).image[:, outside])
        assert torch.equal(sample.image[:, inside], figure.load(name, preprocessing()).image[:, inside])
        edge = (sample.image - ground.load(name, preprocessing()).image)[:, sample.segmentation].abs().amax(0)
        assert edge.min() > 0.02
        assert torch.equal(figure.load(name, preprocessing()).segmentation, sample.segmentation)
        assert not ground.load(name, preprocessing()).segmentation.any()


def test_without_texture_the_ground_is_linear() -> None:
    """The light falls linearly over a plain colour, so its second differences vanish."""
    images = drawn(KINDS, chances(), with_object=False, with_texture=False).images
    second = images[..., 2:] - 2 * images[..., 1:-1] + images[..., :-2]
    unclipped = images.amax((1, 2, 3)) < 1
    assert unclipped.sum() >= 4
    assert second[unclipped].abs().max() < 1e-12
    textured = drawn(KINDS, chances(), with_object=False).images
    assert (textured[..., 1:] - textured[..., :-1]).abs().amax((1, 2, 3)).min() > 0.05


def test_nothing_but_shape_and_texture_depends_on_the_class() -> None:
    same = chances(1).expand(8, -1)
    plain = drawn(KINDS, same, with_object=False, with_texture=False, grain=False).images
    assert torch.equal(plain, plain[:1].expand_as(plain))
    scenes = drawn(KINDS, same)
    centre_colours = torch.stack(
        [image[:, inside].amax(1) for image, inside in zip(scenes.images, scenes.coverage == 1, strict=True)]
    )
    assert (centre_colours - centre_colours[0]).abs().max() < 0.05  # only the light differs over the object


def test_an_object_on_the_ground_of_another_class() -> None:
    """The object and its place are those of its class, the ground is that of the other class."""
    grounds, ones = (KINDS + 1) % 8, torch.ones(8, dtype=torch.bool)
    noise = torch.zeros(8, 3, 96, 96, dtype=torch.float64)
    mixed = draw(KINDS, chances(), noise, with_object=ones, with_texture=ones, grounds=grounds)
    front, back = drawn(KINDS, chances()), drawn(grounds, chances(), with_object=False)
    torch.testing.assert_close(mixed.coverage, front.coverage, rtol=0, atol=0)
    inside, outside = ((mixed.coverage == share)[:, None].expand_as(mixed.images) for share in (1, 0))
    torch.testing.assert_close(mixed.images[inside], front.images[inside], rtol=0, atol=1e-12)
    torch.testing.assert_close(mixed.images[outside], back.images[outside], rtol=0, atol=1e-12)


def test_the_object_has_the_area_that_is_drawn_for_it() -> None:
    random = chances(64)
    share = drawn(KINDS.repeat(8), random).coverage.mean((1, 2))
    torch.testing.assert_close(share, 0.08 + 0.12 * random[:, 2], rtol=0.01, atol=0)


def test_the_object_lies_inside_the_image() -> None:
    for corner in (0.0, 1 - 1e-9):
        extreme = torch.full((8, CHANCES), corner, dtype=torch.float64)
        coverage = drawn(KINDS, extreme).coverage
        border = torch.cat([coverage[:, 0], coverage[:, -1], coverage[:, :, 0], coverage[:, :, -1]])
        assert border.abs().max() == 0


@pytest.mark.parametrize("kind", range(8), ids=list(SHAPES))
def test_distance_is_a_distance(kind: int) -> None:
    """No shape reaches beyond REACH, and the distance changes no faster than the point moves."""
    points = torch.rand(2, 1, 100, 100, generator=torch.Generator().manual_seed(kind), dtype=torch.float64) * 3 - 1.5
    kinds = torch.tensor([kind])
    distance = shape_distance(kinds, *points)
    assert torch.hypot(*points)[distance < 0].max() <= REACH
    moved = points + 1e-3 * torch.randn(points.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    change = (shape_distance(kinds, *moved) - distance).abs()
    assert (change / torch.hypot(*(moved - points))).max() < 1 + 1e-6


@pytest.mark.parametrize("cue", ["object", "background"])
def test_edges_agree_with_supersampling(cue: str) -> None:
    """Anti-aliasing by distance against the mean of 4 x 4 points in each pixel."""
    random = chances(8, seed=5)
    random[:, 18] = 0  # even light
    parts = {"with_object": cue == "object", "with_texture": cue == "background"}
    fine = drawn(KINDS, random, size=384, **parts)
    coarse = drawn(KINDS, random, size=96, **parts)
    pooled = F.avg_pool2d(fine.images, 4)
    assert (pooled - coarse.images).abs().mean((1, 2, 3)).max() < 0.004
    difference = (F.avg_pool2d(fine.coverage, 4) - coarse.coverage).abs()
    assert difference.mean() < 0.002
    assert difference.max() < 0.5  # at the corners


def test_ids_labels_and_pools() -> None:
    data = Synthetic(20)
    assert data.ids == sorted(data.ids)
    assert [data.load(name, preprocessing()).target for name in data.ids] == [i % 8 for i in range(20)]
    assert data.ids[3] == "00003-star"
    assert data.class_names[3] == "star on stripes"
    pools = [data.ids, data.scoring_ids, data.donor_ids]
    assert [len(set(pool)) for pool in pools] == [20, 64, 64]
    assert len(set().union(*pools)) == 148
    first = [data.load(pool[0], preprocessing()) for pool in pools]
    assert {sample.target for sample in first} == {0}
    assert min((a.image - b.image).abs().mean() for a, b in zip(first, first[1:] + first[:1], strict=True)) > 0.02


def test_an_image_of_the_input_size_is_not_resampled() -> None:
    data = Synthetic(1)
    plain, with_crop = (data.load("00000-disc", preprocessing(96, resize)) for resize in (96, 110))
    assert torch.equal(plain.image, with_crop.image)
    assert with_crop.frame == plain.frame
    assert (plain.frame.resized, plain.frame.top, plain.frame.left) == ((96, 96), 0, 0)


@pytest.mark.parametrize(("size", "resize"), [(64, 72), (64, 64), (112, 80), (64, 96)])
def test_another_size_is_resized_and_cut_as_a_photo(size: int, resize: int) -> None:
    data = Synthetic(4)
    other = preprocessing(size, resize)
    for name in data.ids:
        original, sample = data.load(name, preprocessing()), data.load(name, other)
        photo = Image.fromarray((original.image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8))
        expected, frame = to_input(photo, other)
        assert sample.frame == frame
        torch.testing.assert_close(sample.image, expected, rtol=0, atol=2 / 255)
        assert sample.segmentation.shape == (size, size)
        share, before = sample.segmentation.float().sum(), original.segmentation.float().sum()
        if resize <= size:
            torch.testing.assert_close(share / resize**2, before / 96**2, rtol=0.03, atol=0)


def test_a_larger_image_shows_the_same_scene() -> None:
    small, large = (Synthetic(8, image_size=size) for size in (96, 192))
    for name in small.ids:
        first, second = small.load(name, preprocessing()), large.load(name, preprocessing(192, 192))
        pooled = F.avg_pool2d(second.image[None], 2)[0]
        assert (first.image - pooled).abs().mean() < 0.025  # the grain differs


@pytest.mark.parametrize(
    "wrong", [{"size": 0}, {"image_size": 95}, {"cues": "shape"}, {"every": 0}, {"limit": 0}, {"size": 100_001}]
)
def test_wrong_options_are_named(wrong: dict) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises(UserError, match=rf"data\.{name}( is |=){value!r}"):
        Synthetic(**wrong)


def test_unknown_images_and_grey_inputs_are_refused() -> None:
    with pytest.raises(UserError, match="no image '00008-disc'"):
        Synthetic(8).load("00008-disc", preprocessing())
    grey = Preprocessing((96, 96), 96, "bilinear", (0.5,), (0.25,))
    with pytest.raises(UserError, match="3 channels"):
        Synthetic(8).load("00000-disc", grey)


def test_there_are_as_many_textures_as_shapes() -> None:
    assert len(TEXTURES) == len(SHAPES) == 8

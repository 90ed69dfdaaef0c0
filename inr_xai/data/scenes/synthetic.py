"""Images with two known cues: the shape of an object and the texture of the ground both tell the class.

Everything else (colours, place, size, turn, contrast, light, grain) is drawn from (seed, sample id) alone.
"""

from typing import Final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from inr_xai.data.labels import check_selection, parse_targets
from inr_xai.data.scenes.scene import CHANCES, Scenes, draw
from inr_xai.data.scenes.shapes import SHAPES
from inr_xai.data.scenes.textures import TEXTURES
from inr_xai.data.transform import cut, frame_of, segmentation_to_input
from inr_xai.errors import UserError
from inr_xai.seeding import generator
from inr_xai.types import Frame, Image, Preprocessing, Sample

CUES: Final = {"both": (True, True), "object": (True, False), "background": (False, True)}
"""Whether the object is there, and whether the ground is textured."""
POOL: Final = 64
"""Images in each of the two pools."""


class Synthetic:
    """Eight classes; image i shows class i mod 8.

    Args:
        size: number of images, 1 to 100000; image i is the same for every size.
        image_size: height and width in pixels, at least 96.
        cues: "both"; "object" (on a plain ground); "background" (without the object).
        seed: seed of every image, also of those in the pools.
        targets: which class to explain: "label", "predicted", "wrong" or a class index.
        limit, every: explain every n-th image, and at most `limit` of them.

    >>> Synthetic(size=3).ids
    ['00000-disc', '00001-square', '00002-triangle']
    """

    def __init__(
        self,
        size: int = 8,
        *,
        image_size: int = 96,
        cues: str = "both",
        seed: int = 0,
        targets: str | int = "label",
        limit: int | None = None,
        every: int = 1,
    ):
        check_size(size)
        if image_size < 96:
            raise UserError(f"data.image_size is {image_size}; give at least 96 pixels")
        if cues not in CUES:
            raise UserError(f"data.cues is {cues!r}; choose one of {', '.join(CUES)}")
        check_selection(limit=limit, every=every)
        self.targets, self.limit, self.every = parse_targets(targets), limit, every
        self._image_size, self._seed = image_size, seed
        self._with_object, self._with_texture = CUES[cues]
        self._ids = _named("", size)
        self._scoring = _named("score-", POOL)
        self._donors = _named("donor-", POOL)
        self._kinds = {
            name: index % len(SHAPES)
            for names in (self._ids, self._scoring, self._donors)
            for index, name in enumerate(names)
        }

    @property
    def ids(self) -> list[str]:
        return list(self._ids)

    @property
    def class_names(self) -> list[str]:
        return [f"{shape} on {texture}" for shape, texture in zip(SHAPES, TEXTURES, strict=True)]

    @property
    def scoring_ids(self) -> list[str]:
        return list(self._scoring)

    @property
    def donor_ids(self) -> list[str]:
        return list(self._donors)

    def load(self, sample_id: str, preprocessing: Preprocessing) -> Sample:
        """Draws an image, which is resampled only if the input does not have `image_size`."""
        kind = self._kinds.get(sample_id)
        if kind is None:
            raise UserError(
                f"the synthetic data has no image {sample_id!r}; its {len(self._ids)} ids run from {self._ids[0]!r} "
                f"to {self._ids[-1]!r} (data.size gives their number), and two pools begin with 'score-' and 'donor-'"
            )
        frame = drawn_frame(self._image_size, preprocessing)
        drawn = self._draw(sample_id, kind)
        segmentation = segmentation_to_input(drawn.coverage[0] >= 0.5, frame)
        return Sample(drawn_to_input(drawn.images[0], frame), kind, sample_id, frame, segmentation)

    def _draw(self, sample_id: str, kind: int) -> Scenes:
        """Draws a batch of one image."""
        random = generator(self._seed, "synthetic", sample_id)
        chances = torch.rand(1, CHANCES, generator=random)
        noise = torch.randn(1, 3, self._image_size, self._image_size, generator=random)
        return draw(
            torch.tensor([kind]),
            chances,
            noise,
            with_object=torch.tensor([self._with_object]),
            with_texture=torch.tensor([self._with_texture]),
        )


def check_size(size: int) -> None:
    """Raises UserError unless the number of images is 1 to 100000."""
    if not 1 <= size <= 100_000:
        raise UserError(f"data.size is {size}; give a number of images from 1 to 100000")


def _named(prefix: str, count: int) -> list[str]:
    shapes = list(SHAPES)
    return [f"{prefix}{index:05d}-{shapes[index % len(shapes)]}" for index in range(count)]


def drawn_frame(image_size: int, preprocessing: Preprocessing) -> Frame:
    """Returns the frame of a drawn image, which is not resized if it has the input's size.

    Raises UserError if the input is not in colour.
    """
    if len(preprocessing.mean) != 3:
        raise UserError(
            f"synthetic images have 3 channels and the classifier asks for {len(preprocessing.mean)}; "
            "choose another classifier"
        )
    original = (image_size, image_size)
    if preprocessing.size == original:
        return Frame(original=original, resized=original, top=0, left=0, size=original)
    return frame_of(original, preprocessing)


def drawn_to_input(image: Image, frame: Frame) -> Float[Tensor, "c i j"]:
    """Returns a drawn image in the input frame, resampled only if the frame's sizes differ."""
    if frame.resized == frame.original:
        return cut(image, frame)
    resized = F.interpolate(image[None], size=frame.resized, mode="bilinear", antialias=True)
    return cut(resized[0].clamp(0, 1), frame)

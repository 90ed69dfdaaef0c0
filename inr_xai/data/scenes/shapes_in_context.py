"""ShapesInContext: a benchmark in which it is known what determines the label, the object's shape or the ground.

Shape and texture of the object, texture of the ground, and a distractor are drawn independently for each image; the
setting says which of them follow the label, and how often. Each of them can be swapped while all else stays the same.
"""

from collections.abc import Mapping
from typing import Final

import torch
from jaxtyping import Bool
from torch import Tensor

from inr_xai.data.labels import check_selection, parse_targets
from inr_xai.data.photo_pool import DRAWS
from inr_xai.data.scenes.context_scene import CHANCES, DISTRACTORS, ContextScenes, Kinds, draw
from inr_xai.data.scenes.shapes import SHAPES
from inr_xai.data.scenes.synthetic import check_size, drawn_frame, drawn_to_input
from inr_xai.data.scenes.textures import TEXTURES
from inr_xai.data.transform import segmentation_to_input
from inr_xai.errors import UserError
from inr_xai.seeding import generator
from inr_xai.types import Preprocessing, Sample

CLASSES: Final = 8
SIDE: Final = 128
"""Height and width of an image in pixels."""
POOL: Final = 64
"""Images in each of the two pools."""
SETTINGS: Final[dict[str, dict[str, float]]] = {
    "object_only": {"object_shape": 1.0},
    "context_only": {"background_texture": 1.0},
    "both": {"object_shape": 1.0, "background_texture": 1.0},
    "object_context_25": {"object_shape": 1.0, "background_texture": 0.25},
    "object_context_95": {"object_shape": 1.0, "background_texture": 0.95},
    "context_object_25": {"background_texture": 1.0, "object_shape": 0.25},
    "context_object_95": {"background_texture": 1.0, "object_shape": 0.95},
}
"""The correlation of each factor with the label; factors that are not named are independent of it."""
COUNTS: Final = {
    "object_shape": len(SHAPES),
    "object_texture": len(TEXTURES),
    "background_texture": len(TEXTURES),
    "distractor": len(DISTRACTORS),
}
"""The factors and their numbers of kinds."""
CUES: Final = ("object_shape", "object_texture", "background_texture")
"""The factors that may follow the label; the distractor never does."""


class ShapesInContext:
    """Eight classes; image i is of class i mod 8, and the kinds of class c are the c-th shape and the c-th texture.

    Args:
        cues: a name of SETTINGS, or the correlation of each cue with the label: with this probability the factor is of
            the label's kind, otherwise of any kind, drawn uniformly.
        size: number of images, 1 to 100000. Image i is the same for every size; for every setting, except its kinds.
        seed: seed of every image, also of those in the pools.
        targets: which class to explain: "label", "predicted", "wrong" or a class index.
        limit, every: explain every n-th image, and at most `limit` of them.

    >>> data = ShapesInContext("both", size=10)
    >>> data.ids[9], data.class_names[1], data.kinds("00009")["object_shape"]
    ('00009', 'square, dots', 1)
    """

    def __init__(
        self,
        cues: str | Mapping[str, float] = "object_only",
        *,
        size: int = 64,
        seed: int = 0,
        targets: str | int = "label",
        limit: int | None = None,
        every: int = 1,
    ):
        check_selection(limit=limit, every=every)
        check_size(size)
        self.cues = parse_cues(cues)
        self.targets, self.limit, self.every = parse_targets(targets), limit, every
        self._seed = seed
        self._ids, self._donors = _named(size), _named(POOL, before="donor-")
        self._labels = {
            name: index % CLASSES for names in (self._ids, self._donors) for index, name in enumerate(names)
        }
        # In sorted order three images of the pool follow each image; they are of the three classes after its class.
        self._scoring = _named(size + DRAWS - 1, after="-score")
        self._labels |= {name: (index + 1) % CLASSES for index, name in enumerate(self._scoring)}

    @property
    def ids(self) -> list[str]:
        return list(self._ids)

    @property
    def class_names(self) -> list[str]:
        return [f"{shape}, {texture}" for shape, texture in zip(SHAPES, TEXTURES, strict=True)]

    @property
    def scoring_ids(self) -> list[str]:
        return list(self._scoring)

    @property
    def donor_ids(self) -> list[str]:
        return list(self._donors)

    def label(self, sample_id: str) -> int:
        """Returns the class index of an image. Raises UserError if there is no such image."""
        label = self._labels.get(sample_id)
        if label is None:
            raise UserError(
                f"ShapesInContext has no image {sample_id!r}; its {len(self._ids)} ids run from {self._ids[0]!r} to "
                f"{self._ids[-1]!r} (data.size gives their number); those of its pools hold 'score' or 'donor'"
            )
        return label

    def kinds(self, sample_id: str) -> dict[str, int]:
        """Returns the kind of each factor in an image, without drawing the image."""
        label = self.label(sample_id)
        random = generator(self._seed, "shapes in context", "kinds", sample_id)
        follows, other = torch.rand(2, len(COUNTS), dtype=torch.float64, generator=random).tolist()
        return {
            factor: label if follows[index] < self.cues.get(factor, 0.0) else int(other[index] * count)
            for index, (factor, count) in enumerate(COUNTS.items())
        }

    def load(self, sample_id: str, preprocessing: Preprocessing) -> Sample:
        """Returns an image, which is resampled only if the input does not have 128 x 128 pixels."""
        return self.swapped(sample_id, preprocessing)

    def swapped(
        self, sample_id: str, preprocessing: Preprocessing, *, object: int | None = None, background: int | None = None
    ) -> Sample:
        """Returns the image with another shape of the object, another texture of the ground, or both.

        All else stays the same: colours, places, light and grain, the object's texture, and the target.

        Raises:
            UserError: there is no such image or kind.
        """
        drawn = self._draw(sample_id, object=object, background=background)
        frame = drawn_frame(SIDE, preprocessing)
        segmentation = segmentation_to_input(drawn.object[0] >= 0.5, frame)
        return Sample(drawn_to_input(drawn.images[0], frame), self.label(sample_id), sample_id, frame, segmentation)

    def distractor(self, sample_id: str, preprocessing: Preprocessing) -> Bool[Tensor, "h w"]:
        """Returns True on the distractor, in the input frame."""
        return segmentation_to_input(self._draw(sample_id).distractor[0] >= 0.5, drawn_frame(SIDE, preprocessing))

    def _draw(self, sample_id: str, *, object: int | None = None, background: int | None = None) -> ContextScenes:
        """Draws a batch of one image."""
        kinds = self.kinds(sample_id)
        for factor, kind in (("object_shape", object), ("background_texture", background)):
            if kind is None:
                continue
            if not 0 <= kind < COUNTS[factor]:
                raise UserError(f"there is no {factor.replace('_', ' ')} {kind}; give 0 to {COUNTS[factor] - 1}")
            kinds[factor] = kind
        random = generator(self._seed, "shapes in context", "scene", sample_id)
        chances = torch.rand(1, CHANCES, generator=random)
        noise = torch.randn(1, 3, SIDE, SIDE, generator=random)
        return draw(Kinds(**{factor: torch.tensor([kind]) for factor, kind in kinds.items()}), chances, noise)


def parse_cues(cues: object) -> dict[str, float]:
    """Returns the correlation of each cue with the label, from the name of a setting or from correlations.

    >>> parse_cues("both"), parse_cues({"object_shape": 0.3})
    ({'object_shape': 1.0, 'background_texture': 1.0}, {'object_shape': 0.3})
    """
    if isinstance(cues, str):
        if cues not in SETTINGS:
            raise UserError(f"data.cues is {cues!r}; choose one of {', '.join(SETTINGS)}, or give correlations")
        return dict(SETTINGS[cues])
    if not isinstance(cues, Mapping):
        raise UserError(
            f"data.cues is {cues!r}; choose one of {', '.join(SETTINGS)}, or give correlations such as "
            "{object_shape: 1.0}"
        )
    for factor, correlation in cues.items():
        if factor not in CUES:
            raise UserError(f"data.cues names {factor!r}; only {', '.join(CUES)} can follow the label")
        if isinstance(correlation, bool) or not isinstance(correlation, int | float) or not 0 <= correlation <= 1:
            raise UserError(f"data.cues.{factor} is {correlation!r}; give a correlation from 0 to 1")
    return dict(cues)


def _named(count: int, *, before: str = "", after: str = "") -> list[str]:
    return [f"{before}{index:05d}{after}" for index in range(count)]

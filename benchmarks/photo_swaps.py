"""The interventions on a photo whose object is known: its object or its ground is swapped, and the floors of doing so.

As on drawn scenes (`inr_xai.audit.intervention`), where a swap is drawn anew and leaves no trace. On a photo it is a
paste, so what pasting alone does is measured beside it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from photo_cut import RIM, Cut, paste, put_in_place
from torch import Tensor

from inr_xai.data.photo_pool import Reader
from inr_xai.errors import UserError
from inr_xai.masks import hard_masks
from inr_xai.scoring.random_masks import smooth_fields
from inr_xai.seeding import generator
from inr_xai.types import Preprocessing

GROUNDS, OBJECTS = 8, 4
"""How many grounds of other photos an object is put on, and how many objects of other photos are put on a ground."""
MOST_FILLED = 0.5
"""A photo of which more is filled lends no ground: too little of it would be a photo."""

Image = Float[Tensor, "c h w"]
Variants = dict[str, list[Image]]
"""Name of an intervention -> its images, of which there are several if it is drawn several times."""
KEEP_OBJECT, KEEP_GROUND, BACK, KEEP_BLOB, KEEP_REST = "object", "ground", "back", "blob", "rest"
"""What of the photo stays: the first part of an intervention's name."""


def photo_of(sample_id: str) -> str:
    """Returns the photo of which a sample is a crop: its file's name up to the first underscore.

    >>> photo_of("n02391049/000000000034_crop2")
    '000000000034'
    """
    return sample_id.rsplit("/", 1)[-1].split("_", 1)[0]


class Photos:
    """The photos of a data set with their objects cut out, in a classifier's input frame.

    A sample lends its ground and its object to samples of other photos whose class is of another group. What a sample
    borrows is drawn from (seed, its id) and depends on nothing but the ids and masks of the data set.

    Args:
        sample_ids: all samples, those that are not measured as well.
        group_of: class index -> its group of related classes.

    Raises:
        UserError: a sample has no class or no object.
    """

    def __init__(
        self,
        sample_ids: Sequence[str],
        data: Reader,
        preprocessing: Preprocessing,
        group_of: Mapping[int, str],
        *,
        seed: int = 0,
    ):
        self.seed = seed
        self.cuts: dict[str, Cut] = {}
        self.targets: dict[str, int] = {}
        for sample_id in sorted(sample_ids):
            sample = data.load(sample_id, preprocessing)
            if sample.target is None or sample.segmentation is None:
                missing = "class" if sample.target is None else "object"
                raise UserError(f"{sample_id!r} has no {missing}; give data.segmentations, and photos with labels")
            rim = round(RIM * min(sample.image.shape[1:]))
            self.cuts[sample_id] = Cut(sample.image, sample.segmentation, rim)
            self.targets[sample_id] = sample.target
        self._groups = {sample_id: group_of[target] for sample_id, target in self.targets.items()}

    def grounds(self, sample_id: str, count: int = GROUNDS) -> list[str]:
        """Returns whose grounds a sample is put on, of as many photos; no photo of which most is filled lends one."""
        return self._draw(sample_id, "grounds", count, lambda cut: float(cut.hole.double().mean()) <= MOST_FILLED)

    def objects(self, sample_id: str, count: int = OBJECTS) -> list[str]:
        """Returns whose objects are put in the place of a sample's, of as many photos."""
        return self._draw(sample_id, "objects", count, lambda cut: bool(cut.part.any()))

    def blob(self, sample_id: str) -> Cut:
        """Returns the photo with a random smooth part of its ground cut out, which has as many pixels as the object.

        If the ground is smaller than the object, the part is all of the ground but the rim.
        """
        cut = self.cuts[sample_id]
        draw = generator(self.seed, sample_id, "photo swaps", "blob")
        field = smooth_fields(tuple(cut.part.shape), generators=[draw], count=1)
        area, free = cut.part.double().mean()[None], ~cut.hole[None, None]
        return Cut(cut.image, hard_masks(field, area, generators=[draw], free=free)[0, 0], cut.rim)

    def _draw(self, sample_id: str, purpose: str, count: int, lends: Callable[[Cut], bool]) -> list[str]:
        """Draws `count` photos, and of each a sample."""
        by_photo: dict[str, list[str]] = {}
        for other, cut in self.cuts.items():
            related = photo_of(other) == photo_of(sample_id) or self._groups[other] == self._groups[sample_id]
            if not related and lends(cut):
                by_photo.setdefault(photo_of(other), []).append(other)
        if len(by_photo) < count:
            raise UserError(
                f"{len(by_photo)} other photos of unrelated classes could lend {purpose} to {sample_id!r}, and "
                f"{count} are drawn; give more photos with objects"
            )
        draw = generator(self.seed, sample_id, "photo swaps", purpose)
        order = torch.randperm(len(by_photo), generator=draw)[:count].tolist()
        chosen = [by_photo[sorted(by_photo)[place]] for place in order]
        return [crops[int(torch.randint(len(crops), (1,), generator=draw))] for crops in chosen]


@dataclass(frozen=True, eq=False)
class Swaps:
    """All interventions on one photo.

    Args:
        blob: the photo with a random part cut out in place of the object, for the floor.
        grounds: filled grounds of other photos.
        objects: other photos, whose objects are pasted.
    """

    cut: Cut
    blob: Cut
    grounds: Sequence[Image]
    objects: Sequence[Cut]

    def variants(self) -> Variants:
        """Returns the images by name: what stays, a slash, and what has taken the place of the rest."""
        named = {"photo": [self.cut.image], "grounds alone": list(self.grounds)}
        for part, rest, cut in ((KEEP_OBJECT, KEEP_GROUND, self.cut), (KEEP_BLOB, KEEP_REST, self.blob)):
            named |= {f"{part}/{name}": images for name, images in part_kept(cut, self.grounds)}
            named |= {f"{rest}/{name}": [fill] for name, fill in cut.fills().items()}
        pasted = [put_in_place(donor, self.cut.part) for donor in self.objects]
        named[f"{KEEP_GROUND}/objects"] = [paste(front, where, self.cut.textured) for front, where in pasted]
        return named | {f"{BACK}/{name}": [self.cut.on(fill)] for name, fill in self.cut.fills().items()}


def part_kept(cut: Cut, grounds: Sequence[Image]) -> Iterator[tuple[str, list[Image]]]:
    """Yields the part on other grounds, on its ground's mean colour, and on its ground blurred."""
    yield "grounds", [cut.on(ground) for ground in grounds]
    yield "mean", [cut.on(cut.mean)]
    yield "blur", [cut.on(cut.blurred)]


def swaps_of(photos: Photos, sample_id: str) -> Swaps:
    """Returns the interventions on a photo. Raises UserError if a ground cannot be filled, or too few photos lend."""
    grounds = [photos.cuts[other].textured for other in photos.grounds(sample_id)]
    objects = [photos.cuts[other] for other in photos.objects(sample_id)]
    return Swaps(photos.cuts[sample_id], photos.blob(sample_id), grounds, objects)

"""Pools of photos that take the place of pixels: one for scoring, one for fitting, fixed for the whole run."""

import bisect
import functools
import logging
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from inr_xai.errors import UserError
from inr_xai.types import Image, ImageData, Images, Preprocessing

DRAWS = 3  # photos that one sample is scored against
REMEMBERED = 256  # photos of a pool; samples that follow each other share theirs
log = logging.getLogger(__name__)


class PhotoPool:
    """Photos by id, read when first asked for; one that cannot be read is passed over.

    Args:
        ids: in any order; fixed in run.json, so that no result depends on limit, batch or shard.
        reserve: ids that are turned to only where too few of `ids` can be read.
    """

    def __init__(self, ids: Sequence[str], data: ImageData, preprocessing: Preprocessing, reserve: Sequence[str] = ()):
        self.ids, self.reserve = sorted(ids), sorted(reserve)

        @functools.lru_cache(maxsize=REMEMBERED)
        def read(sample_id: str) -> Image | None:
            try:
                return data.load(sample_id, preprocessing).image
            except UserError as error:
                log.warning("left out of the pool of baselines: %s", error)
                return None

        self._read = read

    def following(self, sample_id: str) -> Float[Tensor, "d c h w"]:
        """The next three photos after `sample_id` in sorted order, from the beginning again after the last."""
        start = bisect.bisect_right(self.ids, sample_id)
        photos = []
        for other in [*self.ids[start:], *self.ids[:start], *self.reserve]:
            photo = None if photo_of(other) == photo_of(sample_id) else self._read(other)
            if photo is not None:
                photos.append(photo)
            if len(photos) == DRAWS:
                return torch.stack(photos)
        raise UserError(
            f"the pool of baselines has {len(photos)} readable photos beside {sample_id!r} and needs {DRAWS}; "
            "add images to data.root"
        )

    def all(self) -> Images:
        """Every photo that can be read, with the reserve where they are few."""
        return self._all

    @functools.cached_property
    def _all(self) -> Images:
        photos = [photo for photo in map(self._read, self.ids) if photo is not None]
        if len(photos) <= DRAWS:
            photos += [photo for photo in map(self._read, self.reserve) if photo is not None]
        if not photos:
            raise UserError(
                f"none of the {len(self.ids)} photos of the pool of baselines can be read; add images to data.root"
            )
        return torch.stack(photos)


def photo_of(sample_id: str) -> str:
    """The id without the class that sets of several classes a photo append to it.

    >>> photo_of("2007_000032@person")
    '2007_000032'
    """
    return sample_id.partition("@")[0]

"""The photos of a pool, read when they are needed: three for each sample to score it, or all of them to fit masks.

`inr_xai.data.pools` chooses which ids are in a pool.
"""

import bisect
import functools
import logging
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from inr_xai.errors import RunFault, Unreachable, UserError, error_text
from inr_xai.types import Image, Images, Preprocessing, Sample, SharesPhotos

DRAWS = 3  # photos with which one sample is scored
CACHED = 256  # photos of a pool; neighbouring samples are scored with the same ones
log = logging.getLogger(__name__)


@runtime_checkable
class Reader(Protocol):
    """What a pool needs of a data set."""

    def load(self, sample_id: str, preprocessing: Preprocessing) -> Sample:
        """Returns a sample of one of the pool's ids."""


class PhotoPool:
    """The photos of one pool. A photo is read on first use, and left out if it cannot be read, whatever the reason.

    If the data are out of reach, what asks for a photo raises Unreachable, and reads it anew the next time.

    Args:
        ids: the photos' ids in any order; run.json fixes them, so that no result depends on limit, batch or shard.
        reserve: ids that are used only if too few of `ids` can be read; a warning says so once.
        warns: False gives no such warning.
    """

    def __init__(
        self,
        ids: Sequence[str],
        data: Reader,
        preprocessing: Preprocessing,
        reserve: Sequence[str] = (),
        *,
        warns: bool = True,
    ):
        self.ids, self.reserve = sorted(ids), sorted(reserve)
        self._photo_of = data.photo_of if isinstance(data, SharesPhotos) else str
        self._warned = not warns

        @functools.lru_cache(maxsize=CACHED)
        def read(sample_id: str) -> Image | None:
            try:
                return data.load(sample_id, preprocessing).image
            except (RunFault, Unreachable):  # others in its place would change scores
                raise
            except Exception as error:  # a pool's photo that fails costs itself alone
                reason = str(error) if isinstance(error, UserError) else f"{sample_id!r} fails ({error_text(error)})"
                log.warning("left out of the pool of baselines: %s", reason)
                return None

        self._read = read

    def following(self, sample_id: str) -> Float[Tensor, "d c h w"]:
        """Returns the next three photos after `sample_id` in sorted order; the first photo follows the last.

        Raises UserError if fewer can be read.
        """
        start = bisect.bisect_right(self.ids, sample_id)
        photos: list[Image] = []
        for other in [*self.ids[start:], *self.ids[:start], *self.reserve]:
            photo = None if self._photo_of(other) == self._photo_of(sample_id) else self._read(other)
            if photo is not None:
                self._warn_of_reserve(other, f"{len(photos)} readable photos beside {sample_id!r}", DRAWS - len(photos))
                photos.append(photo)
            if len(photos) == DRAWS:
                return torch.stack(photos)
        raise UserError(
            f"the pool of baselines has {len(photos)} readable photos beside {sample_id!r} and needs {DRAWS}; "
            "add images to data.root"
        )

    def all(self) -> Images:
        """Returns all photos that can be read, with the reserve if they are few. Raises UserError if there are none."""
        return self._all

    @functools.cached_property
    def _all(self) -> Images:
        photos = [photo for photo in map(self._read, self.ids) if photo is not None]
        if len(photos) <= DRAWS and self.reserve:
            self._warn_of_reserve(self.reserve[0], f"{len(photos)} readable photos", len(self.reserve))
            photos += [photo for photo in map(self._read, self.reserve) if photo is not None]
        if not photos:
            raise UserError(
                f"none of the {len(self.ids)} photos of the pool of baselines can be read; add images to data.root"
            )
        return torch.stack(photos)

    def _warn_of_reserve(self, sample_id: str, present: str, count: int) -> None:
        """Says once that drawn scenes of the reserve stand in for photos: how many, and why."""
        if sample_id in self.reserve and not self._warned:
            self._warned = True
            log.warning(
                "the pool of baselines has %s, so %d drawn scenes stand in for photos, which changes scores; add "
                "images to data.root to avoid it",
                present,
                count,
            )

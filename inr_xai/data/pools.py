"""Which photos replace pixels: a pool of ids for scoring and a disjoint one for fitting, chosen by the ids alone.

`inr_xai.data.photo_pool` reads the photos of a pool. Images of the synthetic set complete the pools of small folders.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

from inr_xai.data.scenes.synthetic import Synthetic
from inr_xai.types import Preprocessing, Sample

POOL_SIZE = 64
RESERVE = 4  # a sample is scored with three photos; one more, in case the sample is one of them
PREFIX = "synthetic:"
SIDE = 96  # pixels of the smallest image that the synthetic set draws
log = logging.getLogger(__name__)


def split_pools(ids: Sequence[str], size: int = POOL_SIZE) -> tuple[list[str], list[str]]:
    """Returns scoring and donor ids, evenly spaced over the sorted `ids`, at most `size` of each.

    If a pool is not full, a few images of the synthetic set are added, for folders with few or many broken photos.

    >>> split_pools([f"{i:02}" for i in range(20)], size=4)
    (['00', '05', '10', '15'], ['02', '07', '12', '17'])
    """
    ordered = sorted(ids)
    count = min(2 * size, len(ordered))
    spaced = [ordered[position * len(ordered) // count] for position in range(count)]
    scoring, donors = spaced[0::2], spaced[1::2]
    if count < 2 * size:
        synthetic = synthetic_set()
        scoring += [PREFIX + name for name in synthetic.scoring_ids[:RESERVE]]
        donors += [PREFIX + name for name in synthetic.donor_ids[:RESERVE]]
        log.debug("%d images may be too few for baselines of other photos; synthetic images are added", len(ordered))
    return scoring, donors


def is_synthetic(sample_id: str) -> bool:
    """Returns whether the id is that of a synthetic image in a pool."""
    return sample_id.startswith(PREFIX)


def load_synthetic(sample_id: str, preprocessing: Preprocessing) -> Sample:
    """Returns a synthetic image under its id in a pool, without a label."""
    sample = synthetic_set(max(SIDE, *preprocessing.size)).load(sample_id.removeprefix(PREFIX), preprocessing)
    return replace(sample, sample_id=sample_id, target=None)


@cache
def synthetic_set(side: int = SIDE) -> Synthetic:
    """Returns the synthetic set that completes pools, drawn at `side` pixels; its ids do not depend on the size."""
    return Synthetic(image_size=side)

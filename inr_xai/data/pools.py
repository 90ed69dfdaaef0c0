"""Photos that serve as baselines: a pool for scoring and a disjoint one for fitting, fixed by the list of ids alone."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

from inr_xai.data.scenes.synthetic import Synthetic
from inr_xai.types import Preprocessing, Sample

POOL_SIZE = 64
RESERVE = 4  # a sample is scored against three photos; one more, in case it is itself one of them
PREFIX = "synthetic:"
SIDE = 96  # the least that the synthetic set draws, in pixels
log = logging.getLogger(__name__)


def split_pools(ids: Sequence[str], size: int = POOL_SIZE) -> tuple[list[str], list[str]]:
    """Scoring and donor ids, evenly spaced over the sorted `ids`, at most `size` each.

    Where a pool is not full, images of the synthetic set stand by, for folders of a few photos or many broken ones.

    >>> split_pools([f"{i:02}" for i in range(20)], size=4)
    (['00', '05', '10', '15'], ['02', '07', '12', '17'])
    """
    ordered = sorted(ids)
    taken = min(2 * size, len(ordered))
    picked = [ordered[position * len(ordered) // taken] for position in range(taken)]
    scoring, donors = picked[0::2], picked[1::2]
    if taken < 2 * size:
        synthetic = synthetic_set()
        scoring += [PREFIX + name for name in synthetic.scoring_ids[:RESERVE]]
        donors += [PREFIX + name for name in synthetic.donor_ids[:RESERVE]]
        log.debug("%d images may be too few for baselines of other photos; synthetic images stand by", len(ordered))
    return scoring, donors


def is_synthetic(sample_id: str) -> bool:
    """Whether the id names an image that completes a small folder's pools."""
    return sample_id.startswith(PREFIX)


def load_synthetic(sample_id: str, preprocessing: Preprocessing) -> Sample:
    """The synthetic image of a pool, under the id it has there."""
    drawn = synthetic_set(max(SIDE, *preprocessing.size)).load(sample_id.removeprefix(PREFIX), preprocessing)
    return replace(drawn, sample_id=sample_id, target=None)


@cache
def synthetic_set(side: int = SIDE) -> Synthetic:
    """The synthetic set that completes pools, drawn at `side` pixels; its ids are the same at every size."""
    return Synthetic(image_size=side)

"""docs/any_score.md: its Python is run, and every mask finds the part that the score is about."""

import pytest
import torch

from inr_xai.masks import hard_masks
from inr_xai.seeding import generator
from tests.helpers.pages import BLOCKS

RED, BLUE = (slice(2, 8), slice(2, 8)), (slice(14, 20), slice(14, 20))


@pytest.fixture(scope="module")
def names() -> dict[str, object]:
    """What the page's blocks define, run one after another."""
    blocks = [block.code for block in BLOCKS if block.page == "docs/any_score.md"]
    assert len(blocks) == 5
    defined: dict[str, object] = {}
    for block in blocks:
        exec(block, defined)
    return defined


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "part", "least"),
    [("segmentation", RED, 0.9), ("detection", BLUE, 0.6), ("retrieval", BLUE, 0.9), ("regression", RED, 0.9)],
)
def test_the_masks_of_the_page_find_what_the_score_is_about(
    names: dict[str, object], name: str, part: tuple[slice, slice], least: float
) -> None:
    masks = names[name]
    assert isinstance(masks, torch.Tensor)
    hard = hard_masks(masks[:, 0], torch.tensor([0.06], dtype=torch.float64), generators=[generator(0, "ties")])
    # A mask of random pixels would have 36 / 576 = 0.06 of its pixels in the part.
    assert float(hard[0, 0][part].sum() / hard.sum()) > least

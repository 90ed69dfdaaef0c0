"""A figure of an image: as many pictures as it should have, with regions and object where they are."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from inr_xai.audit.figure import draw_audit
from inr_xai.audit.report import ImageReport
from inr_xai.audit.verdict import Thresholds, judge
from tests.helpers.games import Game, additive, named, read

REGIONS = torch.zeros(2, 24, 24, dtype=torch.bool)
REGIONS[0, 4:12, 4:12] = REGIONS[1, 14:20, 14:20] = True
TRUTH = torch.zeros(24, 24, dtype=torch.bool)
TRUTH[:12, :12] = True


def drawn(game: Game, truth: torch.Tensor | None) -> np.ndarray:
    places = {} if truth is None else {"on_object": [1.0, 0.0, 0.2], "object_share": 0.25}
    reading = read(game, **places)  # type: ignore[arg-type]
    verdict = judge(reading, control=0, thresholds=Thresholds())
    one = ImageReport("one", 0, "$disc", "round", reading, verdict, [0.1, 0.1])
    data = draw_audit(one, torch.full((3, 24, 24), 0.9), REGIONS, truth=truth, cell=1.0)
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize(("truth", "pictures"), [(None, 3), (TRUTH, 5)])
def test_a_picture_for_the_image_each_explanation_and_where_known_object_and_context(
    truth: torch.Tensor | None, pictures: int
) -> None:
    found = drawn(additive(0.5, 0.3, 0.2), truth)
    assert found.shape == (200, 100 * pictures, 3)
    colours = {tuple(colour) for colour in found.reshape(-1, 3).tolist()}
    assert {(255, 212, 0), (0, 213, 255)} <= colours  # the contours of explanations 1 and 2
    bright = (abs(found.astype(int) - 230) <= 1).all(2)  # what is kept of a grey of 0.9
    kept = [bright[:, 100 * place : 100 * (place + 1)].sum() for place in range(pictures)]
    assert kept[0] > 5 * kept[1] > 5 * kept[2] > 0
    if truth is not None:
        assert kept[3] == pytest.approx(kept[1], rel=0.3)
        assert kept[4] == pytest.approx(kept[2], rel=0.3)


@pytest.mark.parametrize("inside", [True, False])
def test_an_object_that_is_everywhere_or_nowhere_or_nothing_to_share(inside: bool) -> None:
    """Neither a line around the object nor a share of nothing is there to be drawn."""
    assert drawn(named(nothing=float(inside)), torch.full((24, 24), inside)).shape == (200, 500, 3)

"""The figure of an image has as many panels as it should have, with regions and object in their places."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from inr_xai.audit.figure import draw_audit
from inr_xai.audit.report import ImageReport
from inr_xai.audit.verdict import Thresholds, judge
from tests.helpers.games import ValueFunction, additive, estimates_of, two_regions

REGIONS = torch.zeros(2, 24, 24, dtype=torch.bool)
REGIONS[0, 4:12, 4:12] = REGIONS[1, 14:20, 14:20] = True
TRUTH = torch.zeros(24, 24, dtype=torch.bool)
TRUTH[:12, :12] = True


def drawn(game: ValueFunction, truth: torch.Tensor | None) -> np.ndarray:
    """Returns the pixels of a figure whose panels are 200 pixels wide."""
    places = {} if truth is None else {"on_object": [1.0, 0.0, 0.2], "object_share": 0.25}
    estimates = estimates_of(game, **places)  # type: ignore[arg-type]
    verdict = judge(estimates, control=0, thresholds=Thresholds())
    report = ImageReport("one", 0, "$disc", "round", estimates, verdict, [0.1, 0.1])
    data = draw_audit(report, torch.full((3, 24, 24), 0.9), REGIONS, truth=truth, width=1.0)
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize(("truth", "panels"), [(None, 3), (TRUTH, 5)])
@pytest.mark.slow
def test_panels_show_the_image_each_explanation_and_if_known_object_and_context(
    truth: torch.Tensor | None, panels: int
) -> None:
    pixels = drawn(additive(0.5, 0.3, 0.2), truth)
    assert pixels.shape == (400, 200 * panels, 3)
    colours = {tuple(colour) for colour in pixels.reshape(-1, 3).tolist()}
    assert {(221, 119, 0), (0, 153, 238)} <= colours  # the contours of explanations 1 and 2
    bright = (abs(pixels.astype(int) - 230) <= 1).all(2)  # what is kept of a grey of 0.9
    counts = [bright[:, 200 * place : 200 * (place + 1)].sum() for place in range(panels)]
    assert counts[0] > 5 * counts[1] > 5 * counts[2] > 0
    if truth is not None:
        assert counts[3] == pytest.approx(counts[1], rel=0.3)
        assert counts[4] == pytest.approx(counts[2], rel=0.3)


@pytest.mark.parametrize("inside", [True, False])
def test_a_figure_without_an_outline_or_without_shares(inside: bool) -> None:
    """An object that is everywhere or nowhere has no outline, and a difference of 0 has no shares."""
    assert drawn(two_regions(nothing=float(inside)), torch.full((24, 24), inside)).shape == (400, 1000, 3)

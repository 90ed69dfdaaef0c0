"""What shines through the mask while it is fitted."""

import pytest
import torch

from inr_xai.errors import UserError
from inr_xai.perturbation import Reveal


@pytest.mark.parametrize(("progress", "share"), [(0.0, 0.6), (0.2, 0.3), (0.4, 0.0), (1.0, 0.0)])
def test_share_falls_linearly_to_nothing(progress: float, share: float) -> None:
    masks = torch.rand(2, 3, 4, 4, dtype=torch.float64)
    seen = Reveal(0.6, until=0.4)(masks, progress=progress)
    torch.testing.assert_close(seen, 1 - (1 - masks) * (1 - share), rtol=0, atol=1e-15)


def test_nothing_is_touched_where_it_is_off_or_over() -> None:
    masks = torch.rand(1, 1, 4, 4)
    assert Reveal(0.0)(masks, progress=0.0) is masks
    assert Reveal()(masks, progress=1.0) is masks


@pytest.mark.parametrize("options", [{"start": 1.0}, {"start": -0.1}, {"until": 0.0}, {"until": 1.1}])
def test_bad_course_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(UserError, match="reveal needs start in"):
        Reveal(**options)

"""The states of torchmetrics classes: ratios of sums, and means that refuse NaN and infinity."""

import pytest
import torch

from inr_xai import metrics


@pytest.mark.parametrize(("metric", "better"), [(metrics.PreservationRatio, True), (metrics.DeletionRatio, False)])
def test_ratio_classes_divide_means(metric, better: bool) -> None:
    first, second = metric(), metric()
    first.update(torch.tensor([0.1], dtype=torch.float16), torch.tensor([0.2], dtype=torch.float16))
    second.update(torch.tensor([0.3, 0.002]), torch.tensor([0.9, 0.001]))
    first.merge_state(second)
    assert float(first.compute()) == pytest.approx(0.402 / 1.101, abs=1e-4)  # the mean of ratios is 0.94
    assert metric.higher_is_better is better
    for bad in (torch.nan, torch.inf):
        for pair in ((bad, 0.5), (0.5, bad)):
            with pytest.raises(ValueError, match="NaN or infinity"):
                first.update(*map(torch.tensor, [[value] for value in pair]))


def test_a_mean_takes_no_infinity() -> None:
    mean = metrics.MaxSensitivity()
    for bad in (torch.inf, -torch.inf, torch.nan):
        with pytest.raises(ValueError, match="NaN or infinity"):
            mean.update(torch.tensor([0.5, bad]))
    mean.update(torch.tensor([0.5]))
    assert float(mean.compute()) == 0.5

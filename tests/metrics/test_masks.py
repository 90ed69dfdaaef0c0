"""The torchmetrics classes of the geometry of masks."""

import pytest
import torch

from inr_xai import metrics
from tests.helpers import reference
from tests.helpers.metric_inputs import tied_masks

AREAS = (0.05, 0.3, 0.5)


@pytest.mark.parametrize(
    ("metric", "function"),
    [
        (metrics.AreaError, metrics.area_error),
        (metrics.Grayness, lambda masks, areas: metrics.grayness(masks)),
        (metrics.RankViolation, metrics.rank_violation),
        (metrics.ShareAboveHalf, metrics.share_above_half),
        (metrics.NestingViolation, metrics.nesting_violation),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_classes_are_means_over_all_processes(metric, function, dtype: torch.dtype) -> None:
    masks, areas = tied_masks().to(dtype), torch.tensor(AREAS)
    arguments = (lambda part: (part,)) if metric is metrics.Grayness else (lambda part: (part, areas))
    first, second = metric(), metric()
    first.update(*arguments(masks[:1]))
    second.update(*arguments(masks[1:]))
    first.merge_state(second)
    assert float(first.compute()) == pytest.approx(float(function(masks, areas).mean()), abs=1e-6)
    assert not metric.higher_is_better
    with pytest.raises(ValueError, match="NaN"):
        first.update(*arguments(torch.full_like(masks, torch.nan)))


def test_overlap_class_is_the_mean_over_pairs_of_different_explanations() -> None:
    hard = torch.rand(2, 3, 2, 6, 5, generator=torch.Generator().manual_seed(2)) < 0.4
    first, second = metrics.Overlap(), metrics.Overlap()
    first.update(hard[:1])
    second.update(hard[1:])
    second.update(hard[:, :1])  # one explanation alone: no pair
    first.merge_state(second)
    expected = [
        reference.intersection_over_union(image[i, area].numpy(), image[j, area].numpy())
        for image in hard
        for area in range(2)
        for i, j in ((0, 1), (0, 2), (1, 2))
    ]
    assert float(first.compute()) == pytest.approx(sum(expected) / len(expected), abs=1e-6)
    assert not metrics.Overlap.higher_is_better

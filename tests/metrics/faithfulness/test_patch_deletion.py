"""Single deletion: against loops and SciPy, and for models and maps whose answer is known."""

import pytest
import scipy.stats
import torch

from inr_xai.metrics.faithfulness.patch_deletion import SingleDeletion, single_deletion
from inr_xai.metrics.inputs import logit_score
from tests.conftest import tiny_classifier
from tests.helpers.metric_inputs import TARGETS, distinct_maps, photos, score, score_alone, tied_maps

GREY = torch.tensor([0.5, 0.4, 0.3], dtype=torch.float64).reshape(1, 3, 1, 1).expand(3, -1, 24, 24)
CORNERS = torch.tensor([[1.0, 2.0], [3.0, 4.0]])


@pytest.mark.parametrize("maps", [distinct_maps(), tied_maps()], ids=["distinct", "tied"])
@pytest.mark.parametrize(("cells", "width"), [(4, 24), (5, 24), (4, 22)])  # patches of one size, and of two
def test_values_against_loops(maps: torch.Tensor, cells: int, width: int) -> None:
    images, maps, grey = photos()[..., :width], maps[..., :width], GREY[..., :width]
    result = single_deletion(score, images, TARGETS, maps, baseline=grey, cells=cells)
    for i in range(3):
        target = int(TARGETS[i])
        patches: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for row in range(24):
            for column in range(width):
                # the last patch that begins at or before the pixel
                at = [max(j for j in range(cells) if j * n // cells <= p) for p, n in ((row, 24), (column, width))]
                patches.setdefault((at[0], at[1]), []).append((row, column))
        assert len(patches) == cells**2
        sums, costs = [], []
        for pixels in patches.values():
            deleted = images[i].clone()
            for row, column in pixels:
                deleted[:, row, column] = grey[i, :, row, column]
            sums.append(sum(float(maps[i, row, column]) for row, column in pixels))
            costs.append(score_alone(images[i], target) - score_alone(deleted, target))
        assert float(result[i]) == pytest.approx(scipy.stats.spearmanr(sums, costs).statistic, abs=1e-9)


def test_only_the_order_of_patches_counts() -> None:
    def corners(images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return images[:, 0, :: images.shape[2] - 1, :: images.shape[3] - 1].mul(CORNERS).sum((1, 2))

    white, black = torch.ones(4, 1, 8, 8), torch.zeros(4, 1, 8, 8)
    maps = torch.zeros(4, 8, 8)
    maps[:, ::7, ::7] = torch.stack([CORNERS, CORNERS**3 - 70, -CORNERS, torch.ones(2, 2)])
    result = single_deletion(corners, white, torch.zeros(4).long(), maps, baseline=black, cells=2)
    assert result[:3].tolist() == [1, 1, -1]
    assert result[3].isnan()


def test_the_logit_is_what_costs() -> None:
    classifier, images = tiny_classifier(), photos().float()
    logit = logit_score(classifier, batch_size=2)
    with torch.no_grad(), classifier.frozen():
        expected = classifier(images)[torch.arange(3), TARGETS]
    torch.testing.assert_close(logit(images, TARGETS), expected)
    value = single_deletion(logit, images, TARGETS, distinct_maps(), baseline=GREY.float())
    alone = [
        single_deletion(logit, images[[i]], TARGETS[[i]], distinct_maps()[[i]], baseline=GREY[[i]].float())
        for i in range(3)
    ]
    torch.testing.assert_close(value, torch.cat(alone))


def test_bad_options_are_one_sentence() -> None:
    for cells in (1, 25):
        with pytest.raises(ValueError, match=f"expected 2 to 24 cells a side, got cells={cells}"):
            single_deletion(score, photos(), TARGETS, distinct_maps(), baseline=GREY, cells=cells)
    with pytest.raises(ValueError, match="NaN or infinity"):
        single_deletion(score, photos(), TARGETS, distinct_maps() / 0, baseline=GREY)


def test_the_class_is_a_mean_over_all_processes() -> None:
    first, second = SingleDeletion(), SingleDeletion()
    first.update(torch.tensor([-0.5]))
    second.update(torch.tensor([0.5, 0.75]))
    first.merge_state(second)
    assert float(first.compute()) == 0.25
    assert SingleDeletion.higher_is_better

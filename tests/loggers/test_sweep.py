"""The interval of a job's metric, from the rows of its per_image.csv."""

from pathlib import Path

import numpy as np
import pytest

from inr_xai.loggers.sweep import metric_interval

ROWS = """sample_id,explanation,area,preservation_hard_mean,p_full,text
a,1,0.1,0.1,0.5,x
a,1,0.2,0.3,0.5,x
a,2,0.1,0.9,0.5,x
b,1,0.1,0.4,1.0,x
b,1,0.2,0.6,1.0,x
c,1,0.1,0.5,0.75,x
c,1,0.2,0.5,0.75,x
"""
PRESERVED, WHOLE = np.array([0.2, 0.5, 0.5]), np.array([0.5, 1.0, 0.75])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "per_image.csv").write_text(ROWS)
    return tmp_path / "per_image.csv"


def test_the_value_is_that_of_the_summary_and_the_ends_are_those_of_all_resamples(file: Path) -> None:
    interval = metric_interval(file, "preservation_hard_mean_rel/k1")
    assert interval is not None
    assert interval.value == pytest.approx(PRESERVED.mean() / WHOLE.mean())
    # Three images have 27 equally likely resamples: the interval ends are two of their ratios.
    places = np.array(np.meshgrid(*[range(3)] * 3)).reshape(3, -1).T
    ratios = PRESERVED[places].mean(1) / WHOLE[places].mean(1)
    assert interval.low == pytest.approx(ratios.min())
    assert interval.high == pytest.approx(ratios.max())


def test_means_and_areas(file: Path) -> None:
    for metric, value in {"preservation_hard_mean/k1": 0.4, "preservation_hard_mean/k1/a0.2": 1.4 / 3}.items():
        interval = metric_interval(file, metric)
        assert interval is not None
        assert interval.value == pytest.approx(value)


@pytest.mark.parametrize("metric", ["seconds_per_image", "none/k1", "preservation_hard_mean/k3", "explanations/mean"])
def test_what_is_no_mean_of_scores_has_no_interval(file: Path, metric: str) -> None:
    assert metric_interval(file, metric) is None
    assert metric_interval(file.with_name("other.csv"), "preservation_hard_mean/k1") is None

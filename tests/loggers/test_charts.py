"""The points of W&B's charts, from made-up files."""

from pathlib import Path

import pytest

from inr_xai.loggers.charts import MOST_POINTS, lines_against_area, lines_of_losses, thinned


def test_scores_against_area_are_those_of_the_summary() -> None:
    summary = {"p_full/k1": 0.9, "chance_rel/k1/a0.1": 0.25, "chance_rel/k1/a0.2": 0.5, "chance_rel/k1": 0.375}
    summary |= {"deletion_hard_mean_rel/k1/a0.2": 0.75}
    assert lines_against_area(summary, [0.2, 0.1]) == [
        [0.1, 0.25, "chance 1", "chance", 1],
        [0.2, 0.5, "chance 1", "chance", 1],
        [0.2, 0.75, "deletion 1", "deletion", 1],
    ]


def test_losses_are_means_over_images_at_each_step_of_a_fit(tmp_path: Path) -> None:
    file = tmp_path / "curves.csv"
    lines = ["steps_done,explanation,step,loss,images", "0,1,0,4.0,3", "1,1,1,2.0,3", "2,2,0,7.0,1", "3,1,0,8.0,1"]
    file.write_text("\n".join(lines) + "\n")
    assert lines_of_losses(file) == [
        [0, 5.0, "explanation 1"],
        [1, 2.0, "explanation 1"],
        [0, 7.0, "explanation 2"],
    ]
    assert lines_of_losses(tmp_path / "none.csv") == []


def test_a_long_line_is_thinned_with_both_ends(tmp_path: Path) -> None:
    file = tmp_path / "curves.csv"
    header = "steps_done,explanation,step,loss,images\n"
    file.write_text(header + "".join(f"{step},1,{step},{step},1\n" for step in range(1600)))
    steps = [point[0] for point in lines_of_losses(file)]
    assert (len(steps), steps[0], steps[-1]) == (MOST_POINTS, 0, 1599)
    assert steps == sorted(set(steps))


@pytest.mark.parametrize("count", [0, 1, 5, 6])
def test_a_short_line_stays(count: int) -> None:
    assert thinned(range(count), 6) == list(range(count))

"""Summaries of rows: ratios of means, means over areas, rows read back from a CSV, the printed table."""

import csv
import io
import math

import pytest

from inr_xai.scoring import format_table, summarise


def rows() -> list[dict[str, object]]:
    """Returns rows of two images, two explanations and two areas; p_full of the second image is small."""
    table = []
    for sample_id, full in (("a", 0.8), ("b", 0.01)):
        for explanation in (1, 2):
            for area in (0.05, 0.2):
                preserved = full * area * 2 / explanation + (0.02 if sample_id == "b" else 0)
                table.append(
                    {
                        "sample_id": sample_id,
                        "explanation": explanation,
                        "area": area,
                        "target": 7,
                        "area_error": area / 10,
                        "grayness": 0.125,
                        "preservation_hard_mean": preserved,
                        "deletion_hard_mean": full - preserved,
                        "p_full": full,
                        "chance": full / 5,
                        "union_hard_mean": preserved * explanation,
                        "remaining_hard_mean": full / 4 / explanation,
                        "class_name": "cat",
                    }
                )
    return table


def test_relative_columns_are_ratios_of_means() -> None:
    summary = summarise(rows())
    of_a, of_b = 0.8 * 0.1, 0.01 * 0.1 + 0.02
    assert summary["preservation_hard_mean/k1/a0.05"] == pytest.approx((of_a + of_b) / 2)
    assert summary["preservation_hard_mean_rel/k1/a0.05"] == pytest.approx((of_a + of_b) / 0.81)
    mean_of_ratios = (of_a / 0.8 + of_b / 0.01) / 2
    assert mean_of_ratios > 5 * summary["preservation_hard_mean_rel/k1/a0.05"]
    assert summary["chance_rel/k2/a0.2"] == pytest.approx(0.2)
    assert summary["p_full/k1"] == pytest.approx(0.405)


def test_means_over_areas_and_what_is_no_score() -> None:
    summary = summarise(rows())
    for name in ("area_error", "deletion_hard_mean", "deletion_hard_mean_rel", "preservation_hard_mean_rel"):
        for k in (1, 2):
            expected = (summary[f"{name}/k{k}/a0.05"] + summary[f"{name}/k{k}/a0.2"]) / 2
            assert summary[f"{name}/k{k}"] == pytest.approx(expected, abs=1e-15)
    assert summary["images"] == 2
    names = {key.split("/")[0] for key in summary} - {"images", "explanations"}
    games = {f"{game}_hard_mean" for game in ("preservation", "deletion", "union", "remaining")}
    columns = {"area_error", "grayness", "p_full", "chance"} | games
    assert names == columns | {f"{game}_rel" for game in games} | {"chance_rel"}


def test_rows_from_a_csv_give_the_same_in_any_order() -> None:
    file = io.StringIO()
    writer = csv.DictWriter(file, fieldnames=list(rows()[0]))
    writer.writeheader()
    writer.writerows(reversed(rows()))
    file.seek(0)
    assert summarise(csv.DictReader(file)) == summarise(rows())


def test_empty_cells_do_not_enter_and_nan_is_not_hidden() -> None:
    table = rows()
    table[0]["preservation_hard_mean"] = ""
    del table[1]["deletion_hard_mean"]
    table[2]["chance"] = math.nan
    summary = summarise(table)
    of_b = 0.01 * 0.1 + 0.02
    assert summary["preservation_hard_mean/k1/a0.05"] == pytest.approx(of_b)
    assert summary["preservation_hard_mean_rel/k1/a0.05"] == pytest.approx(of_b / 0.01)
    assert summary["deletion_hard_mean/k1/a0.2"] == pytest.approx(0.01 - (0.01 * 0.4 + 0.02))
    assert math.isnan(summary["chance/k2/a0.05"])
    assert summary["chance/k1/a0.05"] == pytest.approx(0.081)


def test_no_rows_and_a_probability_of_zero() -> None:
    assert summarise([]) == {"images": 0}
    table = [row | {"p_full": 0.0} for row in rows()]
    assert math.isnan(summarise(table)["chance_rel/k1"])


def test_table() -> None:
    expected = """
explanation  area  area error  grayness  preservation  of p_full  chance  deletion  union  remaining
          1  0.05       0.005     0.125         0.051      0.125   0.081     0.354  0.051      0.101
          1   0.2       0.020     0.125         0.172      0.425   0.081     0.233  0.172      0.101
          1  mean       0.013     0.125         0.111      0.275   0.081     0.294  0.111      0.101
          2  0.05       0.005     0.125         0.030      0.075   0.081     0.375  0.061      0.051
          2   0.2       0.020     0.125         0.091      0.225   0.081     0.314  0.182      0.051
          2  mean       0.013     0.125         0.061      0.150   0.081     0.344  0.121      0.051
          3  0.05           -         -             -          -       -         -      -          -
          3   0.2           -         -             -          -       -         -      -          -
          3  mean           -         -             -          -       -         -      -          -
"""
    assert format_table(summarise(rows()), [0.2, 0.05], 3) == expected.strip("\n")


def test_a_table_of_one_explanation_has_no_union() -> None:
    expected = """
explanation  area  area error  grayness  preservation  of p_full  chance  deletion
          1   0.2       0.020     0.125         0.172      0.425   0.081     0.233
          1  mean       0.013     0.125         0.111      0.275   0.081     0.294
"""
    assert format_table(summarise(rows()), [0.2], 1) == expected.strip("\n")


def test_images_with_different_numbers_of_explanations() -> None:
    unequal = [row for row in rows() if (row["sample_id"], row["explanation"]) != ("b", 2)]
    summary = summarise(unequal)
    assert (summary["images"], summary["images/k1"], summary["images/k2"]) == (2, 2, 1)
    assert summary["explanations/mean"] == 1.5
    assert summary["p_full/k2"] == 0.8
    assert summary["chance_rel/k2/a0.2"] == pytest.approx(0.2)
    expected = """
explanation  images  area  area error  grayness  preservation  of p_full  chance  deletion  union  remaining
          1       2   0.2       0.020     0.125         0.172      0.425   0.081     0.233  0.172      0.101
          1       2  mean       0.013     0.125         0.111      0.275   0.081     0.294  0.111      0.101
          2       1   0.2       0.020     0.125         0.160      0.200   0.160     0.640  0.320      0.100
          2       1  mean       0.013     0.125         0.100      0.125   0.160     0.700  0.200      0.100
"""
    assert format_table(summary, [0.2], 2) == expected.strip("\n")

"""The tables, from made-up rows whose answers are known."""

import math
from pathlib import Path

import pytest
import torch

from inr_xai.compare.store import RowStore
from inr_xai.compare.tables import (
    ScoredPhotos,
    common_photos,
    control_table,
    curve_table,
    load_scores,
    methods_table,
    second_table,
)
from inr_xai.errors import UserError
from inr_xai.metrics.statistics.bootstrap import paired_difference, ratio_of_means, sign_flip_p_value
from inr_xai.types import Row
from tests.helpers.comparison import made_up_rows


def double(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_relative_values_are_ratios_of_means() -> None:
    scored = ScoredPhotos({"a": made_up_rows(0.9, [0.2, 0.6]), "b": made_up_rows(0.1, [0.1, 0.3])})
    (row,) = methods_table({"m": scored})
    expected = ratio_of_means(double(0.4, 0.2), double(0.9, 0.1))
    assert row["preservation"] == pytest.approx(0.6)  # (0.4 + 0.2) / (0.9 + 0.1)
    assert (row["preservation_low"], row["preservation_high"]) == pytest.approx((expected.low, expected.high))
    assert row["preservation_a0.1"] == pytest.approx(0.3)
    assert row["preservation_a0.3"] == pytest.approx(0.9)
    assert (row["photos"], row["failed"]) == (2, 0)


def test_unseen_is_noise_and_photo() -> None:
    others = {"preservation_hard_noise": 0.1, "preservation_hard_photo": 0.3}
    (row,) = methods_table({"m": ScoredPhotos({"a": made_up_rows(0.5, [0.4, 0.4], **others)})})
    assert row["preservation_unseen"] == pytest.approx(0.4)
    assert row["preservation_noise"] == pytest.approx(0.2)
    assert math.isnan(row["preservation_low"])  # one photo


def test_deletion_and_costs_are_plain_means() -> None:
    photos = {
        name: made_up_rows(0.5, [0, 0], deletion_hard_mean=value, seconds=2 * value)
        for name, value in (("a", 0.1), ("b", 0.3))
    }
    (row,) = methods_table({"m": ScoredPhotos(photos)})
    assert (row["deletion"], row["deletion_relative"], row["seconds"]) == pytest.approx((0.2, 0.4, 0.4))


def test_methods_are_ordered_by_preservation_and_leave_out_those_of_other_tables() -> None:
    names = ("low", "high", "high@wrong", "inr_second", "inr_passes_50")
    methods = {
        name: ScoredPhotos({"a": made_up_rows(1, [0.9, 0.9] if name == "high" else [0.1, 0.1])}) for name in names
    }
    assert [row["method"] for row in methods_table(methods)] == ["high", "low"]


def test_common_photos() -> None:
    few = ScoredPhotos({"a": made_up_rows(1, [0.5, 0.5])})
    many = ScoredPhotos({"a": made_up_rows(1, [0.2, 0.2]), "b": made_up_rows(1, [0.8, 0.8])})
    rows = methods_table(common_photos({"few": few, "many": many}, "few"))
    assert [(row["method"], row["photos"], row["preservation"]) for row in rows] == [
        ("few", 1, pytest.approx(0.5)),
        ("many", 1, pytest.approx(0.2)),
    ]
    with pytest.raises(UserError, match="--common=none has no scored photos; choose one of few"):
        common_photos({"few": few}, "none")


def test_stability_under_seeds_stands_beside_the_method_if_it_draws_random_numbers() -> None:
    photo = {"a": made_up_rows(1, [0.5, 0.5])}
    seeds = made_up_rows(1, [0.5, 0.5])
    seeds[0]["seed_iou"], seeds[1]["seed_iou"] = 0.4, 0.8
    methods = {
        "inr": ScoredPhotos(photo),
        "inr_seed1": ScoredPhotos({"a": seeds}),
        "torchray": ScoredPhotos(photo),
        "odd": ScoredPhotos(photo),
    }
    rows = {row["method"]: row for row in methods_table(methods)}
    assert rows["inr"]["seed_iou"] == pytest.approx(0.6)
    assert (rows["inr"]["seed_iou_a0.1"], rows["inr"]["seed_iou_a0.3"]) == (0.4, 0.8)
    assert rows["torchray"]["seed_iou"] == "no random number"
    assert math.isnan(rows["odd"]["seed_iou"])


def test_the_control_is_the_excess_on_the_same_photos() -> None:
    def reached(noise: float, photo: float) -> list[Row]:
        return made_up_rows(1, [0, 0], preservation_hard_noise=noise, preservation_hard_photo=photo)

    true = ScoredPhotos({"a": reached(0.5, 0.7), "b": reached(0.3, 0.3), "c": reached(1, 1)})
    wrong = ScoredPhotos({"a": reached(0.1, 0.1), "b": reached(0.0, 0.2)})
    (row,) = control_table({"m": true, "m@wrong": wrong, "alone@wrong": wrong})
    assert (row["method"], row["photos"]) == ("m", 2)
    assert (row["true_noise"], row["wrong_noise"]) == pytest.approx((0.4, 0.05))
    assert (row["true_photo"], row["wrong_photo"]) == pytest.approx((0.5, 0.15))
    excess = paired_difference(double(0.6, 0.3), double(0.1, 0.1))
    assert (row["excess"], row["excess_low"], row["excess_high"]) == pytest.approx(tuple(excess))
    assert row["p_value"] == sign_flip_p_value(double(0.6, 0.3), double(0.1, 0.1)) == 0.5


def test_second_explanations_beside_others_in_their_region() -> None:
    ours = ScoredPhotos({"a": made_up_rows(1, [0.6, 0.6], shared_pixels=0.0), "b": made_up_rows(1, [0.2, 0.4])})
    other = ScoredPhotos({"a": made_up_rows(1, [0.1, 0.3])})
    first, second = second_table({"gradcam_second": other, "inr_second": ours, "inr": ours})
    assert (first["method"], first["preservation"]) == ("inr_second", pytest.approx(0.45))
    assert first["shared_pixels_most"] == 0
    assert math.isnan(first["ours_less_this"])
    assert (second["ours_less_this"], second["photos"]) == (pytest.approx(0.4), 1)


def test_the_curve_is_ordered_by_passes() -> None:
    methods = {
        f"inr_passes_{passes}": ScoredPhotos(
            {name: made_up_rows(1, [preservation] * 2, passes=float(passes)) for name in "ab"}
        )
        for passes, preservation in ((400, 0.5), (50, 0.2))
    }
    assert [(row["passes"], row["preservation"]) for row in curve_table(methods)] == [(50, 0.2), (400, 0.5)]


def test_failed_photos_are_counted_and_left_out(tmp_path: Path) -> None:
    rows = RowStore(tmp_path)
    rows.write("m", "a", [row | {"image_id": "a"} for row in made_up_rows(0.5, [0.25, 0.25])], settings="s")
    rows.fail("m", "b", "no map", settings="s")
    (row,) = methods_table(load_scores(rows))
    assert (row["photos"], row["failed"], row["preservation"]) == (1, 1, pytest.approx(0.5))
    with pytest.raises(UserError, match="holds no results"):
        load_scores(RowStore(tmp_path / "empty"))

"""The tables, from made-up rows whose answers are known."""

import math
from pathlib import Path

import pytest
import torch

from inr_xai.compare.report import markdown, tables, write_curve, write_tables
from inr_xai.compare.store import Rows
from inr_xai.compare.tables import Scored, common_photos, control_table, curve_table, load, methods_table, second_table
from inr_xai.errors import UserError
from inr_xai.metrics.statistics.bootstrap import paired_difference, ratio_of_means, sign_flip_p_value
from tests.helpers.comparison import made_up


def double(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_relative_figures_are_ratios_of_means() -> None:
    scored = Scored({"a": made_up(0.9, [0.2, 0.6]), "b": made_up(0.1, [0.1, 0.3])})
    (line,) = methods_table({"m": scored})
    wanted = ratio_of_means(double(0.4, 0.2), double(0.9, 0.1))
    assert line["preservation"] == pytest.approx(0.6)  # (0.4 + 0.2) / (0.9 + 0.1)
    assert (line["preservation_low"], line["preservation_high"]) == pytest.approx((wanted.low, wanted.high))
    assert line["preservation_a0.1"] == pytest.approx(0.3)
    assert line["preservation_a0.3"] == pytest.approx(0.9)
    assert (line["photos"], line["failed"]) == (2, 0)


def test_unseen_is_noise_and_photo() -> None:
    others = {f"preservation_hard_{name}": value for name, value in zip(("noise", "photo"), (0.1, 0.3), strict=True)}
    (line,) = methods_table({"m": Scored({"a": made_up(0.5, [0.4, 0.4], **others)})})
    assert line["preservation_unseen"] == pytest.approx(0.4)
    assert line["preservation_noise"] == pytest.approx(0.2)
    assert math.isnan(line["preservation_low"])  # one photo


def test_deletion_and_costs_are_plain_means() -> None:
    photos = {name: made_up(0.5, [0, 0], deletion_hard_mean=d, seconds=2 * d) for name, d in (("a", 0.1), ("b", 0.3))}
    (line,) = methods_table({"m": Scored(photos)})
    assert (line["deletion"], line["deletion_relative"], line["seconds"]) == pytest.approx((0.2, 0.4, 0.4))


def test_methods_are_ordered_by_preservation_and_other_tables_have_theirs() -> None:
    names = ("low", "high", "high@wrong", "inr_second", "inr_passes_50")
    results = {name: Scored({"a": made_up(1, [0.9, 0.9] if name == "high" else [0.1, 0.1])}) for name in names}
    assert [line["method"] for line in methods_table(results)] == ["high", "low"]
    assert sorted(tables(results)) == ["control", "curve", "methods", "second"]


def test_common_photos() -> None:
    few = Scored({"a": made_up(1, [0.5, 0.5])})
    many = Scored({"a": made_up(1, [0.2, 0.2]), "b": made_up(1, [0.8, 0.8])})
    lines = methods_table(common_photos({"few": few, "many": many}, "few"))
    assert [(line["method"], line["photos"], line["preservation"]) for line in lines] == [
        ("few", 1, pytest.approx(0.5)),
        ("many", 1, pytest.approx(0.2)),
    ]
    with pytest.raises(UserError, match="--common=none has no scored photos; choose one of few"):
        common_photos({"few": few}, "none")


def test_stability_stands_beside_the_method_and_not_where_there_is_no_random_number() -> None:
    photo = {"a": made_up(1, [0.5, 0.5])}
    seeds = made_up(1, [0.5, 0.5])
    seeds[0]["seed_iou"], seeds[1]["seed_iou"] = 0.4, 0.8
    lines = {
        line["method"]: line
        for line in methods_table(
            {"inr": Scored(photo), "inr_seed1": Scored({"a": seeds}), "torchray": Scored(photo), "odd": Scored(photo)}
        )
    }
    assert lines["inr"]["seed_iou"] == pytest.approx(0.6)
    assert (lines["inr"]["seed_iou_a0.1"], lines["inr"]["seed_iou_a0.3"]) == (0.4, 0.8)
    assert lines["torchray"]["seed_iou"] == "no random number"
    assert math.isnan(lines["odd"]["seed_iou"])


def test_the_control_is_the_excess_on_the_same_photos() -> None:
    def of(noise: float, photo: float) -> list[dict]:
        return made_up(1, [0, 0], preservation_hard_noise=noise, preservation_hard_photo=photo)

    true = Scored({"a": of(0.5, 0.7), "b": of(0.3, 0.3), "c": of(1, 1)})
    wrong = Scored({"a": of(0.1, 0.1), "b": of(0.0, 0.2)})
    (line,) = control_table({"m": true, "m@wrong": wrong, "alone@wrong": wrong})
    assert (line["method"], line["photos"]) == ("m", 2)
    assert (line["true_noise"], line["wrong_noise"]) == pytest.approx((0.4, 0.05))
    assert (line["true_photo"], line["wrong_photo"]) == pytest.approx((0.5, 0.15))
    excess = paired_difference(double(0.6, 0.3), double(0.1, 0.1))
    assert (line["excess"], line["excess_low"], line["excess_high"]) == pytest.approx(tuple(excess))
    assert line["p_value"] == sign_flip_p_value(double(0.6, 0.3), double(0.1, 0.1)) == 0.5


def test_second_explanations_beside_others_in_their_region() -> None:
    ours = Scored({"a": made_up(1, [0.6, 0.6], shared_pixels=0.0), "b": made_up(1, [0.2, 0.4])})
    theirs = Scored({"a": made_up(1, [0.1, 0.3])})
    first, second = second_table({"gradcam_second": theirs, "inr_second": ours, "inr": ours})
    assert (first["method"], first["preservation"], first["shared_pixels_most"]) == (
        "inr_second",
        pytest.approx(0.45),
        0,
    )
    assert math.isnan(first["ours_less_this"])
    assert (second["ours_less_this"], second["photos"]) == (pytest.approx(0.4), 1)


def test_the_curve_is_ordered_by_passes_and_drawn(tmp_path: Path) -> None:
    results = {
        f"inr_passes_{passes}": Scored({n: made_up(1, [kept, kept], passes=float(passes)) for n in "ab"})
        for passes, kept in ((400, 0.5), (50, 0.2))
    }
    assert [(line["passes"], line["preservation"]) for line in curve_table(results)] == [(50, 0.2), (400, 0.5)]
    results["gradcam"] = Scored({n: made_up(1, [0.3, 0.3], passes=1.0) for n in "ab"})
    assert write_curve(results, tmp_path) == [tmp_path / "curve.png"]
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert write_curve({"gradcam": results["gradcam"]}, tmp_path) == []


def test_failed_photos_are_counted_and_left_out(tmp_path: Path) -> None:
    rows = Rows(tmp_path)
    rows.write("m", "a", [row | {"image_id": "a"} for row in made_up(0.5, [0.25, 0.25])], settings="s")
    rows.fail("m", "b", "no map", settings="s")
    (line,) = methods_table(load(rows))
    assert (line["photos"], line["failed"], line["preservation"]) == (1, 1, pytest.approx(0.5))
    with pytest.raises(UserError, match="holds no results"):
        load(Rows(tmp_path / "empty"))


def test_tables_are_written_as_csv_and_markdown(tmp_path: Path) -> None:
    results = {"m": Scored({"a": made_up(0.5, [0.1, 0.2]), "b": made_up(0.5, [0.3, 0.2])})}
    text = write_tables(tables(results), tmp_path)
    assert text == (tmp_path / "methods.md").read_text()
    assert "| m | 2 | 0 | 0.400 [0.300, 0.500] |" in text
    header, line = (tmp_path / "methods.csv").read_text().splitlines()
    assert dict(zip(header.split(","), line.split(","), strict=True))["preservation_low"] == "0.3"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["methods.csv", "methods.md"]


def test_markdown_shows_a_dash_for_what_is_not_there() -> None:
    lines = [
        {"method": "a", "kept": math.nan},
        {"method": "b", "kept": 123.4, "word": "no"},
        {"method": "c", "kept": 12.34},
    ]
    assert markdown(lines).splitlines()[2:] == ["| a | - | - |", "| b | 123 | no |", "| c | 12.3 | - |"]

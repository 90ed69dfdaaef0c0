"""Rows and tables of reports made by hand; they leave out what is not known."""

import csv
from dataclasses import replace

import pytest

from inr_xai.audit.report import (
    ALL,
    FEWEST_IMAGES,
    NOTE,
    PARTS,
    GroupValue,
    ImageReport,
    flatten_groups,
    format_report,
    group_rows,
    image_row,
)
from inr_xai.audit.verdict import Thresholds, judge
from inr_xai.runs.files import format_csv
from tests.helpers.games import ValueFunction, additive, estimates_of, two_regions

ON_OBJECT = (0.9, 0.3, 0.1)


def make_report(
    name: str,
    *functions: ValueFunction,
    group: str = "round",
    marked: bool = True,
    control: float = 0.0,
    regions: int = 2,
) -> ImageReport:
    """Returns the report of an image of class 3; `marked` says whether its object is known."""
    places = {"on_object": ON_OBJECT[: regions + 1], "object_share": 0.1} if marked else {}
    estimates = estimates_of(*functions, regions=regions, **places)  # type: ignore[arg-type]
    verdict = judge(estimates, control=control, thresholds=Thresholds())
    return ImageReport(name, 3, "a | disc", group, estimates, verdict, [0.25, 0.125, 0.0625][:regions])


GAME = two_regions(nothing=0.1, first=0.5, second=0.4, union=0.7, rest=0.3, without_1=0.6, without_2=0.7, whole=0.9)
OTHER = two_regions(nothing=0.3, first=0.5, second=0.2, union=0.5, rest=0.1, without_1=0.4, without_2=0.9, whole=0.9)


def numbers(row: dict[str, object]) -> dict[str, float]:
    """Returns the cells that hold numbers as text."""
    return {name: float(value) for name, value in row.items() if isinstance(value, str) and value[-1].isdigit()}


def test_a_row_by_hand() -> None:
    """Values are means over the two baselines; the Shapley values are computed from the orders of the players."""
    row = image_row(make_report("one", GAME, OTHER))
    expected = {
        "p_full": 0.9,
        "p_nothing": 0.2,
        "alone_1": 0.5,
        "chance_1": 0.25,
        "without_1": 0.5,
        "union_1": 0.5,
        "remaining_1": 0.5,
        "on_object_1": 0.9,
        "alone_2": 0.3,
        "chance_2": 0.125,
        "without_2": 0.8,
        "union_2": 0.6,
        "remaining_2": 0.2,
        "on_object_2": 0.3,
        "joint": (0.6 - 0.2 + 0.9 - 0.2) / 2,
        # 1/3 alone, 1/6 after one of the others, 1/3 after both
        "shapley_1": (0.5 - 0.2) / 3 + (0.6 - 0.3 + 0.8 - 0.2) / 6 + (0.9 - 0.5) / 3,
        "shapley_2": (0.3 - 0.2) / 3 + (0.6 - 0.5 + 0.5 - 0.2) / 6 + (0.9 - 0.8) / 3,
        "shapley_rest": (0.2 - 0.2) / 3 + (0.8 - 0.5 + 0.5 - 0.3) / 6 + (0.9 - 0.6) / 3,
    }
    values = numbers(row)
    assert {name: values[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    assert values["concentration"] == pytest.approx(0.3 / 0.4, rel=1e-5)
    assert values["concentration_low"] == pytest.approx(0.4 / 0.6, rel=1e-5)
    assert values["concentration_high"] == pytest.approx(1.0, rel=1e-5)
    first, second = (0.5 - 0.2 + 0.9 - 0.5) / 2, (0.3 - 0.2 + 0.9 - 0.8) / 2  # the contributions
    assert values["object_evidence"] == pytest.approx((first * 0.8 + second * 0.2) / 0.9 / 0.9, rel=1e-5)
    on = expected["shapley_1"] * 0.9 + expected["shapley_2"] * 0.3
    assert values["shapley_on_object"] == pytest.approx(on / 0.7, rel=1e-5)
    assert values["shapley_beside"] == pytest.approx(
        (expected["shapley_1"] + expected["shapley_2"] - on) / 0.7, rel=1e-5
    )
    words = ("sample_id", "target", "class", "group", "explanations", "admitted", "evidence", "redundant", "where")
    assert [row[name] for name in words] == ["one", 3, "a | disc", "round", 2, 1, "distributed", 0, "both"]


def test_a_row_has_as_many_columns_as_explanations() -> None:
    row = image_row(make_report("one", additive(0.5, 0.5), regions=1))
    assert "alone_1" in row
    assert not [name for name in row if name.endswith("_2")]
    assert row["shapley_rest"] == "0.5"


def test_without_a_segmentation_nothing_is_said_of_the_object() -> None:
    """Only the note under the table says when it would be."""
    images = [make_report(f"{i}", GAME, marked=False) for i in range(FEWEST_IMAGES)]
    assert not [name for name in image_row(images[0]) if "object" in name or "beside" in name or "where" in name]
    rows = group_rows(images)
    text = format_report(images, rows, facts={"runs": 1}).replace(NOTE, "") + format_csv(flatten_groups(rows)[:1])
    for word in ("object", "context", "both", "where"):
        assert word not in text
    marked = [make_report(f"{i}", GAME) for i in range(FEWEST_IMAGES)]
    assert "object" in format_report(marked, group_rows(marked), facts={}).replace(NOTE, "")


def test_images_with_and_without_a_segmentation_in_one_report() -> None:
    images = [make_report("one", GAME), make_report("two", GAME, marked=False)]
    lines = tables(format_report(images, group_rows(images), facts={}))[1]
    assert [line[-2:] for line in lines] == [["where", "sure"], ["both", "1.00"], ["", ""]]


GROUPS = [
    *(make_report(f"a{i}", additive(0.9 - i / 20, 0.05, 0.05 + i / 20)) for i in range(FEWEST_IMAGES)),
    *(make_report(f"b{i}", GAME, group="pointed") for i in range(FEWEST_IMAGES - 1)),
    *(make_report(f"c{i}", GAME, group="large", control=0.9) for i in range(FEWEST_IMAGES + 1)),
]


def test_groups_are_summed_up_the_largest_first() -> None:
    """Values are means over the admitted images."""
    rows = {row["group"]: row for row in group_rows(GROUPS)}
    assert list(rows) == [ALL, "large", "round", "pointed"]
    assert [(row["images"], row["admitted"]) for row in rows.values()] == [(15, 9), (6, 0), (5, 5), (4, 4)]
    row = rows["round"]
    assert set(PARTS) <= set(row)
    assert row["explanation 1 alone"].value == pytest.approx(0.8)
    assert row["explanation 2 alone"] == pytest.approx((0.05, 0.05, 0.05, 5))
    assert row["all together"].value == pytest.approx(0.85)
    assert row["left without 1"].value == pytest.approx(0.2)
    assert row["left without all"].value == pytest.approx(0.15)
    assert row["evidence on the object"].value == pytest.approx((0.8 * 0.8 + 0.05 * 0.2) / 0.9)
    assert row["concentration"].value == pytest.approx(0.8 / 0.85)
    assert 0.7 < row["explanation 1 alone"].low < 0.8 < row["explanation 1 alone"].high < 0.9
    assert [row[kind] for kind in ("concentrated", "distributed", "spread", "redundant")] == [5, 0, 0, 0]
    assert [row[kind] for kind in ("object", "both", "context")] == [5, 0, 0]
    row = rows[ALL]
    assert row["explanation 1 alone"].value == pytest.approx((5 * 0.8 + 4 * 0.5) / (5 * 1.0 + 4 * 0.9))
    assert [row[kind] for kind in ("concentrated", "distributed", "object", "both")] == [5, 4, 5, 4]


@pytest.mark.parametrize("name", ["pointed", "large"])
def test_groups_below_five_admitted_images_are_not_summed_up(name: str) -> None:
    (row,) = [row for row in group_rows(GROUPS) if row["group"] == name]
    assert set(row) == {"group", "images", "admitted"}


def test_a_column_needs_five_images_that_have_it() -> None:
    """Four of these images have a second explanation, and the regions of the last restore nothing."""
    images = [make_report(f"{i}", additive(0.5, 0.1, 0.4)) for i in range(FEWEST_IMAGES - 1)]
    images.append(make_report("last", additive(0.0, 1.0), regions=1, control=-1))
    row = group_rows(images)[0]
    assert row["explanation 1 alone"].value == pytest.approx(0.4)
    assert "explanation 2 alone" not in row
    assert "concentration" not in row


def test_the_evidence_of_a_group_is_a_ratio_of_means() -> None:
    """The contribution over p is 0.9 and 0.5; an image counts in proportion to its p."""
    images = [make_report(f"{i}", additive(0.9, 0.0, 0.1)) for i in range(FEWEST_IMAGES)]
    images += [make_report(f"b{i}", additive(0.1, 0.0, 0.1)) for i in range(FEWEST_IMAGES)]
    evidence = group_rows(images)[0]["evidence on the object"]
    assert isinstance(evidence, GroupValue)
    assert evidence.value == pytest.approx((0.9 + 0.1) / (1.0 + 0.2) * 0.8 / 0.9)


def test_groups_as_csv() -> None:
    flat = flatten_groups(
        [{"group": "round", "images": 5, "alone": GroupValue(0.5, 0.25, 1 / 3, 4)}, {"group": "pointed"}]
    )
    interval = {"alone": "0.5", "alone_low": "0.25", "alone_high": "0.333333", "alone_images": 4}
    assert flat == [{"group": "round", "images": 5, **interval}, {"group": "pointed"}]


def tables(text: str) -> list[list[list[str]]]:
    """Returns the cells of each table, without the rule below its head."""
    blocks = [block.splitlines() for block in text.split("\n\n") if "| --- |" in block]
    lines = [[line for line in block if line.startswith("|")] for block in blocks]
    return [[[cell.strip() for cell in line.split("|")[1:-1]] for line in [block[0], *block[2:]]] for block in lines]


def test_the_report_as_markdown() -> None:
    """A `|` in a name becomes a slash, because it would end the cell."""
    images = [*GROUPS[:6], make_report("d", GAME, group="a|b", control=0.9)]
    rows = group_rows(images)
    text = format_report(images, rows, facts={"runs": 2, "area": "0.1"})
    assert text.startswith("# Audit\n\n- runs: 2\n- area: 0.1\n\n| group |")
    groups, images = tables(text)
    assert all(len(line) == len(table[0]) for table in (groups, images) for line in table)
    by_group = {line[0]: dict(zip(groups[0], line, strict=True)) for line in groups[1:]}
    assert list(by_group) == [ALL, "round", "a/b", "pointed"]
    interval = rows[1]["explanation 1 alone"]
    assert by_group["round"]["explanation 1 alone"] == f"0.80 [{interval.low:.2f}, {interval.high:.2f}], n = 5"
    assert by_group["pointed"]["explanation 1 alone"] == "-"
    assert "Nothing is claimed of 1 of 7 images" in text
    assert images[1] == [
        *("a0", "a / disc", "1.00", "0.90 (0.25) 0.05 (0.12)", "0.95", "0.10 0.95", "0.90 0.05 0.05"),
        *("concentrated", "1.00", "object", "1.00"),
    ]
    assert images[-1][7:] == ["no claim", "1.00", "no claim", "1.00"]


def test_redundant_is_said_only_of_admitted_images() -> None:
    game = two_regions(first=0.9, second=0.1, union=1.0, rest=0.1, without_1=0.9, without_2=0.9)
    for control, labels in ((0.0, "concentrated, redundant"), (0.99, "no claim")):
        images = [make_report("one", game, control=control)]
        assert tables(format_report(images, group_rows(images), facts={}))[1][1][7] == labels
        assert image_row(images[0])["redundant"] == int(control == 0)


def test_a_class_of_probability_0_has_no_shares() -> None:
    """A class that single precision cannot hold has p = 0, under every baseline."""
    images = [
        make_report(f"{i}", two_regions(union=0.5, without_1=0.0, without_2=0.0, whole=0.0))
        for i in range(FEWEST_IMAGES)
    ]
    row = group_rows(images)[0]
    assert (row["images"], row["admitted"]) == (FEWEST_IMAGES, 0)
    assert "explanation 1 alone" not in row
    assert "nan nan nan" in format_report(images, [row], facts={})
    assert image_row(images[0])["shapley_on_object"] == "nan"


def test_all_rows_of_a_report_fit_one_csv() -> None:
    images = [make_report("one", GAME, marked=False), GROUPS[0], replace(GROUPS[1], group="a, b")]
    rows = [image_row(image) for image in images]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    stored = list(csv.DictReader(format_csv(rows, columns).splitlines()))
    assert [row["object_evidence"] != "" for row in stored] == [False, True, True]
    assert stored[2]["group"] == "a, b"

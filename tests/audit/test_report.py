"""Rows and tables of images judged by hand; what is not known is not in them."""

import csv
from dataclasses import replace

import pytest

from inr_xai.audit.report import (
    ALL,
    FEWEST,
    NOTE,
    PARTS,
    ImageReport,
    Summed,
    group_csv,
    group_rows,
    image_row,
    markdown,
)
from inr_xai.audit.verdict import Thresholds, judge
from inr_xai.runs.files import format_csv
from tests.helpers.games import Game, additive, named, read

ON_OBJECT = (0.9, 0.3, 0.1)


def image(
    name: str, *games: Game, group: str = "round", marked: bool = True, control: float = 0.0, regions: int = 2
) -> ImageReport:
    places = {"on_object": ON_OBJECT[: regions + 1], "object_share": 0.1} if marked else {}
    reading = read(*games, regions=regions, **places)  # type: ignore[arg-type]
    verdict = judge(reading, control=control, thresholds=Thresholds())
    return ImageReport(name, 3, "a | disc", group, reading, verdict, [0.25, 0.125, 0.0625][:regions])


GAME = named(nothing=0.1, first=0.5, second=0.4, union=0.7, rest=0.3, without_1=0.6, without_2=0.7, whole=0.9)
OTHER = named(nothing=0.3, first=0.5, second=0.2, union=0.5, rest=0.1, without_1=0.4, without_2=0.9, whole=0.9)


def numbers(row: dict[str, object]) -> dict[str, float]:
    return {name: float(value) for name, value in row.items() if isinstance(value, str) and value[-1].isdigit()}


def test_a_row_by_hand() -> None:
    """Means over the two baselines; the Shapley values by their orders."""
    row = image_row(image("one", GAME, OTHER))
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
    found = numbers(row)
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    assert found["concentration"] == pytest.approx(0.3 / 0.4, rel=1e-5)
    assert found["concentration_low"] == pytest.approx(0.4 / 0.6, rel=1e-5)
    assert found["concentration_high"] == pytest.approx(1.0, rel=1e-5)
    own = (0.5 - 0.2 + 0.9 - 0.5) / 2, (0.3 - 0.2 + 0.9 - 0.8) / 2
    assert found["object_evidence"] == pytest.approx((own[0] * 0.8 + own[1] * 0.2) / 0.9 / 0.9, rel=1e-5)
    on = expected["shapley_1"] * 0.9 + expected["shapley_2"] * 0.3
    assert found["shapley_on_object"] == pytest.approx(on / 0.7, rel=1e-5)
    assert found["shapley_beside"] == pytest.approx(
        (expected["shapley_1"] + expected["shapley_2"] - on) / 0.7, rel=1e-5
    )
    words = ("sample_id", "target", "class", "group", "explanations", "admitted", "evidence", "redundant", "where")
    assert [row[name] for name in words] == ["one", 3, "a | disc", "round", 2, 1, "distributed", 0, "both"]


def test_a_row_has_as_many_columns_as_explanations() -> None:
    row = image_row(image("one", additive(0.5, 0.5), regions=1))
    assert "alone_1" in row
    assert not [name for name in row if name.endswith("_2")]
    assert row["shapley_rest"] == "0.5"


def test_without_a_segmentation_nothing_is_said_of_the_object() -> None:
    """Only the note under the table says when it would be."""
    judged = [image(f"{i}", GAME, marked=False) for i in range(FEWEST)]
    assert not [name for name in image_row(judged[0]) if "object" in name or "beside" in name or "where" in name]
    rows = group_rows(judged)
    said = markdown(judged, rows, facts={"runs": 1}).replace(NOTE, "") + format_csv(group_csv(rows)[:1])
    for word in ("object", "context", "both", "where"):
        assert word not in said
    marked = [image(f"{i}", GAME) for i in range(FEWEST)]
    assert "object" in markdown(marked, group_rows(marked), facts={}).replace(NOTE, "")


def test_images_with_and_without_a_segmentation_in_one_report() -> None:
    judged = [image("one", GAME), image("two", GAME, marked=False)]
    lines = tables(markdown(judged, group_rows(judged), facts={}))[1]
    assert [line[-2:] for line in lines] == [["where", "sure"], ["both", "1.00"], ["", ""]]


GROUPS = [
    *(image(f"a{i}", additive(0.9 - i / 20, 0.05, 0.05 + i / 20)) for i in range(FEWEST)),
    *(image(f"b{i}", GAME, group="pointed") for i in range(FEWEST - 1)),
    *(image(f"c{i}", GAME, group="large", control=0.9) for i in range(FEWEST + 1)),
]


def test_groups_are_summed_up_the_largest_first() -> None:
    """Means over the images of whose explanations anything may be said."""
    rows = {row["group"]: row for row in group_rows(GROUPS)}
    assert list(rows) == [ALL, "large", "round", "pointed"]
    assert [(row["images"], row["admitted"]) for row in rows.values()] == [(15, 9), (6, 0), (5, 5), (4, 4)]
    round_ = rows["round"]
    assert set(PARTS) <= set(round_)
    assert round_["explanation 1 alone"].value == pytest.approx(0.8)
    assert round_["explanation 2 alone"] == pytest.approx((0.05, 0.05, 0.05, 5))
    assert round_["all together"].value == pytest.approx(0.85)
    assert round_["left without 1"].value == pytest.approx(0.2)
    assert round_["left without all"].value == pytest.approx(0.15)
    assert round_["evidence on the object"].value == pytest.approx((0.8 * 0.8 + 0.05 * 0.2) / 0.9)
    assert round_["concentration"].value == pytest.approx(0.8 / 0.85)
    assert 0.7 < round_["explanation 1 alone"].low < 0.8 < round_["explanation 1 alone"].high < 0.9
    assert [round_[kind] for kind in ("concentrated", "distributed", "spread", "redundant")] == [5, 0, 0, 0]
    assert [round_[kind] for kind in ("object", "both", "context")] == [5, 0, 0]
    every = rows[ALL]
    assert every["explanation 1 alone"].value == pytest.approx((5 * 0.8 + 4 * 0.5) / (5 * 1.0 + 4 * 0.9))
    assert [every[kind] for kind in ("concentrated", "distributed", "object", "both")] == [5, 4, 5, 4]


@pytest.mark.parametrize("name", ["pointed", "large"])
def test_groups_below_five_admitted_images_are_not_summed_up(name: str) -> None:
    (row,) = [row for row in group_rows(GROUPS) if row["group"] == name]
    assert set(row) == {"group", "images", "admitted"}


def test_a_column_needs_five_images_that_have_it() -> None:
    """Four of these images have a second explanation, and of one nothing is restored."""
    judged = [image(f"{i}", additive(0.5, 0.1, 0.4)) for i in range(FEWEST - 1)]
    judged.append(image("last", additive(0.0, 1.0), regions=1, control=-1))
    row = group_rows(judged)[0]
    assert row["explanation 1 alone"].value == pytest.approx(0.4)
    assert "explanation 2 alone" not in row
    assert "concentration" not in row


def test_the_evidence_of_a_group_is_a_ratio_of_means() -> None:
    """own / p is 0.9 and 0.5; an image of a small p counts as much as it has."""
    judged = [image(f"{i}", additive(0.9, 0.0, 0.1)) for i in range(FEWEST)]
    judged += [image(f"b{i}", additive(0.1, 0.0, 0.1)) for i in range(FEWEST)]
    found = group_rows(judged)[0]["evidence on the object"]
    assert isinstance(found, Summed)
    assert found.value == pytest.approx((0.9 + 0.1) / (1.0 + 0.2) * 0.8 / 0.9)


def test_groups_as_csv() -> None:
    flat = group_csv([{"group": "round", "images": 5, "alone": Summed(0.5, 0.25, 1 / 3, 4)}, {"group": "pointed"}])
    interval = {"alone": "0.5", "alone_low": "0.25", "alone_high": "0.333333", "alone_images": 4}
    assert flat == [{"group": "round", "images": 5, **interval}, {"group": "pointed"}]


def tables(text: str) -> list[list[list[str]]]:
    """The cells of each table, without the rule under its head."""
    blocks = [block.splitlines() for block in text.split("\n\n") if "| --- |" in block]
    lines = [[line for line in block if line.startswith("|")] for block in blocks]
    return [[[cell.strip() for cell in line.split("|")[1:-1]] for line in [block[0], *block[2:]]] for block in lines]


def test_markdown() -> None:
    """A `|` in a name would end a cell."""
    judged = [*GROUPS[:6], image("d", GAME, group="a|b", control=0.9)]
    rows = group_rows(judged)
    text = markdown(judged, rows, facts={"runs": 2, "area": "0.1"})
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


def test_redundant_is_said_where_anything_is() -> None:
    game = named(first=0.9, second=0.1, union=1.0, rest=0.1, without_1=0.9, without_2=0.9)
    for control, said in ((0.0, "concentrated, redundant"), (0.99, "no claim")):
        judged = [image("one", game, control=control)]
        assert tables(markdown(judged, group_rows(judged), facts={}))[1][1][7] == said
        assert image_row(judged[0])["redundant"] == int(control == 0)


def test_a_probability_of_nothing_has_no_shares() -> None:
    """What is absent beyond single precision has p = 0, under every baseline."""
    judged = [image(f"{i}", named(union=0.5, without_1=0.0, without_2=0.0, whole=0.0)) for i in range(FEWEST)]
    row = group_rows(judged)[0]
    assert (row["images"], row["admitted"]) == (FEWEST, 0)
    assert "explanation 1 alone" not in row
    assert "nan nan nan" in markdown(judged, [row], facts={})
    assert image_row(judged[0])["shapley_on_object"] == "nan"


def test_all_rows_of_a_report_fit_one_csv() -> None:
    rows = [image_row(one) for one in (image("one", GAME, marked=False), GROUPS[0], replace(GROUPS[1], group="a, b"))]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    found = list(csv.DictReader(format_csv(rows, columns).splitlines()))
    assert [row["object_evidence"] != "" for row in found] == [False, True, True]
    assert found[2]["group"] == "a, b"

"""The audit's report: a row per image, a table per group of classes, one for the model, as CSV and Markdown."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import NamedTuple

import torch

from inr_xai.audit.estimates import LEAST, Estimates
from inr_xai.audit.verdict import BOTH, CONCENTRATED, CONTEXT, DISTRIBUTED, FAINT, OBJECT, SPREAD, Verdict
from inr_xai.metrics.statistics.bootstrap import Interval, ratio_of_means
from inr_xai.types import Row

FEWEST = 5
"""Images below which nothing is said of a group."""
ALL = "all images"


@dataclass(frozen=True)
class ImageReport:
    """One image of a report.

    Args:
        chance: of each explanation, what random masks of the same area in the same free pixels keep; the mean over
            fits.
    """

    sample_id: str
    target: int
    class_name: str
    group: str
    estimates: Estimates
    verdict: Verdict
    chance: Sequence[float]

    def value(self, name: str, *arguments: int) -> float:
        """A value of `Play`, over all fits and baselines."""
        return float(self.estimates.over(name, *arguments)[0])


def image_row(one: ImageReport) -> Row:
    """All that the audit says of an image; probabilities are means over baselines and fits."""
    verdict, shapley = one.verdict, one.estimates.shapley()[0].tolist()
    row: Row = {
        "sample_id": one.sample_id,
        "target": one.target,
        "class": one.class_name,
        "group": one.group,
        "p_full": one.value("whole"),
        "p_nothing": one.value("nothing"),
        "explanations": one.estimates.regions,
    }
    for k in range(1, one.estimates.regions + 1):
        row |= {
            f"alone_{k}": one.value("alone", k),
            f"chance_{k}": one.chance[k - 1],
            f"without_{k}": one.value("without", k),
            f"union_{k}": one.value("union", k),
            f"remaining_{k}": one.value("remaining", k),
            f"shapley_{k}": shapley[k - 1],
        }
        if one.estimates.image.on_object is not None:
            row[f"on_object_{k}"] = float(torch.stack([own[k - 1] for own in one.estimates.image.on_object]).mean())
    row |= {"shapley_rest": shapley[-1], "joint": float(one.estimates.joint()[0]), "admitted": int(verdict.admitted)}
    row |= {"evidence": verdict.evidence, "confidence": verdict.confidence, "redundant": int(verdict.redundant)}
    row |= _ends("concentration", verdict.concentration)
    if verdict.object_evidence is not None:
        row |= {"where": verdict.where, "where_confidence": verdict.where_confidence}
        row |= _ends("object_evidence", verdict.object_evidence)
        row |= dict(zip(("shapley_on_object", "shapley_beside", "_"), one.estimates.split(), strict=True))
        del row["_"]
    return {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in row.items()}


def group_rows(judged: Sequence[ImageReport]) -> list[Row]:
    """A row for each group, the largest first, after one for all images. Below FEWEST images only their number."""
    groups: dict[str, list[ImageReport]] = {}
    for one in judged:
        groups.setdefault(one.group, []).append(one)
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    return [_group_row(ALL, judged), *(_group_row(name, own) for name, own in ordered)]


class Summed(NamedTuple):
    """A value over images with its interval, and how many images it is of."""

    value: float
    low: float
    high: float
    images: int


def _group_row(name: str, judged: Sequence[ImageReport]) -> Row:
    row: Row = {"group": name, "images": len(judged), "admitted": sum(one.verdict.admitted for one in judged)}
    claimed = [one for one in judged if one.verdict.admitted]
    if len(claimed) < FEWEST:
        return row
    for heading, part in PARTS.items():
        found = [one for one in map(part, claimed) if one is not None]
        if len(found) >= FEWEST:
            over, under = torch.tensor(found, dtype=torch.float64).unbind(1)
            row[heading] = Summed(*ratio_of_means(over, under), len(found))
    for kind in (CONCENTRATED, DISTRIBUTED, SPREAD):
        row[kind] = sum(one.verdict.evidence == kind for one in claimed)
    row["redundant"] = sum(one.verdict.redundant for one in claimed)
    if any(one.verdict.where is not None for one in claimed):
        row |= {kind: sum(one.verdict.where == kind for one in claimed) for kind in (OBJECT, BOTH, CONTEXT)}
    return row


Part = tuple[float, float] | None
"""Of an image: a number and what it is a part of; None where it has none."""


def _of_p(name: str, k: int) -> Callable[[ImageReport], Part]:
    return lambda one: (one.value(name, k), one.value("whole")) if k <= one.estimates.regions else None


def _concentration(one: ImageReport) -> Part:
    if not isfinite(one.verdict.concentration.value):
        return None
    return one.value("alone", 1) - one.value("nothing"), float(one.estimates.restored()[0])


def _on_object(one: ImageReport) -> Part:
    found, whole = one.verdict.object_evidence, one.value("whole")
    return None if found is None or not isfinite(found.value) else (found.value * whole, whole)


PARTS: dict[str, Callable[[ImageReport], Part]] = {
    "explanation 1 alone": _of_p("alone", 1),
    "explanation 2 alone": _of_p("alone", 2),
    "all together": lambda one: (float(one.estimates.together()[0]), one.value("whole")),
    "left without 1": _of_p("without", 1),
    "left without all": lambda one: (float(one.estimates.left()[0]), one.value("whole")),
    "concentration": _concentration,
    "evidence on the object": _on_object,
}
"""Column of the table by group -> its part of an image. The table has ratios of means: where p_t is next to nothing, or
hardly anything is restored, an image's own ratio is anything."""


def group_csv(rows: Sequence[Row]) -> list[Row]:
    """The table by group with each interval in three columns."""
    return [{name: value for key, cell in row.items() for name, value in _flat(key, cell).items()} for row in rows]


def markdown(judged: Sequence[ImageReport], rows: Sequence[Row], *, facts: Mapping[str, object]) -> str:
    """The report for people."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = markdown_table([columns, *([_shown(row.get(name)) for name in columns] for row in rows)])
    told = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    unclear = sum(not one.verdict.admitted for one in judged)
    return f"# Audit\n\n{told}\n\n{table}\n{NOTE}\n\n{_no_claims(unclear, len(judged))}{_images(judged)}"


NOTE = (
    "Probabilities are means over blur, grey, noise and other photos in place of what is not kept. Those by group are "
    "relative to that of the whole image: ratios of means over images, in brackets their 95 % bootstrap interval, n "
    "images. concentrated: explanation 1 restores 80 % or more of what all explanations restore together; distributed: "
    "less; spread: together they neither restore half of the class nor take half of it away; no claim: they carry no "
    "more than the control's or than random regions as large (what they restore and what is missing without them), or "
    f"the class has a probability below {FAINT:g}, or they are not spread and restore less than {LEAST:g} of it; "
    "redundant: explanation 1 keeps half or more of the class, and 80 % or more are there without it. In parentheses "
    "behind `alone`: what random masks of that area keep. Object and context are told apart only where a segmentation "
    f"is known. Groups of fewer than {FEWEST} admitted images are not summed up."
)


def _no_claims(count: int, images: int) -> str:
    if not count:
        return ""
    return (
        f"Nothing is claimed of {count} of {images} images: explanations there do not carry more than those of a class "
        "that the image does not show, or than random regions do, or the classifier hardly sees the class.\n\n"
    )


def _images(judged: Sequence[ImageReport]) -> str:
    """A line for each image."""
    placed = any(one.verdict.where is not None for one in judged)
    heads = [
        "image",
        "class",
        "p",
        "alone (chance)",
        "together",
        "without",
        "shapley shares",
        "evidence",
        "sure",
        *(["where", "sure"] * placed),
    ]
    lines = [heads]
    for one in judged:
        many = range(1, one.estimates.regions + 1)
        shares = [f"{value:.2f}" for value in one.estimates.shares().tolist()]
        line = [one.sample_id, one.class_name, f"{one.value('whole'):.2f}"]
        line.append(" ".join(f"{one.value('alone', k):.2f} ({one.chance[k - 1]:.2f})" for k in many))
        line.append(f"{float(one.estimates.together()[0]):.2f}")
        line.append(" ".join(f"{one.value('without', k):.2f}" for k in many))
        line += [" ".join(shares), ", ".join(one.verdict.said)]
        line.append(f"{one.verdict.confidence:.2f}")
        if placed:
            line += [
                one.verdict.where or "",
                "" if one.verdict.where_confidence is None else f"{one.verdict.where_confidence:.2f}",
            ]
        lines.append(line)
    return markdown_table(lines)


def markdown_table(lines: Sequence[Sequence[str]]) -> str:
    """Lines of cells, the first of them the head; a bar in a cell becomes a slash."""
    ruled = [lines[0], ["---"] * len(lines[0]), *lines[1:]]
    return "".join("| " + " | ".join(cell.replace("|", "/") for cell in line) + " |\n" for line in ruled)


def _ends(name: str, interval: Interval) -> Row:
    return {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}


def _flat(key: str, cell: object) -> Row:
    if not isinstance(cell, Summed):
        return {key: cell}
    ends = _ends(key, Interval(*cell[:3]))
    return {name: f"{value:.6g}" for name, value in ends.items()} | {f"{key}_images": cell.images}


def _shown(cell: object) -> str:
    if cell is None:
        return "-"
    if not isinstance(cell, Summed):
        return str(cell)
    return f"{cell.value:.2f} [{cell.low:.2f}, {cell.high:.2f}], n = {cell.images}"

"""The audit's report: a row per image and a table per group of classes, as CSV and as Markdown."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import NamedTuple

import torch

from inr_xai.audit.estimates import LEAST_RESTORED, Estimates
from inr_xai.audit.verdict import (
    BOTH,
    CONCENTRATED,
    CONTEXT,
    DISTRIBUTED,
    LEAST_PROBABILITY,
    OBJECT,
    SPREAD,
    Verdict,
)
from inr_xai.metrics.statistics.bootstrap import Interval, interval_columns, ratio_of_means
from inr_xai.runs.files import all_columns, markdown_table
from inr_xai.types import Row

FEWEST_IMAGES = 5
"""A group with fewer admitted images is not summed up."""
ALL = "all images"
"""Name of the group of all images."""


@dataclass(frozen=True)
class ImageReport:
    """One image of a report.

    Args:
        target: index of the class explained.
        group: the group of classes to which the class belongs.
        chance: for each explanation, the probability that random masks of the same area in the same free pixels keep,
            in [0, 1]; the mean over fits.
    """

    sample_id: str
    target: int
    class_name: str
    group: str
    estimates: Estimates
    verdict: Verdict
    chance: Sequence[float]

    def value(self, name: str, *arguments: int) -> float:
        """Returns a value of `CoalitionGame`, as a mean over all fits and baselines."""
        return float(self.estimates.mean(name, *arguments)[0])


def image_row(image: ImageReport) -> Row:
    """Returns all that the audit says of an image; probabilities are means over baselines and fits."""
    verdict, shapley, on_object = image.verdict, image.estimates.shapley()[0].tolist(), image.estimates.image.on_object
    row: Row = {
        "sample_id": image.sample_id,
        "target": image.target,
        "class": image.class_name,
        "group": image.group,
        "p_full": image.value("whole"),
        "p_nothing": image.value("nothing"),
        "explanations": image.estimates.regions,
    }
    for k in range(1, image.estimates.regions + 1):
        row |= {
            f"alone_{k}": image.value("alone", k),
            f"chance_{k}": image.chance[k - 1],
            f"without_{k}": image.value("without", k),
            f"union_{k}": image.value("union", k),
            f"remaining_{k}": image.value("remaining", k),
            f"shapley_{k}": shapley[k - 1],
        }
        if on_object is not None:
            row[f"on_object_{k}"] = float(torch.stack([shares[k - 1] for shares in on_object]).mean())
    row |= {"shapley_rest": shapley[-1], "joint": float(image.estimates.joint()[0]), "admitted": int(verdict.admitted)}
    row |= {"evidence": verdict.evidence, "confidence": verdict.confidence, "redundant": int(verdict.redundant)}
    row |= interval_columns("concentration", verdict.concentration)
    if verdict.object_evidence is not None:
        on, beside, _ = image.estimates.split_by_place()
        row |= {"where": verdict.where, "where_confidence": verdict.where_confidence}
        row |= interval_columns("object_evidence", verdict.object_evidence)
        row |= {"shapley_on_object": on, "shapley_beside": beside}
    return {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in row.items()}


class GroupValue(NamedTuple):
    """A ratio of means over the images of a group, with its interval, and how many images have it."""

    value: float
    low: float
    high: float
    images: int


def group_rows(images: Sequence[ImageReport]) -> list[Row]:
    """Returns a row for all images, then one for each group, the largest first.

    The row of a group with fewer than FEWEST_IMAGES admitted images holds only its numbers of images.
    """
    groups: dict[str, list[ImageReport]] = {}
    for image in images:
        groups.setdefault(image.group, []).append(image)
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    return [_group_row(ALL, images), *(_group_row(name, members) for name, members in ordered)]


def _group_row(name: str, images: Sequence[ImageReport]) -> Row:
    admitted = [image for image in images if image.verdict.admitted]
    row: Row = {"group": name, "images": len(images), "admitted": len(admitted)}
    if len(admitted) < FEWEST_IMAGES:
        return row
    for heading, part_of in PARTS.items():
        parts = [part for part in map(part_of, admitted) if part is not None]
        if len(parts) >= FEWEST_IMAGES:
            numerators, denominators = torch.tensor(parts, dtype=torch.float64).unbind(1)
            row[heading] = GroupValue(*ratio_of_means(numerators, denominators), len(parts))
    for evidence in (CONCENTRATED, DISTRIBUTED, SPREAD):
        row[evidence] = sum(image.verdict.evidence == evidence for image in admitted)
    row["redundant"] = sum(image.verdict.redundant for image in admitted)
    if any(image.verdict.where is not None for image in admitted):
        row |= {place: sum(image.verdict.where == place for image in admitted) for place in (OBJECT, BOTH, CONTEXT)}
    return row


Part = tuple[float, float] | None
"""A number of an image, and the number that it is a part of; None if the image has no such number."""


def _relative(name: str, k: int) -> Callable[[ImageReport], Part]:
    """Returns the function that gives a value of explanation k as a part of p_t."""
    return lambda image: (image.value(name, k), image.value("whole")) if k <= image.estimates.regions else None


def _concentration(image: ImageReport) -> Part:
    if not isfinite(image.verdict.concentration.value):
        return None
    return image.value("alone", 1) - image.value("nothing"), float(image.estimates.restored()[0])


def _evidence_on_object(image: ImageReport) -> Part:
    evidence, whole = image.verdict.object_evidence, image.value("whole")
    return None if evidence is None or not isfinite(evidence.value) else (evidence.value * whole, whole)


PARTS: dict[str, Callable[[ImageReport], Part]] = {
    "explanation 1 alone": _relative("alone", 1),
    "explanation 2 alone": _relative("alone", 2),
    "all together": lambda image: (float(image.estimates.all_kept()[0]), image.value("whole")),
    "left without 1": _relative("without", 1),
    "left without all": lambda image: (float(image.estimates.all_removed()[0]), image.value("whole")),
    "concentration": _concentration,
    "evidence on the object": _evidence_on_object,
}
"""Column of the table by group -> its part of an image. The table has ratios of means, because the ratio of one image
may take any value if p_t is almost 0, or if almost nothing is restored."""


def flatten_groups(rows: Sequence[Row]) -> list[Row]:
    """Returns the table by group with each interval in columns of its own, as a CSV needs them."""
    flat: list[Row] = []
    for row in rows:
        flat.append({})
        for name, cell in row.items():
            if isinstance(cell, GroupValue):
                columns = interval_columns(name, Interval(*cell[:3]))
                flat[-1] |= {column: f"{value:.6g}" for column, value in columns.items()}
                flat[-1][f"{name}_images"] = cell.images
            else:
                flat[-1][name] = cell
    return flat


def format_report(images: Sequence[ImageReport], rows: Sequence[Row], *, facts: Mapping[str, object]) -> str:
    """Returns the report as Markdown.

    Args:
        rows: the table by group (`group_rows`).
        facts: name -> what the report says of the audit as a whole.
    """
    columns = all_columns(rows)
    table = markdown_table(columns, ([_format_cell(row.get(name)) for name in columns] for row in rows))
    listed = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    unclaimed = sum(not image.verdict.admitted for image in images)
    sentence = (
        f"Nothing is claimed of {unclaimed} of {len(images)} images: explanations there do not carry more than those "
        "of a class that the image does not show, or than random regions do, or the classifier hardly sees the class."
        "\n\n"
    )
    return f"# Audit\n\n{listed}\n\n{table}\n{NOTE}\n\n{sentence if unclaimed else ''}{_image_table(images)}"


NOTE = (
    "Probabilities are means over blur, grey, noise and other photos in place of what is not kept. Those by group are "
    "relative to that of the whole image: ratios of means over images, in brackets their 95 % bootstrap interval, n "
    "images. concentrated: explanation 1 restores 80 % or more of what all explanations restore together; distributed: "
    "less; spread: together they neither restore half of the class nor take half of it away; no claim: they carry no "
    "more than the control's or than random regions as large (what they restore and what is missing without them), or "
    f"the class has a probability below {LEAST_PROBABILITY:g}, or they are not spread and restore less than "
    f"{LEAST_RESTORED:g} of it; redundant: explanation 1 keeps half or more of the class, and 80 % or more are there "
    "without it. In parentheses behind `alone`: what random masks of that area keep. Object and context are told apart "
    f"only where a segmentation is known. Groups of fewer than {FEWEST_IMAGES} admitted images are not summed up."
)


def _image_table(images: Sequence[ImageReport]) -> str:
    """Returns a Markdown table with a line for each image."""
    has_places = any(image.verdict.where is not None for image in images)
    head = ["image", "class", "p", "alone (chance)", "together", "without", "shapley shares", "evidence", "sure"]
    lines = []
    for image in images:
        verdict, explanations = image.verdict, range(1, image.estimates.regions + 1)
        line = [
            image.sample_id,
            image.class_name,
            f"{image.value('whole'):.2f}",
            " ".join(f"{image.value('alone', k):.2f} ({image.chance[k - 1]:.2f})" for k in explanations),
            f"{float(image.estimates.all_kept()[0]):.2f}",
            " ".join(f"{image.value('without', k):.2f}" for k in explanations),
            " ".join(f"{share:.2f}" for share in image.estimates.shapley_shares().tolist()),
            ", ".join(verdict.labels),
            f"{verdict.confidence:.2f}",
        ]
        if has_places:
            line += [verdict.where or "", "" if verdict.where_confidence is None else f"{verdict.where_confidence:.2f}"]
        lines.append(line)
    return markdown_table([*head, *(["where", "sure"] * has_places)], lines)


def _format_cell(cell: object) -> str:
    if cell is None:
        return "-"
    if not isinstance(cell, GroupValue):
        return str(cell)
    return f"{cell.value:.2f} [{cell.low:.2f}, {cell.high:.2f}], n = {cell.images}"

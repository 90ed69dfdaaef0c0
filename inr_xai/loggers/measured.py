"""What evaluations and audits have left in a run's folder, as W&B shows it: keys, and cells of the gallery."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from inr_xai.loggers.keys import AUDIT, EVALUATION, MOST_METRICS

OWN = Path("evaluation", "masks.csv")
"""The metrics of the run's own explanations, below its folder."""
AUDITED = Path("audit", "per_image.csv")
"""What the audit says of each image."""
NO_CLAIM, CONCENTRATED = "no claim", "concentrated"
VERDICT, WHERE = "verdict", "evidence lies on"
"""Columns of the gallery."""
TextRows = Sequence[Mapping[str, str]]


def evaluation_keys(file: Path) -> dict[str, float]:
    """Returns the means over images of the headline metrics in a CSV of an evaluation; none if it is not there."""
    rows = _read(file)
    means = {metric: _mean(_numbers(rows, metric).values()) for metric in _headline(rows)}
    return {f"evaluation/{metric}": mean for metric, mean in means.items() if mean is not None}


def audit_keys(file: Path) -> dict[str, float]:
    """Returns shares of the images in per_image.csv of an audit; none if it is not there."""
    rows = _read(file)
    if not rows:
        return {}
    evidence = [row.get("evidence") for row in rows]
    admitted = [row for row in rows if row.get("admitted") == "1"]
    on, whole = _numbers(admitted, "object_evidence"), _numbers(admitted, "p_full")
    weight = sum(whole.get(sample_id, 0.0) for sample_id in on)
    values = (
        sum(share * whole.get(sample_id, 0.0) for sample_id, share in on.items()) / weight if weight > 0 else None,
        evidence.count(CONCENTRATED) / len(rows),
        evidence.count(NO_CLAIM) / len(rows),
    )
    return {f"audit/{name}": value for name, value in zip(AUDIT, values, strict=True) if value is not None}


def gallery_cells(folder: Path) -> dict[str, dict[str, Any]]:
    """Returns column -> image id -> cell, of the evaluation and the audit that a run's folder holds."""
    evaluated, audited = _read(folder / OWN), _read(folder / AUDITED)
    columns: dict[str, dict[str, Any]] = {}
    if audited:
        columns[VERDICT] = {row["sample_id"]: _verdict(row) for row in audited}
    if any(row.get("where") for row in audited):
        columns[WHERE] = {row["sample_id"]: row["where"] for row in audited if row.get("where")}
    return columns | {metric: dict(_numbers(evaluated, metric)) for metric in _headline(evaluated)}


def _verdict(row: Mapping[str, str]) -> str:
    """Returns the words of an audit for one image."""
    return ", ".join([row["evidence"], *(["redundant"] if row.get("redundant") == "1" else [])])


def _headline(rows: TextRows) -> list[str]:
    """Returns the metrics that W&B shows: the first ones of EVALUATION that have a value."""
    return [metric for metric in EVALUATION if _numbers(rows, metric)][:MOST_METRICS]


def _numbers(rows: TextRows, column: str) -> dict[str, float]:
    """Returns image id -> number, for the rows that have one."""
    values = {}
    for row in rows:
        try:
            value = float(row.get(column) or "nan")
        except ValueError:
            continue
        if math.isfinite(value):
            values[row["sample_id"]] = value
    return values


def _mean(values: Any) -> float | None:
    numbers = list(values)
    return sum(numbers) / len(numbers) if numbers else None


def _read(file: Path) -> TextRows:
    """Returns the rows of a CSV; none if it is not there or damaged."""
    try:
        with file.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, ValueError, csv.Error):
        return []
    return [row for row in rows if row.get("sample_id")]

"""What explanations say of where a photo's class lies, for comparison with the interventions: ours and others'.

The photos of the baseline `photo` are left out: neighbours in a folder of crops are crops of one photo, or of its
class, and what is replaced by them is not gone.
"""

import csv
from collections.abc import Mapping
from pathlib import Path

import torch
from photo_truth import MeasuredPhoto

from inr_xai.audit.auditor import FOLDER, GAMES_FOLDER
from inr_xai.audit.coalition_game import CoalitionGame
from inr_xai.audit.estimates import AuditedImage, Estimates
from inr_xai.audit.measure import read_games
from inr_xai.columns import BASELINES
from inr_xai.data.names import id_file
from inr_xai.errors import UserError

USED = tuple(name for name in BASELINES if name != "photo")
"""The baselines under which evidence and removals are measured."""
MAPS = "maps"
"""Folder of the CSVs of other methods, within that of the results."""

AREA = "the object's area"
"""The estimate that knows no classifier: the object's share of the photo."""

Values = dict[str, float]
"""Name of an estimate -> its value."""


def own_estimates(run: Path, sample_id: str) -> Values:
    """Returns what our explanations of a sample say, from the games of an audited run; none if it has no such sample.

    The forms are those of benchmarks/audit_table.py: the share of the first region on the object, its removal test, and
    the evidence on the object of the first explanations.
    """
    file = id_file(run / FOLDER / GAMES_FOLDER, sample_id, ".json")
    if not file.is_file():
        return {}
    image = read_games(file)
    if image.on_object is None:
        raise UserError(f"the audit of {run} knows no objects; audit a run with data.segmentations")
    rows = [BASELINES.index(name) for name in USED]
    whole = [CoalitionGame(game.values[rows], game.regions) for game in image.games]
    first_share = float(torch.stack([shares[0] for shares in image.on_object]).mean())
    values: Values = {"ours: on the object": first_share}
    for count in range(1, image.regions + 1):
        games = [game.merge_after(count) for game in whole]
        shares = [shares[: count + 1] for shares in image.on_object]
        estimates = Estimates(AuditedImage(games, shares, image.object_share, area=image.area), draws=1)
        if count == 1:
            left = float(estimates.mean("without", 1)[0] / estimates.mean("whole")[0])
            values["ours: removal test"] = first_share * (1 - left)
        values[f"ours: evidence, {count}"] = float(estimates.object_evidence()[0])
    return values


def other_estimates(folder: Path, classifier: str) -> dict[str, dict[str, Values]]:
    """Returns what other methods say, from the CSVs of benchmarks/audit_photos_maps.py: sample -> estimate -> value."""
    found: dict[str, dict[str, Values]] = {}
    for file in sorted((folder / MAPS).glob("*.csv")):
        explained, _, method = file.stem.rpartition(".")
        if explained != classifier:  # its name may have dots
            continue
        for row in csv.DictReader(file.read_text().splitlines()):
            values = found.setdefault(row["sample_id"], {})
            for name in ("on the object", "removal test"):
                values[f"{method}: {name}"] = float(row[name])
    return found


def estimates_of(samples: list[MeasuredPhoto], folder: Path, runs: Mapping[str, Path]) -> list[Values]:
    """Returns the estimates of each sample: ours, those of other methods, and the object's share of the photo.

    Args:
        folder: the folder of the results.
        runs: classifier -> its audited run.
    """
    others = {name: other_estimates(folder, name) for name in {sample.classifier for sample in samples}}
    rows: list[Values] = []
    for sample in samples:
        values: Values = {AREA: float(sample.row["object_area"])}
        if sample.classifier in runs:
            values |= own_estimates(runs[sample.classifier], sample.sample_id)
        rows.append(values | others[sample.classifier].get(sample.sample_id, {}))
    return rows

"""From finished runs to a page: their images with photos and names, and what an audit and an evaluation say of them."""

import csv
import json
import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

from inr_xai.classifier.frozen import FrozenClassifier
from inr_xai.data.labels import class_label
from inr_xai.errors import UserError
from inr_xai.evaluate.results import OWN, Results
from inr_xai.evaluate.sources import FolderSource
from inr_xai.instantiate import build_data_and_classifier, stored_configuration
from inr_xai.report.content import CHANCE, KEPT, Entry, entry_of
from inr_xai.report.packing import pack_map
from inr_xai.report.page import PageRun, page_html
from inr_xai.report.sentences import compared, found, not_concluded
from inr_xai.runs.folder import RunFolder, flatten, is_free
from inr_xai.runs.load import Run, load
from inr_xai.runs.loop import Guard, Note, each_image
from inr_xai.types import Image, ImageData

MOST = 500
"""Images on a page; of a run with more, the worst."""
PAGE = "report.html"
"""The page of a run, in its folder."""
TOLD = ("classifier.name", "data.targets", "areas", "explanations", "steps", "seed")
"""The options that a page names."""
MOST_DIFFERENT = 3
"""So many differing options stand in the name of a run."""
MOST_REASONS = 3
"""So many reasons are named why images are not shown."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FinishedRun:
    """A run with what its page needs beside it.

    Args:
        path: the run's folder.
        data, classifier: where the photos and the names of classes come from.
    """

    path: Path
    run: Run
    data: ImageData
    classifier: FrozenClassifier


def open_runs(paths: Sequence[Path], overrides: Sequence[str] = ()) -> list[FinishedRun]:
    """Returns finished runs with their data and classifiers, each of which is built once.

    Args:
        overrides: options of the runs to change, such as data.root=PATH.

    Raises:
        UserError: a folder holds no run, or its data or classifier cannot be built.
    """
    built: dict[str, tuple[ImageData, FrozenClassifier]] = {}
    finished = []
    for path in paths:
        run = load(path)
        cfg = stored_configuration(run.config, overrides)
        run.allow_targets = tuple(cfg.allow_targets)
        key = json.dumps([run.config["data"], run.config["classifier"]], sort_keys=True, default=str)
        if key not in built:
            built[key] = build_data_and_classifier(cfg)
        finished.append(FinishedRun(path, run, *built[key]))
    return finished


def report_of(finished: Sequence[FinishedRun], *, maps: Sequence[Path] = (), most: int = MOST) -> str:
    """Returns the page of finished runs: of one alone, or of the same images in several side by side.

    Args:
        maps: folders of other methods' maps of the first run's images, see `inr_xai.evaluate.sources.FolderSource`.
        most: the largest number of images; of more, those whose masks in the first run are the worst.

    Raises:
        UserError: no image can be shown, or a folder of maps has none of the first run's images.
    """
    labels = _unique([*labels_of(finished), *(folder.resolve().name for folder in maps)])
    names = worst_images(finished[0].run, most)
    hidden: list[dict[str, str]] = [{} for _ in finished]
    entries = [
        entries_of(one, [name for name in names if name in one.run], note=reasons.__setitem__)
        for one, reasons in zip(finished, hidden, strict=True)
    ]
    if not entries[0]:
        raise UserError(f"{finished[0].path} has no image that can be shown; the log says why of each")
    entries += [_entries_of_maps(folder, finished[0], entries[0]) for folder in maps]
    facts = [facts_of_run(one) for one in finished] + [{} for _ in maps]
    runs = [PageRun(*parts) for parts in zip(labels, entries, facts, strict=True)]
    title, said = labels[0], found(entries[0])
    if len(runs) > 1:
        title = f"{len(runs)} explanations side by side"
        by_name = [{entry.name: entry for entry in part} for part in entries]
        said = [*compared(labels, by_name), *(f"{labels[0]}: {sentence}" for sentence in said)]
    left_out = len(finished[0].run) - len(names)
    notes = [f"The page has the {len(names)} worst images; the run has {left_out} more."] if left_out else []
    for label, one, reasons in zip(labels, finished, hidden, strict=False):
        notes += [f"{label}: {text}" if len(runs) > 1 else text for text in absent(one, reasons)]
    return page_html(title, runs, found=said, not_concluded=not_concluded(entries[0]), note=" ".join(notes))


def absent(finished: FinishedRun, hidden: Mapping[str, str]) -> list[str]:
    """Returns a sentence for each kind of images that the page of a run lacks.

    Args:
        hidden: the images whose masks cannot be drawn, and why.
    """
    sentences = []
    for reason, count in Counter(hidden.values()).most_common(MOST_REASONS):
        told = reason.replace(f"{finished.path}/", "").rstrip(".")
        sentences.append(f"{'1 image is' if count == 1 else f'{count} images are'} not shown: {told}.")
    failed = len(set(RunFolder(finished.path).read_failures()) - set(finished.run))
    if failed:
        images = "1 image" if failed == 1 else f"{failed} images"
        sentences.append(f"{images} could not be explained; failures.csv of the run says why.")
    return sentences


def worst_images(run: Run, most: int) -> list[str]:
    """Returns the names of a run's images, or if there are more than `most`, of those that keep least beyond chance."""
    if len(run) <= most:
        return list(run)
    gains: dict[str, list[float]] = {}
    sample_ids = list(run)
    for row in run.rows:
        if row["explanation"] == 1:
            gains.setdefault(str(row["sample_id"]), []).append(float(row[KEPT]) - float(row[CHANCE]))
    return sorted(sample_ids, key=lambda name: math.fsum(gains.get(name, [])) / len(gains.get(name, [0])))[:most]


def entries_of(finished: FinishedRun, names: Sequence[str], *, note: Note) -> list[Entry]:
    """Returns images of a run; one whose masks cannot be drawn is left out, and the log says why.

    Args:
        note: is called with the name of each image that is left out, and the reason.
    """
    entries: list[Entry] = []
    audits, metrics = read_audit(finished.path), read_metrics(finished.path, OWN)

    def add(name: str, place: str) -> int:
        explained = finished.run[name]
        first, classes = explained.rows[0], finished.classifier.class_names
        predicted = first.get("predicted_name")
        if predicted is None and first.get("predicted") is not None:
            predicted = class_label(classes, int(first["predicted"]))
        entries.append(
            entry_of(
                explained.record,
                _photo(finished, name),
                class_label(classes, explained.target),
                predicted,
                allow_targets=finished.run.allow_targets,
                audit=audits.get(name),
                metrics=metrics.get(name),
            )
        )
        return 0

    each_image(names, add, note=note)
    return entries


def _photo(finished: FinishedRun, name: str) -> Image | None:
    """Returns the classifier's input; None if the photo cannot be read, which the log says."""
    with Guard(name, lambda name, reason: None):
        return finished.data.load(name, finished.classifier.preprocessing).image
    return None


def _entries_of_maps(folder: Path, finished: FinishedRun, own: Sequence[Entry]) -> list[Entry]:
    """Returns another method's maps of the images that a run shows, with what an evaluation says of them."""
    source, entries = FolderSource(folder, finished.run), []
    metrics = read_metrics(finished.path, folder.resolve().name)
    with_map = set(source.ids)
    for entry in own:
        if entry.name in with_map:
            with Guard(entry.name, lambda name, reason: None):
                packed = pack_map(source.read(entry.name).heatmap, sorted(entry.areas), name=entry.name)
                more = metrics.get(entry.name, {})
                entries.append(Entry(entry.name, entry.target, None, packed, entry.photo, metrics=more))
    return entries


def read_audit(path: Path) -> dict[str, dict[str, Any]]:
    """Returns the rows of a run's audit by image; empty if there is none."""
    file = path / "audit" / "per_image.csv"
    if not file.is_file():
        return {}
    with file.open(newline="", encoding="utf-8", errors="replace") as stream:
        return {row["sample_id"]: _without_empty(row) for row in csv.DictReader(stream) if row.get("sample_id")}


def _without_empty(row: Mapping[str | None, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name and isinstance(value, str) and value not in ("", "nan")}


def read_metrics(path: Path, name: str) -> dict[str, dict[str, float]]:
    """Returns the values of an evaluation by image and metric; empty if there is none.

    Raises UserError if its file is not what `inr-xai evaluate` writes.
    """
    file = path / "evaluation" / f"{name}.csv"
    if not file.is_file():
        return {}
    results, values = Results(file), dict[str, dict[str, float]]()
    for column in results.columns:
        for sample_id, value in results.values(column).items():
            values.setdefault(sample_id, {})[column] = value
    return values


def labels_of(finished: Sequence[FinishedRun]) -> list[str]:
    """Returns a short name for each run: that of its folder, with the options in which the runs differ."""
    flat = [flatten(one.run.config) for one in finished]
    options = sorted({key for config in flat for key in config if not is_free(key, "name")})
    differing = [key for key in options if len({json.dumps(config.get(key), default=str) for config in flat}) > 1]
    labels = []
    for one, config in zip(finished, flat, strict=True):
        named = [f"{key}={_shown(config.get(key))}" for key in differing[:MOST_DIFFERENT]]
        more = ["..."] if len(differing) > MOST_DIFFERENT else []
        folder = one.path.resolve().name
        labels.append(f"{folder}: {', '.join([*named, *more])}" if named else folder)
    return labels


def _unique(labels: Sequence[str]) -> list[str]:
    """Returns the labels, with a number behind those that have come before."""
    seen: Counter[str] = Counter()
    unique = []
    for label in labels:
        seen[label] += 1
        unique.append(label if seen[label] == 1 else f"{label} ({seen[label]})")
    return unique


def facts_of_run(finished: FinishedRun) -> dict[str, str]:
    """Returns what a page says of a run as a whole, by name."""
    config = flatten(finished.run.config)
    shown = {key: _shown(config[key]).strip("[]") for key in TOLD if config.get(key) is not None}
    target = str(config.get("classifier._target_", "")).rpartition(".")[2]
    named = {} if "classifier.name" in shown else {"classifier": target}
    version = finished.run.info.get("versions", {}).get("inr-xai")
    return named | shown | ({} if version is None else {"inr_xai": str(version)})


def _shown(value: Any) -> str:
    """Returns a value as text; of a path on this machine, which a page for others must not tell, its last part.

    >>> _shown("/home/me/weights.pt"), _shown([0.1, 0.2]), _shown("resnet50.a1_in1k")
    ('weights.pt', '[0.1, 0.2]', 'resnet50.a1_in1k')
    """
    if isinstance(value, list):
        return f"[{', '.join(map(_shown, value))}]"
    text = str(value)
    is_local = text.startswith(("~", ".")) or Path(text).is_absolute() or PureWindowsPath(text).is_absolute()
    return (PureWindowsPath(text).name or text) if is_local else text

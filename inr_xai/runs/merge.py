"""Runs of one configuration whose images were explained in folders of their own, joined to one: what may be, and how.

Masks files and figures are the same files under a second name, or copies; an image of a tar gets a masks file of its
own. All else is made anew. An image that several runs have counts once, as the first of them has it.
"""

import logging
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from inr_xai.data.names import files_below
from inr_xai.errors import UserError
from inr_xai.runs.failures import FailureNotes
from inr_xai.runs.files import link_or_copy, read_json, write_bytes, write_chunks
from inr_xai.runs.folder import FIGURES, POOLS, RUN, RunFolder, differences, is_free
from inr_xai.runs.index import ResultIndex
from inr_xai.runs.index_lines import moved_line
from inr_xai.runs.lock import read_marks
from inr_xai.runs.results import StoredResults
from inr_xai.runs.shards import HASH

log = logging.getLogger(__name__)


def require_joinable(folders: Sequence[RunFolder]) -> None:
    """Raises UserError unless all folders hold runs of one configuration, draws and photos, on which nobody works."""
    places = [folder.path.resolve() for folder in folders]
    for folder, place in zip(folders, places, strict=True):
        if places.count(place) > 1:
            raise UserError(f"{folder.path} is named twice; name each run once")
    first, runs = folders[0].path, {folder.path: folder.read_run() for folder in folders}
    for path, run in runs.items():
        for mark in read_marks(path):
            if mark.alive:
                who = "a process" if mark.holder is None else f"process {mark.holder.pid} of {mark.holder.host}"
                raise UserError(f"{who} works on {mark.work} of {path}; wait for it, or end it")
        if difference := _difference(runs[first], run):
            raise UserError(f"{path} cannot be joined with {first}: {difference}")
        changed = differences({"versions": runs[first].get("versions", {})}, {"versions": run.get("versions", {})})
        if run.get("threads") != runs[first].get("threads"):
            changed.append(f"threads (was {runs[first].get('threads')}, now {run.get('threads')})")
        if changed:
            log.warning("single bits of %s and %s may differ: %s", first, path, ", ".join(changed))


def join_runs(folders: Sequence[RunFolder], into: RunFolder, out: Path) -> tuple[StoredResults, dict[str, str]]:
    """Fills a folder with what runs have, and returns what is stored there then, and the failures.

    Tables, summary and what is measured of a run are not made here. It warns of images that several runs have.

    Args:
        into: an empty folder.
        out: the folder's path once it is whole, which run.json names.

    Raises:
        UserError: a masks file has to be read, and is damaged.
        RunFault: a fault of the machine.
    """
    index, notes = ResultIndex(into), FailureNotes(into)
    owners, repeated = dict[str, RunFolder](), list[tuple[str, RunFolder]]()
    known, unread = list[StoredResults](), list[str]()
    for folder in folders:
        results, unknown = ResultIndex(folder).known()
        others = [sample_id for place in unknown if (sample_id := folder.images.id_of(place)) is not None]
        repeated += [(sample_id, folder) for sample_id in (*results, *others) if sample_id in owners]
        new = [sample_id for sample_id in (*results, *others) if sample_id not in owners]
        owners |= dict.fromkeys(new, folder)
        for sample_id in new:
            _take_image(sample_id, folder, into)
        for name, _ in files_below(folder.path / FIGURES, ""):
            _take(folder.path / FIGURES / name, folder, into)
        known.append(StoredResults({sample_id: results[sample_id] for sample_id in new if sample_id in results}))
        unread += [sample_id for sample_id in new if sample_id not in results]
        notes.take_over(folder)
    write_chunks(index.file, (_line_in(into, *pair) for part in known for pair in part.lines()), within=into.path)
    for sample_id in unread:
        index.add(owners[sample_id].read(sample_id))
    _warn_of(repeated, owners)
    stored = index.read()
    failures = notes.conclude(stored)
    into.write_run(_facts(folders, out, ended=len(stored) + len(failures)))
    return stored, failures


def _difference(first: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
    """Says why the results of two runs do not belong together; None if they do. Both are contents of run.json."""
    if first.get("draws", 1) != other.get("draws", 1):
        return f"their random draws are of versions {first.get('draws', 1)} and {other.get('draws', 1)}"
    if changed := differences(first["config"], other["config"]):
        return f"their configurations differ in {', '.join(changed)}"
    before, now = first.get("environment", {}), other.get("environment", {})
    if texts := [key for key in sorted(before.keys() & now.keys()) if before[key] != now[key] and not is_free(key)]:
        return f"{', '.join(texts)} had other values of the environment"
    if pools := [pool for pool in POOLS if first[pool] != other[pool]]:
        return f"their data had other photos ({', '.join(pools)} in run.json)"
    return None


def _take(file: Path, folder: RunFolder, into: RunFolder) -> None:
    """Gives a file of a run the same place in another folder, unless an earlier run's file is there."""
    target = into.path / file.relative_to(folder.path)
    if not target.exists():
        link_or_copy(file, target)


def _take_image(sample_id: str, folder: RunFolder, into: RunFolder) -> None:
    """Gives an image of a run a masks file in another folder, with the time at which it was stored."""
    place = folder.images.existing(sample_id)
    if not place.member:
        _take(place.file, folder, into)
        return
    file = into.masks_file(sample_id)
    write_bytes(file, place.read())
    os.utime(file, ns=(place.mtime, place.mtime))


def _line_in(into: RunFolder, sample_id: str, line: bytes) -> bytes:
    """Returns an image's line of the index as it is in the folder that has taken the image."""
    place = into.images.existing(sample_id)
    return moved_line(line, into.images.name_of(place), place)


def _warn_of(repeated: Sequence[tuple[str, RunFolder]], owners: Mapping[str, RunFolder]) -> None:
    """Warns of images that are in several runs, and says whether their masks are the same."""
    if not repeated:
        return
    differ = sorted(
        {
            sample_id
            for sample_id, folder in repeated
            if not torch.equal(owners[sample_id].read(sample_id).masks, folder.read(sample_id).masks)
        }
    )
    count = len({sample_id for sample_id, _ in repeated})
    masks = f"the masks of {len(differ)} differ, such as those of {differ[0]}" if differ else "their masks are equal"
    log.warning("%d images are in several runs, of which the first counts; %s", count, masks)


def _facts(folders: Sequence[RunFolder], out: Path, *, ended: int) -> dict[str, Any]:
    """Returns the content of run.json for the runs together, without what the scores say.

    Args:
        ended: the number of images that are done or have failed.
    """
    runs = [read_json(folder.run_file, RUN) for folder in folders]  # as they are: older class paths stay
    planned = [run["planned"] for run in runs if "planned" in run]
    config = runs[0]["config"]
    devices = dict.fromkeys(run["device"] for run in runs if "device" in run)
    groups = {run.get("wandb_group") for run in runs}
    left_out = ("sittings", "concluded", *(("wandb_group",) if len(groups) > 1 else ()))
    return {
        **{key: value for key, value in runs[0].items() if key not in left_out},
        "config": config | {"out": str(out.absolute()), "shard": {"index": 0, "count": 1, "steal": False}},
        "wandb_id": secrets.token_hex(4),  # a W&B run of its own
        "sessions": sum(run.get("sittings", run.get("sessions", 0)) for run in runs),
        "split": HASH,
        **({"planned": max(*planned, ended)} if planned else {}),
        **({"device": ", ".join(devices)} if devices else {}),
        "merged": [str(folder.path.absolute()) for folder in folders],
    }

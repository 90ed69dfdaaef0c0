"""The run folder: the one place that knows its file names. Every file is written aside and renamed into place.

An image is done when its masks file is there, which one write commits (`inr_xai.runs.store`). The CSV files only repeat
what the masks files hold, and can be rebuilt from them.
"""

import csv
import io
import tempfile
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inr_xai.data.names import ASIDE, id_file
from inr_xai.errors import RunFault, UserError
from inr_xai.moved import with_new_paths
from inr_xai.runs.files import append_text, format_csv, is_abandoned, read_json, write_json
from inr_xai.runs.lock import folder_lock
from inr_xai.runs.masks_place import MasksPlace
from inr_xai.runs.stored_images import StoredImages
from inr_xai.runs.structure import Shape

if TYPE_CHECKING:  # what brings torch is imported late: who only looks at a folder does not wait for it
    from inr_xai.runs.masks_file import SampleRecord
    from inr_xai.runs.store import Store
    from inr_xai.types import Row

FREE_KEYS = (
    "data.root",
    "data.source.root",
    "data.segmentations",
    "data.limit",
    "classifier.root",  # of targets of 0.1.0 (`inr_xai.moved.SPLIT`)
    "image_batch_size",
    "masks_per_forward",
    "compile",
    "cuda_graphs",
    "channels_last",
    "trainer",
    "store",
    "logger",
    "callbacks",
    "shards",
    "shard",
    "threads",
    "lock",
    "outage",
    "checkpoint_every",
    "allow_targets",
    "evaluate",
    "audit",
    "report",
    "out",
    "dry_run",
)
"""The options, and groups of options, that a continued run may change: where and how it is computed, not what."""
CONFIG: dict[str, Shape] = {
    "name": str,
    "out": str,
    "areas": [float],
    "explanations": (int, str),
    "stop": {"share": float, "most": int},
    "exclusion": {"mode": str, "area": (float, None), "weight": float},
    "nested": bool,
    "steps": int,
    "stride": int,
    "total_variation": float,
    "binary": float,
    "seed": int,
    "image_batch_size": int,
    "masks_per_forward": int,
    "images_per_fit": (int, None),
    "trainer": {str: object},
    "perturbation": {"_target_": str},
    "inr": {"_target_": str},
    "area_rule": {"_target_": str},
    "objective": {"_target_": str},
    "score": {"_target_": str},
    "optimizer": {"_target_": str},
    "jitter": {"_target_": str},
    "reveal": {"_target_": str},
}
"""The options that every version has written to run.json, and what each must be."""
ADDED: dict[str, Any] = {
    "decay": 1.0,
    "start": {"_target_": "inr_xai.classifier.start.NoStart"},
    "plateau": {"steps": None},
    "compile": False,
    "cuda_graphs": False,
    "channels_last": None,
    "store": {"_target_": "inr_xai.runs.store.ImageStore", "masks": "float16"},
}
"""Options that later versions have added -> the value that stands for what a run without them has done."""
RUN: dict[str, Shape] = {
    "config": {
        str: object,
        "data": {str: object},
        "classifier": {str: object},
        "sweep_metric": str,
        **{f"{key}?": shape for key, shape in CONFIG.items()},
        "threads?": (int, None),
        "lock?": {"wait": (float, None)},
        "outage?": {"wait": float},
        "checkpoint_every?": (float, None),
        "shards?": (int, None),
        "shard?": {"index": int, "count": int, "steal?": bool},
        "allow_targets?": [str],
        "start?": {"_target_": str},
        "decay?": float,
        "plateau?": {"steps": (int, None)},
        "compile?": bool,
        "cuda_graphs?": bool,
        "channels_last?": (bool, None),
        "store?": {"_target_": str},
    },
    "scoring_pool": [str],
    "donor_pool": [str],
    "wandb_id": str,
    "seconds?": float,
    "sessions?": int,
    "sittings?": int,
    "classifier_passes?": {str: float},
    "device?": str,
    "seed?": int,
    "versions?": {str: str},
    "classifier?": {str: object},
    "threads?": int,
    "environment?": {str: str},
    "draws?": int,
    "split?": str,
    "planned?": int,
    "concluded?": str,
    "merged?": [str],
}
"""The shape of run.json."""
POOLS = ("scoring_pool", "donor_pool")
"""What run.json calls its pools of photos."""
SUMMARY = {str: float, "unmeasured?": int}
"""The shape of summary.json."""
FIGURES = "figures"
FAILURES, FAILURE_COLUMNS = "failures.csv", ["image_id", "reason"]


class RunFolder:
    """The files of a run below `path`; docs/runs.md shows the layout.

    Attributes:
        images: the images that are there, however they are stored.

    Args:
        store: how further images are written; by default each in a file of its own.
    """

    def __init__(self, path: str | Path, store: "Store | None" = None):
        self.path = Path(path)
        self.images = StoredImages(self.path)
        self._store = store
        self._committed: dict[str, MasksPlace] = {}
        self._begun = False

    @property
    def run_file(self) -> Path:
        """The path of run.json."""
        return self.path / "run.json"

    @property
    def begun(self) -> Path | None:
        """The path if this process has begun a run here, so that a folder that is gone must not be made anew."""
        return self.path if self._begun else None

    def exists(self) -> bool:
        """Returns whether a run was started here."""
        return self.run_file.exists()

    def read_run(self) -> dict[str, Any]:
        """Returns run.json, with the new paths of moved classes, and with the options that its version did not have.

        Raises UserError if it is missing, damaged, or not what `write_run` writes.
        """
        facts = read_json(self.run_file, RUN)
        facts |= {key: with_new_paths(facts[key]) for key in ("config", "classifier") if key in facts}
        return facts | {"config": ADDED | facts["config"]}

    def write_run(self, facts: Mapping[str, Any]) -> None:
        """Writes run.json."""
        write_json(self.run_file, facts, within=self.begun)
        self._begun = True

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Writes summary.json."""
        write_json(self.path / "summary.json", summary, within=self.begun)

    def read_summary(self) -> dict[str, Any]:
        """Returns summary.json. Raises UserError if it is missing, damaged, or no object of numbers."""
        return read_json(self.path / "summary.json", SUMMARY, "remove it, and the same command makes it again")

    def read_unmeasured(self) -> int:
        """Returns how many images are explained, but could not be evaluated or audited."""
        return int(self.read_summary().get("unmeasured", 0)) if (self.path / "summary.json").exists() else 0

    def require_same(self, config: Mapping[str, Any]) -> None:
        """Raises UserError if further images would not be explained as those that the run here has.

        It names the keys in which `config` differs, or the version of the random draws.
        """
        from inr_xai.draws import GENERATOR

        stored = self.read_run()
        if (drawn := stored.get("draws", 1)) != GENERATOR:
            raise UserError(
                f"{self.path} holds a run whose random draws are of version {drawn}, and this version of inr_xai draws "
                f"version {GENERATOR}; continue it with the version that began it, or give another out=PATH"
            )
        if different := differences(stored["config"], config):
            raise UserError(
                f"{self.path} holds a run of another configuration, which differs in {', '.join(different)}; "
                "give the old values to continue it, or another out=PATH"
            )

    def tidy(self) -> None:
        """Removes the files that a killed process left half written, and no file that another process writes now."""
        for file in self.path.rglob(f"{ASIDE}*"):
            if is_abandoned(file):
                file.unlink(missing_ok=True)

    def masks_file(self, sample_id: str) -> Path:
        """Returns the path of an image's masks file, if it has a file of its own."""
        return self.images.file_of(sample_id)

    def figure_file(self, sample_id: str, suffix: str = ".png") -> Path:
        """Returns the path of an image's figure."""
        return id_file(self.path / FIGURES, sample_id, suffix)

    def done(self) -> set[str]:
        """Returns the ids of the images that are stored."""
        return self.images.ids()

    def stored(self, sample_ids: Collection[str]) -> set[str]:
        """Returns those of some images that are stored by now, by any process, from one look at the disk."""
        return self.images.stored(sample_ids)

    def has(self, sample_id: str) -> bool:
        """Returns whether an image is stored by now. For many images, `stored` asks the disk less often."""
        return bool(self.images.stored([sample_id]))

    def look_anew(self, sample_id: str) -> None:
        """Lets `stored` see what another machine has stored a moment ago, which a network file system may hide."""
        for folder in {self.images.folder, self.masks_file(sample_id).parent}:
            with suppress(OSError), tempfile.TemporaryFile(dir=folder, prefix=ASIDE):
                pass  # a change of the folder lets the system ask for its content

    def commit(self, record: "SampleRecord") -> bool:
        """Stores an image, from which on it is done; one that is stored already stays.

        Returns:
            Whether this record is the one that counts.

        Raises:
            RunFault: the run's folder is gone, or another fault of the machine.
        """
        self.require_there()
        if self._store is None:
            from inr_xai.runs.store import ImageStore

            self._store = ImageStore()
        place = self._store.commit(self.images, record, within=self.begun)
        if place is not None:
            self._committed[record.sample_id] = place
        return place is not None

    def place_of(self, sample_id: str) -> MasksPlace:
        """Returns where an image is, once after `commit` where that has put it. Raises UserError if it is not there."""
        return self._committed.pop(sample_id, None) or self.images.existing(sample_id)

    def require_there(self) -> None:
        """Raises RunFault if the folder is gone in which this process has begun a run: it must not begin anew."""
        if self._begun and not self.run_file.exists():
            raise RunFault(f"{self.path} has lost its run.json; put the folder back, then the same command continues")

    def read(self, sample_id: str) -> "SampleRecord":
        """Returns what is stored of an image. Raises UserError if it is missing, damaged, or that of another image."""
        return self.images.read(sample_id)

    def append_rows(self, rows: "Sequence[Row]") -> None:
        """Adds rows to per_image.csv, which is written anew at the end of the run; columns that it lacks wait for that.

        Raises RunFault if the run's folder is gone.
        """
        self.require_there()
        file = self.path / "per_image.csv"
        with folder_lock(self.path):
            columns = _header(file)
            fitting = [{name: row.get(name) for name in columns} for row in rows] if columns else rows
            append_text(file, format_csv(fitting, header=not columns))

    def read_failures(self) -> dict[str, str]:
        """Returns failures.csv as image id -> reason; empty if there is no such file.

        Raises UserError if it is not what a run writes.
        """
        file = self.path / FAILURES
        try:
            content = file.read_bytes().decode()
            reader = csv.reader(io.StringIO(content, newline=""), strict=True)
            header, *lines = [line for line in reader if line]
            if header != FAILURE_COLUMNS or any(len(line) != len(header) for line in lines):
                raise ValueError(f"its columns are not {','.join(FAILURE_COLUMNS)}")
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, csv.Error) as error:
            raise UserError(f"{file} is damaged ({error}); remove it, and the same command makes it again") from error
        return dict(lines)


def _header(file: Path) -> list[str]:
    """Returns the columns of a CSV; none if it is missing or empty, or if its first line is no header of scores."""
    try:
        with file.open(newline="", encoding="utf-8", errors="replace") as stream:
            line = stream.readline(1_000_000)
    except FileNotFoundError:
        return []
    columns = next(csv.reader([line]), [])
    return columns if line.endswith("\n") else []


_ABSENT = object()


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Lists the options by which two configurations have different results, as `key (was ..., now ...)`."""
    old, new = flatten(before), flatten(after)

    def show(flat: Mapping[str, Any], key: str) -> str:
        return repr(flat[key]) if key in flat else "absent"

    return [
        f"{key} (was {show(old, key)}, now {show(new, key)})"
        for key in sorted(old.keys() | new.keys())
        if old.get(key, _ABSENT) != new.get(key, _ABSENT) and not is_free(key)
    ]


def is_free(key: str, *more: str) -> bool:
    """Returns whether an option, or a group that it is in, is one of FREE_KEYS or of `more`.

    >>> is_free("logger.wandb.mode"), is_free("data.size"), is_free("data.every", "data.every")
    (True, False, True)
    """
    return any(key == free or key.startswith(free + ".") for free in (*FREE_KEYS, *more))


def facts_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options of data and classifier that change what is made or measured of an image, as plain values."""
    flat = flatten({group: config[group] for group in ("data", "classifier")})
    chosen = ("data.targets", "data.every")  # which images and classes were explained
    return {key: value for key, value in flat.items() if not is_free(key, *chosen)}


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns nested dicts as one dict, whose keys are joined by dots.

    >>> flatten({"a": {"b": 1}, "c": [2]})
    {'a.b': 1, 'c': [2]}
    """
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat

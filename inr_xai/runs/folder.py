"""The run folder: the one place that knows its file names. Every file is written aside and renamed into place.

An image is done when its masks file is there: that one rename commits it. The CSV files only repeat what the masks
files hold, and can be rebuilt from them.
"""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from jaxtyping import Float
from torch import Tensor

from inr_xai.errors import UserError
from inr_xai.moved import with_new_paths
from inr_xai.runs.files import ASIDE, format_csv, read_json, write_bytes, write_json
from inr_xai.types import Frame, Row

FREE_KEYS = (
    "data.root",
    "data.source.root",
    "data.segmentations",
    "data.limit",
    "classifier.root",  # of targets of 0.1.0 (`inr_xai.moved.SPLIT`)
    "image_batch_size",
    "masks_per_forward",
    "trainer",
    "logger",
    "callbacks",
    "shard",
    "threads",
    "lock",
    "allow_targets",
    "evaluate",
    "audit",
    "out",
    "dry_run",
)
"""The options, and groups of options, that a continued run may change: where and how it is computed, not what."""
FORMAT = "1"


@dataclass
class SampleRecord:
    """Everything that is stored of one image.

    Args:
        areas: the areas of the masks, in their order.
        masks: float16, k x a x h x w, values in [0, 1]; images may have different numbers of explanations.
        inrs: the weights and buffers of each explanation's INR, by name.
        losses: the loss at each step of each fit, f x steps; f is k, or k + 1 if a last explanation was fitted and not
            kept.
        rows: the scores, one dict per explanation and area.
        drawing: what rendering needs in addition to the weights: family, area rule, exclusion and seed.
        steps_before, steps_after: the steps of the whole run before this image's stack and after it, from which curves
            are rebuilt.
        seconds: how long the image took, its part of the batch's time.
        extra: holds `dropped`, what the explanation that was not kept carried, if there is one.
    """

    sample_id: str
    target: int
    frame: Frame
    areas: list[float]
    masks: Float[Tensor, "k a h w"]
    inrs: list[dict[str, Tensor]]
    losses: Float[Tensor, "f s"]
    rows: list[Row]
    drawing: dict[str, Any]
    steps_before: int = 0
    steps_after: int = 0
    seconds: float = 0.0
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StoredFacts:
    """What a masks file says about its image, without the masks.

    Args:
        rows: the scores, one dict per explanation and area.
        seconds: how long the image took.
        steps_after: the steps of the whole run after this image's stack.
        fits: the number of fits, one per explanation and one for an explanation that was not kept.
    """

    rows: list[Row]
    seconds: float
    steps_after: int
    fits: int


class RunFolder:
    """The files of a run below `path`; the README shows the layout."""

    def __init__(self, path: str | Path):
        self.path = Path(path)

    @property
    def run_file(self) -> Path:
        """The path of run.json."""
        return self.path / "run.json"

    def exists(self) -> bool:
        """Returns whether a run was started here."""
        return self.run_file.exists()

    def read_run(self) -> dict[str, Any]:
        """Returns run.json, with the new paths of moved classes. Raises UserError if it is missing or damaged."""
        facts = read_json(self.run_file)
        return facts | {key: with_new_paths(facts[key]) for key in ("config", "classifier") if key in facts}

    def write_run(self, facts: Mapping[str, Any]) -> None:
        """Writes run.json."""
        write_json(self.run_file, facts)

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Writes summary.json."""
        write_json(self.path / "summary.json", summary)

    def read_summary(self) -> dict[str, Any]:
        """Returns summary.json. Raises UserError if it is missing or damaged."""
        return read_json(self.path / "summary.json")

    def read_unmeasured(self) -> int:
        """Returns how many images are explained, but could not be evaluated or audited."""
        return int(self.read_summary().get("unmeasured", 0)) if (self.path / "summary.json").exists() else 0

    def require_same(self, config: Mapping[str, Any]) -> None:
        """Raises UserError, which names the keys, if `config` would change the results of the run that is here."""
        if different := differences(self.read_run()["config"], config):
            raise UserError(
                f"{self.path} holds a run of another configuration, which differs in {', '.join(different)}; "
                "give the old values to continue it, or another out=PATH"
            )

    def tidy(self) -> None:
        """Removes the files that a killed process left half written."""
        for file in self.path.rglob(f"{ASIDE}*"):
            file.unlink(missing_ok=True)

    def masks_file(self, sample_id: str) -> Path:
        """Returns the path of an image's masks file."""
        return self.path / "masks" / f"{sample_id}.safetensors"

    def figure_file(self, sample_id: str) -> Path:
        """Returns the path of an image's figure."""
        return self.path / "figures" / f"{sample_id}.png"

    def done(self) -> set[str]:
        """Returns the ids of the images whose masks file is there."""
        root = self.path / "masks"
        files = (file.relative_to(root).as_posix() for file in root.rglob("*.safetensors") if file.is_file())
        return {name.removesuffix(".safetensors") for name in files}

    def commit(self, record: SampleRecord) -> None:
        """Writes an image's masks file; from then on the image is done."""
        tensors = {
            "masks": record.masks.to(torch.float16),
            "areas": torch.tensor(record.areas, dtype=torch.float32),
            "losses": record.losses.float(),
        }
        for k, weights in enumerate(record.inrs, start=1):
            tensors |= {f"inr.{k}.{name}": value for name, value in weights.items()}
        meta = {
            "format": FORMAT,
            "polarity": "1 keeps the pixel, 0 replaces it",
            "sample_id": record.sample_id,
            "target": record.target,
            "frame": asdict(record.frame),
            "areas": record.areas,
            "rows": record.rows,
            "drawing": record.drawing,
            "steps_before": record.steps_before,
            "steps_after": record.steps_after,
            "seconds": record.seconds,
            "extra": record.extra,
        }
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        data = safetensors.torch.save(tensors, metadata={"inr_xai": json.dumps(meta)})
        write_bytes(self.masks_file(record.sample_id), data)

    def read(self, sample_id: str) -> SampleRecord:
        """Returns what is stored of an image. Raises UserError if its masks file is missing or damaged."""
        tensors, meta = self._open(sample_id)
        frame_items = meta["frame"].items()  # JSON has made lists of the pairs
        frame: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in frame_items}
        explanations = tensors["masks"].shape[0]
        inrs: list[dict[str, Tensor]] = [{} for _ in range(explanations)]
        for name, tensor in tensors.items():
            if name.startswith("inr."):
                _, k, weight = name.split(".", 2)
                inrs[int(k) - 1][weight] = tensor
        return SampleRecord(
            sample_id=sample_id,
            target=meta["target"],
            frame=Frame(**frame),
            areas=meta["areas"],
            masks=tensors["masks"],
            inrs=inrs,
            losses=tensors["losses"],
            rows=meta["rows"],
            drawing=meta["drawing"],
            steps_before=meta["steps_before"],
            steps_after=meta.get("steps_after", 0),  # older files have none
            seconds=meta["seconds"],
            extra=meta["extra"],
        )

    def read_meta(self, sample_id: str) -> dict[str, Any]:
        """Returns what is stored of an image, without tensors. Raises UserError as `read` does."""
        return self._open(sample_id, only=())[1]

    def _open(self, sample_id: str, *, only: Sequence[str] | None = None) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Reads the tensors (or only those named) and the plain values of a masks file."""
        file = self.masks_file(sample_id)
        if not file.exists():
            raise UserError(f"{self.path} has no masks of {sample_id!r}; inr_xai.load(run).keys() lists what it has")
        try:
            with safetensors.safe_open(str(file), framework="pt") as opened:
                meta = json.loads(opened.metadata()["inr_xai"])
                names = list(opened.keys()) if only is None else only
                tensors = {name: opened.get_tensor(name) for name in names}
        except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
            raise UserError(
                f"{file} is damaged ({error}); delete it and run the same command to make it again"
            ) from error
        return tensors, meta

    def append_rows(self, rows: Sequence[Row]) -> None:
        """Adds rows to per_image.csv; `rebuild` repairs a line that a killed process left half written."""
        file = self.path / "per_image.csv"
        text = format_csv(rows, header=not file.exists())
        with file.open("a", newline="") as stream:
            stream.write(text)

    def rebuild(self, sample_ids: Iterable[str]) -> list[StoredFacts]:
        """Writes per_image.csv and curves.csv anew from the masks files of these images, and returns their facts."""
        stored: list[StoredFacts] = []
        curves: dict[tuple[int, int, int], list[float]] = {}
        for sample_id in sample_ids:
            tensors, meta = self._open(sample_id, only=("losses",))
            fits, steps = tensors["losses"].shape
            stored.append(StoredFacts(meta["rows"], meta["seconds"], meta.get("steps_after", 0), fits))
            for k, losses in enumerate(tensors["losses"].tolist(), start=1):
                for step, loss in enumerate(losses):
                    done = meta["steps_before"] + (k - 1) * steps + step
                    curves.setdefault((done, k, step), []).append(loss)
        lines = [
            {"steps_done": done, "explanation": k, "step": step, "loss": sum(batch) / len(batch), "images": len(batch)}
            for (done, k, step), batch in sorted(curves.items())
        ]
        write_bytes(self.path / "per_image.csv", format_csv([row for sample in stored for row in sample.rows]).encode())
        write_bytes(self.path / "curves.csv", format_csv(lines).encode())
        return stored

    def write_failures(self, failures: Mapping[str, str]) -> None:
        """Writes failures.csv: image id -> why the image could not be explained."""
        rows = [{"image_id": sample_id, "reason": reason} for sample_id, reason in sorted(failures.items())]
        write_bytes(self.path / "failures.csv", format_csv(rows, columns=["image_id", "reason"]).encode())

    def read_failures(self) -> dict[str, str]:
        """Returns failures.csv as image id -> reason; empty if there is no such file."""
        file = self.path / "failures.csv"
        if not file.exists():
            return {}
        with file.open(newline="") as stream:
            return {row["image_id"]: row["reason"] for row in csv.DictReader(stream)}


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

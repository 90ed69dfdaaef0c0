"""One image's masks file: what is in it, how it is written, and what must hold before anything in it is believed."""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors
import safetensors.numpy
import safetensors.torch
import torch
from jaxtyping import Float
from torch import Tensor

from inr_xai.draws import GENERATOR
from inr_xai.errors import UserError, error_text
from inr_xai.runs.masks_coding import compress_masks, decompress_masks
from inr_xai.runs.masks_place import MasksPlace
from inr_xai.runs.structure import require
from inr_xai.seeding import sha256
from inr_xai.types import Frame, Image, Row

Coding = Literal["lossless", "float16"]
"""How a file holds masks: compressed to the bit, or as a plain tensor, for any reader of safetensors."""
FORMATS: dict[Coding, str] = {"float16": "1", "lossless": "2"}
"""Coding of the masks -> the format of the file."""
COMPRESSED = "masks.zlib"
"""The tensor of compressed masks, which stands in the place of `masks`."""
FACTS, CHECKSUM = "inr_xai", "sha256"
"""The names of the file's metadata: everything that is no tensor, as JSON, and the hash of that and of all tensors."""
PAIR = [int]
CLASS = {"class": str, "arguments": {str: object}}
SHAPE = {
    "format": str,
    "sample_id": str,
    "target": int,
    "frame": {"original": PAIR, "resized": PAIR, "top": int, "left": int, "size": PAIR},
    "areas": [float],
    "masks?": {"shape": [int]},  # of compressed masks
    "rows": [{"explanation": int, "area": float, str: (str, float, bool, None)}],
    "drawing": {
        "inr": CLASS,
        "area_rule": CLASS,
        "exclusion": {"exclude": bool, "area": float},
        "seed": int,
    },
    "draws?": int,
    "steps_before": int,
    "steps_after?": int,  # older files have none
    "seconds": float,
    "extra": {str: object},
}


@dataclass
class SampleRecord:
    """Everything that is stored of one image.

    Args:
        areas: the areas of the masks, in their order.
        masks: float16, k x a x h x w, values in [0, 1]; images may have different numbers of explanations.
        inrs: the weights and buffers of each explanation's INR, by name.
        losses: the loss at each step of each fit, f x steps; f is k, or k + 1 if a last explanation was fitted and not
            kept. NaN for steps that a fit which ended early did not take.
        rows: the scores, one dict per explanation and area.
        drawing: what rendering needs in addition to the weights: family, area rule, exclusion and seed.
        steps_before, steps_after: the steps of the whole run before this image's stack and after it, from which curves
            are rebuilt.
        seconds: how long the image took, its part of the batch's time.
        extra: holds `top`, the most likely classes with their probabilities; `dropped`, what the explanation that was
            not kept carried, if there is one; and `passes`, the classifier passes of the image, if its fits could end
            early.
        image: the input itself, c x h x w, values in [0, 1], of which the file keeps 8 bits; None if it is not stored.
            Runs store none, since their data set has it.
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
    image: Image | None = None

    def table(self, column: str) -> Float[np.ndarray, "k a"]:
        """Returns a column of the rows by explanation and area; NaN where a row, or its value, is missing."""
        cells = {(row["explanation"], row["area"]): row.get(column) for row in self.rows}
        places = [[(k + 1, area) for area in self.areas] for k in range(len(self.masks))]
        values = [[cells.get(place) for place in line] for line in places]
        return np.array([[math.nan if value is None else float(value) for value in line] for line in values])


def pack_record(record: SampleRecord, coding: Coding = "float16") -> bytes:
    """Returns the content of a record's masks file, with its masks in a coding."""
    compressed = coding == "lossless"
    tensors = {
        COMPRESSED if compressed else "masks": compress_masks(record.masks) if compressed else record.masks.half(),
        "areas": torch.tensor(record.areas, dtype=torch.float32),
        "losses": record.losses.float(),
    }
    if record.image is not None:
        tensors["image"] = (record.image.clamp(0, 1) * 255).round().to(torch.uint8)
    for k, weights in enumerate(record.inrs, start=1):
        tensors |= {f"inr.{k}.{name}": value for name, value in weights.items()}
    meta = {
        "format": FORMATS[coding],
        "polarity": "1 keeps the pixel, 0 replaces it",
        "sample_id": record.sample_id,
        "target": record.target,
        "frame": asdict(record.frame),
        "areas": record.areas,
        **({"masks": {"shape": list(record.masks.shape)}} if compressed else {}),
        "rows": record.rows,
        "drawing": record.drawing,
        "draws": GENERATOR,
        "steps_before": record.steps_before,
        "steps_after": record.steps_after,
        "seconds": record.seconds,
        "extra": record.extra,
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(meta)
    # The same file as of safetensors.torch.save, which keeps 3 kB for each size of compressed masks in the process.
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    return safetensors.numpy.save(arrays, metadata={FACTS: text, CHECKSUM: _checksum(text, tensors)})


def read_record(file: Path | MasksPlace) -> SampleRecord:
    """Returns what a masks file holds, given its path or its place.

    Raises:
        UserError: the file is missing, has another format, or is not what `pack_record` makes to the last byte (but
            files of before have no checksum).
    """
    place = file if isinstance(file, MasksPlace) else MasksPlace(file)
    with _reading(place):
        data = place.read()
        metadata = _metadata(data)
        meta = _facts(metadata)
        tensors = safetensors.torch.load(data)
        if CHECKSUM in metadata and metadata[CHECKSUM] != _checksum(metadata[FACTS], tensors):
            raise ValueError("its content does not have the checksum that was written with it")
        if meta["format"] == FORMATS["lossless"]:
            tensors["masks"] = _decompressed(tensors, meta)
        inrs = _networks(tensors, meta)
        frame: dict[str, Any] = {  # JSON has made lists of the pairs
            key: tuple(value) if isinstance(value, list) else value for key, value in meta["frame"].items()
        }
        return SampleRecord(
            sample_id=meta["sample_id"],
            target=meta["target"],
            frame=Frame(**frame),
            areas=meta["areas"],
            masks=tensors["masks"],
            inrs=inrs,
            losses=tensors["losses"],
            rows=meta["rows"],
            drawing=meta["drawing"],
            steps_before=meta["steps_before"],
            steps_after=meta.get("steps_after", 0),
            seconds=meta["seconds"],
            extra=meta["extra"],
            image=tensors["image"].float() / 255 if "image" in tensors else None,
        )


def read_facts(file: Path | MasksPlace) -> tuple[dict[str, Any], bool]:
    """Returns what a masks file holds beside tensors, and whether the file has a checksum, which is not compared here.

    Raises UserError as `read_record` does.
    """
    place = file if isinstance(file, MasksPlace) else MasksPlace(file)
    with _reading(place):
        length = min(8 + int.from_bytes(place.read(8), "little"), place.file.stat().st_size)
        metadata = _metadata(place.read(length))
        return _facts(metadata), CHECKSUM in metadata


@contextmanager
def _reading(place: MasksPlace) -> Iterator[None]:
    """A context in which whatever a file that is no masks file makes its readers raise becomes a UserError."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{place} {error}") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"{place} cannot be read ({reason}); make it readable, or {place.remedy}") from error
    except Exception as error:  # whatever a file of other bytes makes the readers raise
        raise UserError(f"{place} is damaged ({error_text(error)}); {place.remedy}") from error


def _metadata(data: bytes) -> dict[str, str]:
    """Returns the metadata from the beginning of a safetensors file; raises ValueError if there is anything else."""
    header = data[8 : 8 + int.from_bytes(data[:8], "little")].rstrip(b" ")
    metadata: dict[str, str] = json.loads(header)["__metadata__"]
    require(metadata, {FACTS: str, f"{CHECKSUM}?": str}, "its metadata")
    if unknown := metadata.keys() - {FACTS, CHECKSUM}:
        raise ValueError(f"its metadata has {min(unknown)!r}")
    if not header.endswith(b"}"):
        raise ValueError("its header does not end where it should")
    return metadata


def _facts(metadata: dict[str, str]) -> dict[str, Any]:
    """Returns the plain values of a file, which have the types that they must have."""
    facts: dict[str, Any] = json.loads(metadata[FACTS])
    require(facts, {"format": str}, "its description")
    if facts["format"] not in FORMATS.values():
        raise UserError(
            f"has the format {facts['format']!r}, and this version of inr_xai reads "
            f"{' and '.join(map(repr, FORMATS.values()))}; read it with the version that wrote it"
        )
    require(facts, SHAPE)
    if any(len(facts["frame"][name]) != 2 for name in ("original", "resized", "size")):
        raise ValueError("frame has sizes that are no pairs")
    if not facts["areas"] or not all(0 < area < 1 for area in facts["areas"]):
        raise ValueError(f"areas is {facts['areas']}, not a list of fractions between 0 and 1")
    return facts


def _decompressed(tensors: dict[str, Tensor], facts: dict[str, Any]) -> Float[Tensor, "k a h w"]:
    """Takes the compressed masks out of a file's tensors, and returns the masks. Raises ValueError if they are none."""
    data, shape = tensors.pop(COMPRESSED, None), facts.get("masks", {}).get("shape", [])
    if data is None or "masks" in tensors:
        raise ValueError(f"it has no tensor {COMPRESSED!r}" if data is None else "it has masks twice")
    if data.dtype != torch.uint8 or data.ndim != 1 or len(shape) != 4 or min(shape) < 1:
        raise ValueError(f"{COMPRESSED} is {_described(data)}, for masks of the shape {shape}")
    return decompress_masks(data, tuple(shape))


def _networks(tensors: dict[str, Tensor], facts: dict[str, Any]) -> list[dict[str, Tensor]]:
    """Returns the weights of each explanation. Raises ValueError unless all tensors are there, as they must be."""
    for name, dtype, axes in (("masks", torch.float16, 4), ("areas", torch.float32, 1), ("losses", torch.float32, 2)):
        if name not in tensors:
            raise ValueError(f"it has no tensor {name!r}")
        if tensors[name].dtype != dtype or tensors[name].ndim != axes:
            raise ValueError(f"{name} is {_described(tensors[name])}, not {dtype} with {axes} axes")
    masks, losses = tensors["masks"], tensors["losses"]
    explanations, areas = masks.shape[:2]
    if areas != len(facts["areas"]) or not torch.equal(tensors["areas"], torch.tensor(facts["areas"]).float()):
        raise ValueError(f"areas is {tensors['areas'].tolist()}, and its description says {facts['areas']}")
    if list(masks.shape[2:]) != facts["frame"]["size"] or explanations < 1:
        raise ValueError(f"masks has the shape {tuple(masks.shape)}, and the input is {facts['frame']['size']}")
    if not bool(((masks >= 0) & (masks <= 1)).all()):  # which NaN is not, either
        raise ValueError("masks has values that do not lie in [0, 1]")
    if losses.shape[0] not in (explanations, explanations + 1):
        raise ValueError(f"losses has {losses.shape[0]} curves for {explanations} explanations")
    image = tensors.get("image")
    if image is not None and (image.dtype != torch.uint8 or image.ndim != 3 or image.shape[1:] != masks.shape[2:]):
        raise ValueError(f"image is {_described(image)}, and the input is {facts['frame']['size']} in 8 bits")
    inrs: list[dict[str, Tensor]] = [{} for _ in range(explanations)]
    for name in (name for name in tensors if name not in ("masks", "areas", "losses", "image")):
        kind, _, rest = name.partition(".")
        k, _, weight = rest.partition(".")
        if kind != "inr" or not k.isdecimal() or not 1 <= int(k) <= explanations or not weight:
            raise ValueError(f"it has an unknown tensor {name!r}")
        if tensors[name].is_floating_point() and not bool(tensors[name].isfinite().all()):
            raise ValueError(f"{name} has values that are not finite")
        inrs[int(k) - 1][weight] = tensors[name]
    for number, weights in enumerate(inrs, start=1):
        if missing := inrs[0].keys() ^ weights.keys():
            raise ValueError(f"explanation {number} does not have the tensors of the first: {min(missing)!r}")
        if not weights:
            raise ValueError(f"explanation {number} has no weights")
    return inrs


def _described(tensor: Tensor) -> str:
    return f"{tensor.dtype} of shape {tuple(tensor.shape)}"


def _checksum(text: str, tensors: dict[str, Tensor]) -> str:
    """Returns the hash of the plain values as text and of every tensor's name, type, shape and bytes."""
    parts = [text.encode()]
    for name in sorted(tensors):
        tensor = tensors[name]
        parts.append(f"\0{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        parts.append(tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return sha256(*parts).hexdigest()

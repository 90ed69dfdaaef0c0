"""Finished runs read back: `load(run)[sample_id].mask(...)` draws from the stored INRs at any area and size."""

import functools
import importlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from inr_xai.area import AreaRule
from inr_xai.data.transform import mask_to_image
from inr_xai.errors import UserError
from inr_xai.fitting.drawing import Drawing, check_rendering, load_networks
from inr_xai.fitting.importance import importance_areas, laid_over
from inr_xai.inr.base import INR
from inr_xai.limits import Exclusion
from inr_xai.method import Method
from inr_xai.moved import new_path
from inr_xai.runs.folder import RunFolder, SampleRecord
from inr_xai.types import Row

FRAMES = ("input", "image")


class Explained:
    """The explanations of one sample.

    Attributes:
        masks: as stored, float16, k x a x h x w; 1 keeps the pixel.
        areas: of `masks`, in their order.
    """

    def __init__(self, record: SampleRecord):
        self.record = record
        self.masks: Float[Tensor, "k a h w"] = record.masks
        self.areas, self.target, self.frame, self.rows = record.areas, record.target, record.frame, record.rows

    def mask(
        self,
        area: float,
        size: tuple[int, int] | int | None = None,
        *,
        explanation: int = 1,
        frame: str = "input",
    ) -> Float[Tensor, "h w"]:
        """The mask of an explanation at any area, fitted or not, and any resolution, values in [0, 1].

        Args:
            area: fraction of the classifier's input that the mask keeps.
            size: height and width in pixels (an int for both) of the input frame; None for the size fitted.
            explanation: from 1.
            frame: "input" for the classifier's input; "image" maps the mask back into the photo, 0 outside the crop.

        Raises:
            UserError: an area or explanation that was not fitted or has no room.
        """
        if frame not in FRAMES:
            raise UserError(f"frame must be input or image; got {frame!r}")
        shape = self._size(size)
        mask = draw_record(self.record, [area], shape, explanation)[0]
        return mask if frame == "input" else mask_to_image(mask, self.frame)

    def importance(self, size: tuple[int, int] | int | None = None) -> Float[Tensor, "h w"]:
        """One heatmap in [0, 1] of explanation 1; see `inr_xai.fitting.importance`."""
        shape = self._size(size)
        areas = importance_areas(shape)
        return laid_over(draw_record(self.record, areas, shape, 1), areas)

    def _size(self, size: tuple[int, int] | int | None) -> tuple[int, int]:
        if size is None:
            return (self.masks.shape[-2], self.masks.shape[-1])
        sides = (size, size) if isinstance(size, int) else size
        if not isinstance(sides, tuple) or len(sides) != 2 or not all(isinstance(s, int) and s > 0 for s in sides):
            raise UserError(f"size must be a side in pixels or (height, width), whole and positive; got {size!r}")
        return sides


class Run(Mapping[str, Explained]):
    """A run folder as a mapping from sample ids to what was found."""

    def __init__(self, path: str | Path):
        self._folder = RunFolder(path)
        self.info: dict[str, Any] = self._folder.read_run()
        self._ids = sorted(self._folder.done())

    def __getitem__(self, sample_id: str) -> Explained:
        if sample_id not in self._ids:
            raise KeyError(f"{sample_id!r} is not in this run; it has {len(self._ids)} samples: list(run) names them")
        return Explained(self._folder.read(sample_id))

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids)

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def summary(self) -> dict[str, Any]:
        """summary.json: means over images by `<column>/k<k>` and `<column>/k<k>/a<area>`."""
        return self._folder.read_summary()

    @property
    def rows(self) -> list[Row]:
        """One dict per sample, explanation and area, as in per_image.csv."""
        return [row for sample_id in self._ids for row in self._folder.read_meta(sample_id)["rows"]]


def load(run: str | Path) -> Run:
    """Reads a run folder back. Raises UserError where there is none."""
    return Run(run)


def describe_drawing(method: Method) -> dict[str, Any]:
    """What `draw_record` needs of a method, as plain values to store."""
    family = method.inr
    arguments = dict(family.keywords) if isinstance(family, functools.partial) else {}
    family = family.func if isinstance(family, functools.partial) else family
    rule = method.area_rule
    return {
        "inr": {"class": _name(family), "arguments": arguments},
        # An area rule keeps its arguments as attributes of the same names.
        "area_rule": {"class": _name(type(rule)), "arguments": vars(rule)},
        "exclusion": {"exclude": method.exclusion.mode == "exclude", "area": method.exclusion_area},
        "seed": method.seed,
    }


def stored_method(record: SampleRecord, areas: Sequence[float]) -> Method:
    """What rendering at `areas` needs of the method that `describe_drawing` described."""
    drawing = record.drawing
    rule, exclusion = drawing["area_rule"], drawing["exclusion"]
    return Method(
        areas=tuple(areas),
        exclusion=Exclusion("exclude" if exclusion["exclude"] else "penalty", exclusion["area"]),
        seed=drawing["seed"],
        area_rule=_resolve(rule["class"], AreaRule)(**rule["arguments"]),
    )


def draw_record(
    record: SampleRecord, areas: Sequence[float], size: tuple[int, int], explanation: int
) -> Float[Tensor, "a h w"]:
    """Masks of one stored explanation; the ones before it are drawn first, for what they take."""
    if not 1 <= explanation <= len(record.inrs):
        raise UserError(f"explanation must lie in 1 to {len(record.inrs)}, the number fitted; got {explanation}")
    for area in areas:
        exclusion = record.drawing["exclusion"]
        check_rendering(area, explanation, exclusion_area=exclusion["area"], exclude=exclusion["exclude"])
    drawing = Drawing.of(stored_method(record, areas), [record.sample_id], size)
    for k in range(1, explanation):
        stored = _stored(record, drawing.areas, size, k)
        drawing.next(_network(record, k)) if stored is None else drawing.take(stored)
    return drawing.next(_network(record, explanation))[0].float()


def _stored(
    record: SampleRecord, areas: Sequence[float], size: tuple[int, int], k: int
) -> Float[Tensor, "1 e h w"] | None:
    """The masks as fitted, where that is just what would be drawn: they exclude to the pixel what they did then."""
    if record.masks.shape[-2:] != size or any(area not in record.areas for area in areas):
        return None
    return record.masks[k - 1, [record.areas.index(area) for area in areas]].unsqueeze(0)


def _network(record: SampleRecord, explanation: int) -> INR:
    weights, family = record.inrs[explanation - 1], record.drawing["inr"]
    inr: INR = _resolve(family["class"], INR)([torch.Generator()], **family["arguments"])
    inr.to(next(value for value in weights.values() if value.is_floating_point()).dtype)
    load_networks(inr, [weights])
    return inr


def _name(target: Any) -> str:
    return f"{target.__module__}:{target.__qualname__}"


def _resolve(name: str, kind: type) -> Any:
    """The class of that name; anything but a subclass of `kind` is refused, since the name comes from a file."""
    module, _, qualified = new_path(name).partition(":")
    try:
        target = functools.reduce(getattr, qualified.split("."), importlib.import_module(module))
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"this run needs {name}, which cannot be imported ({error}); install what defines it"
        ) from error
    if not (isinstance(target, type) and issubclass(target, kind)):
        raise UserError(f"this run names {name}, which is no {kind.__name__}; was the file changed by hand?")
    return target

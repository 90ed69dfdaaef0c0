"""Finished runs read back: `load(run)[sample_id].mask(...)` draws a mask from the stored INRs at any area and size."""

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
from inr_xai.fitting.importance import importance_areas, weighted_mean
from inr_xai.inr.base import INR
from inr_xai.limits import Exclusion
from inr_xai.method import Method
from inr_xai.moved import new_path
from inr_xai.runs.files import read_json
from inr_xai.runs.folder import RunFolder, SampleRecord
from inr_xai.types import Row

FRAMES = ("input", "image")


class Explained:
    """The stored explanations of one image.

    Attributes:
        record: everything that is stored of the image.
        masks: the masks as stored, float16, k x a x h x w, values in [0, 1]; 1 keeps the pixel.
        areas: the areas of `masks`, in their order.
        target: the index of the explained class.
        frame: how the photo became the classifier's input.
        rows: the scores, one dict per explanation and area.
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
        """Draws the mask of an explanation at any area, fitted or not, and any resolution, values in [0, 1].

        Args:
            area: fraction of the classifier's input that the mask keeps, in (0, 1).
            size: height and width in pixels (an int for both) of the input frame; None for the size fitted.
            explanation: which explanation, from 1.
            frame: "input" for the classifier's input; "image" maps the mask back into the photo, 0 outside the crop.

        Raises:
            UserError: the explanation was not fitted, or a mask of this area does not fit beside the earlier ones.
        """
        if frame not in FRAMES:
            raise UserError(f"frame must be input or image; got {frame!r}")
        shape = self._size(size)
        mask = draw_record(self.record, [area], shape, explanation)[0]
        return mask if frame == "input" else mask_to_image(mask, self.frame)

    def importance(self, size: tuple[int, int] | int | None = None) -> Float[Tensor, "h w"]:
        """Returns one heatmap of explanation 1, values in [0, 1]; see `inr_xai.fitting.importance`."""
        shape = self._size(size)
        areas = importance_areas(shape)
        return weighted_mean(draw_record(self.record, areas, shape, 1), areas)

    def _size(self, size: tuple[int, int] | int | None) -> tuple[int, int]:
        """Returns height and width of a mask, or refuses a size that is neither a side nor a pair of sides."""
        if size is None:
            return (self.masks.shape[-2], self.masks.shape[-1])
        sides = (size, size) if isinstance(size, int) else size
        if not isinstance(sides, tuple) or len(sides) != 2 or not all(isinstance(s, int) and s > 0 for s in sides):
            raise UserError(f"size must be a side in pixels or (height, width), whole and positive; got {size!r}")
        return sides


class Run(Mapping[str, Explained]):
    """A run folder as a mapping from image ids to explanations.

    Attributes:
        info: the content of run.json.
    """

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
    def stored_config(self) -> dict[str, Any]:
        """The configuration as run.json holds it: moved classes have the paths of the version that wrote it."""
        config: dict[str, Any] = read_json(self._folder.run_file)["config"]
        return config

    @property
    def summary(self) -> dict[str, Any]:
        """The content of summary.json: means over images by `<column>/k<k>` and `<column>/k<k>/a<area>`."""
        return self._folder.read_summary()

    @property
    def rows(self) -> list[Row]:
        """The scores, one dict per image, explanation and area, as in per_image.csv."""
        return [row for sample_id in self._ids for row in self._folder.read_meta(sample_id)["rows"]]


def load(run: str | Path) -> Run:
    """Reads a run folder back. Raises UserError if the folder holds no run."""
    return Run(run)


def describe_drawing(method: Method) -> dict[str, Any]:
    """Returns what `draw_record` needs of a method, as plain values to store."""
    family = method.inr
    arguments = dict(family.keywords) if isinstance(family, functools.partial) else {}
    family = family.func if isinstance(family, functools.partial) else family
    rule = method.area_rule
    return {
        "inr": {"class": _class_path(family), "arguments": arguments},
        # An area rule keeps its arguments as attributes of the same names.
        "area_rule": {"class": _class_path(type(rule)), "arguments": vars(rule)},
        "exclusion": {"exclude": method.exclusion.mode == "exclude", "area": method.exclusion_area},
        "seed": method.seed,
    }


def stored_method(record: SampleRecord, areas: Sequence[float]) -> Method:
    """Returns a method that renders masks at `areas` as the method did that `describe_drawing` described.

    Its other parts have their defaults. Raises UserError if the stored area rule cannot be imported.
    """
    rule, exclusion = record.drawing["area_rule"], record.drawing["exclusion"]
    return Method(
        areas=tuple(areas),
        exclusion=Exclusion("exclude" if exclusion["exclude"] else "penalty", exclusion["area"]),
        seed=record.drawing["seed"],
        area_rule=_import_class(rule["class"], AreaRule)(**rule["arguments"]),
    )


def draw_record(
    record: SampleRecord, areas: Sequence[float], size: tuple[int, int], explanation: int
) -> Float[Tensor, "a h w"]:
    """Draws masks of one stored explanation, values in [0, 1]; earlier ones are drawn first, for the pixels they take.

    Raises:
        UserError: the explanation was not fitted, or a mask does not fit beside the earlier ones.
    """
    if not 1 <= explanation <= len(record.inrs):
        raise UserError(f"explanation must lie in 1 to {len(record.inrs)}, the number fitted; got {explanation}")
    for area in areas:
        exclusion = record.drawing["exclusion"]
        check_rendering(area, explanation, exclusion_area=exclusion["area"], exclude=exclusion["exclude"])
    drawing = Drawing.of(stored_method(record, areas), [record.sample_id], size)
    for k in range(1, explanation):
        stored = _stored(record, drawing.areas, size, k)
        drawing.next(_network(record, k)) if stored is None else drawing.add(stored)
    return drawing.next(_network(record, explanation))[0].float()


def _stored(
    record: SampleRecord, areas: Sequence[float], size: tuple[int, int], k: int
) -> Float[Tensor, "1 e h w"] | None:
    """Returns the stored masks of explanation k if they have these areas and this size, else None.

    They are better than drawing again: what later explanations may not use is then the same to the pixel.
    """
    if record.masks.shape[-2:] != size or any(area not in record.areas for area in areas):
        return None
    return record.masks[k - 1, [record.areas.index(area) for area in areas]].unsqueeze(0)


def _network(record: SampleRecord, explanation: int) -> INR:
    """Returns the INR of a stored explanation."""
    weights, family = record.inrs[explanation - 1], record.drawing["inr"]
    inr: INR = _import_class(family["class"], INR)([torch.Generator()], **family["arguments"])
    inr.to(next(value for value in weights.values() if value.is_floating_point()).dtype)
    load_networks(inr, [weights])
    return inr


def _class_path(target: Any) -> str:
    """Returns the path by which `_import_class` finds a class."""
    return f"{target.__module__}:{target.__qualname__}"


def _import_class(path: str, base: type) -> Any:
    """Returns the class at a path; anything but a subclass of `base` is refused, since the path comes from a file."""
    module, _, name = new_path(path).partition(":")
    try:
        target = functools.reduce(getattr, name.split("."), importlib.import_module(module))
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"this run needs {path}, which cannot be imported ({error}); install what defines it"
        ) from error
    if not (isinstance(target, type) and issubclass(target, base)):
        raise UserError(f"this run names {path}, which is no {base.__name__}; was the file changed by hand?")
    return target

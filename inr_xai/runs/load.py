"""Finished runs read back: `load(run)[sample_id].mask(...)` draws a mask from the stored INRs at any area and size."""

import functools
import importlib
import inspect
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from inr_xai.area import AreaRule
from inr_xai.data.transform import mask_to_image
from inr_xai.errors import UserError, error_text
from inr_xai.fitting.drawing import Drawing, check_rendering, load_networks
from inr_xai.fitting.fit import FitResult
from inr_xai.fitting.importance import importance_areas, weighted_mean
from inr_xai.fitting.run_scorer import RunScorer
from inr_xai.inr.base import INR
from inr_xai.limits import Exclusion
from inr_xai.method import Method
from inr_xai.moved import new_path
from inr_xai.runs.files import read_json
from inr_xai.runs.folder import CONFIG, RUN, RunFolder
from inr_xai.runs.index import ResultIndex
from inr_xai.runs.masks_file import SampleRecord
from inr_xai.runs.results import StoredResults, StoredRows
from inr_xai.runs.structure import require
from inr_xai.types import Frame, Row

FRAMES = ("input", "image")
CHANGED = "was the file changed by hand?"
NUMBERS = (str, float, bool, None, [(str, float, bool, None)])
PLAIN = (str, float, bool, None, [NUMBERS], {str: NUMBERS})
"""The shape of an argument that a file has."""


class Explained:
    """The stored explanations of one image.

    Attributes:
        record: everything that is stored of the image.
        masks: the masks as stored, float16, k x a x h x w, values in [0, 1]; 1 keeps the pixel.
        areas: the areas of `masks`, in their order.
        target: the index of the explained class.
        frame: how the photo became the classifier's input.
        rows: the scores, one dict per explanation and area.

    Args:
        allow_targets: the packages, modules or classes that may be imported besides our own to draw masks, see `load`.
    """

    def __init__(self, record: SampleRecord, allow_targets: Sequence[str] = ()):
        self.record, self.allow_targets = record, allow_targets
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
        mask = draw_record(self.record, [area], shape, explanation, self.allow_targets)[0]
        return mask if frame == "input" else mask_to_image(mask, self.frame)

    def importance(self, size: tuple[int, int] | int | None = None) -> Float[Tensor, "h w"]:
        """Returns one heatmap of explanation 1, values in [0, 1]; see `inr_xai.fitting.importance`."""
        shape = self._size(size)
        areas = importance_areas(shape)
        return weighted_mean(draw_record(self.record, areas, shape, 1, self.allow_targets), areas)

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
        folder: the run's folder.
        info: the content of run.json.
        allow_targets: see `load`.
    """

    def __init__(self, path: str | Path, allow_targets: Sequence[str] = ()):
        self.folder, self.allow_targets = RunFolder(path), tuple(allow_targets)
        self.info: dict[str, Any] = self.folder.read_run()
        self._ids = dict.fromkeys(sorted(self.folder.done()))

    def __getitem__(self, sample_id: str) -> Explained:
        if sample_id not in self._ids:
            raise KeyError(f"{sample_id!r} is not in this run; it has {len(self._ids)} samples: list(run) names them")
        return Explained(self.folder.read(sample_id), self.allow_targets)

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids)

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def config(self) -> dict[str, Any]:
        """The configuration, with the paths of now. Raises UserError if run.json lacks one of its options."""
        config: dict[str, Any] = self.info["config"]
        if missing := sorted(CONFIG.keys() - config.keys()):
            raise UserError(f"{self.folder.run_file} has no config.{missing[0]}; {CHANGED}")
        return config

    @property
    def stored_config(self) -> dict[str, Any]:
        """The configuration as run.json holds it: moved classes have the paths of the version that wrote it."""
        config: dict[str, Any] = read_json(self.folder.run_file, RUN)["config"]
        return config

    @property
    def summary(self) -> dict[str, Any]:
        """The content of summary.json: means over images by `<column>/k<k>` and `<column>/k<k>/a<area>`."""
        return self.folder.read_summary()

    @property
    def rows(self) -> Collection[Row]:
        """The scores, one dict per image, explanation and area, as in per_image.csv; each walk reads them anew."""
        return StoredRows(self._read_rows)

    def _read_rows(self) -> Iterator[list[Row]]:
        """Yields the rows of each image: those that the index has from there, the others from the masks files."""
        known, _ = ResultIndex(self.folder).known()
        of_index = StoredResults({sample_id: known[sample_id] for sample_id in self._ids if sample_id in known})
        scores = of_index.scores()
        for sample_id in self._ids:
            yield next(scores) if sample_id in of_index else self.folder.images.facts(sample_id)[0]["rows"]


def load(run: str | Path, allow_targets: Sequence[str] = ()) -> Run:
    """Reads a run folder back.

    Args:
        allow_targets: packages, modules or classes that may be imported to draw masks. Without it only our own INRs and
            area rules are, because the masks files name the classes, and may come from someone else.

    Raises:
        UserError: the folder holds no run, or run.json is not what a run writes.
    """
    return Run(run, allow_targets)


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


def record_of_fit(
    sample_id: str,
    target: int,
    frame: Frame,
    *,
    position: int,
    fitted: FitResult,
    scorer: RunScorer,
    method: Method,
    **more: Any,
) -> SampleRecord:
    """Returns the record of one image of a batch that was just fitted and scored.

    Args:
        position: of the image in the batch.
        more: further fields of the record; `extra` is what it holds beside `top`, the most likely classes.
    """
    extra = more.pop("extra", {}) | {"top": scorer.answers[position].pairs()}
    return SampleRecord(
        sample_id=sample_id,
        target=target,
        frame=frame,
        areas=list(method.areas),
        masks=fitted.masks[position, : fitted.counts[position]],
        inrs=fitted.networks[position],
        losses=fitted.losses[position, : fitted.fits[position]],
        rows=scorer.rows[position],
        drawing=describe_drawing(method),
        extra=extra,
        **more,
    )


def stored_method(record: SampleRecord, areas: Sequence[float], allow_targets: Sequence[str] = ()) -> Method:
    """Returns a method that renders masks at `areas` as the method did that `describe_drawing` described.

    Its other parts have their defaults. Raises UserError if the stored area rule is none, or may not be imported.
    """
    rule, exclusion = record.drawing["area_rule"], record.drawing["exclusion"]
    return Method(
        areas=tuple(areas),
        exclusion=Exclusion("exclude" if exclusion["exclude"] else "penalty", exclusion["area"]),
        seed=record.drawing["seed"],
        area_rule=_build(rule, AreaRule, allow_targets),
    )


def draw_record(
    record: SampleRecord,
    areas: Sequence[float],
    size: tuple[int, int],
    explanation: int,
    allow_targets: Sequence[str] = (),
) -> Float[Tensor, "a h w"]:
    """Draws masks of one stored explanation, values in [0, 1]; earlier ones are drawn first, for the pixels they take.

    Raises:
        UserError: the explanation was not fitted, a mask does not fit beside the earlier ones, or the record names
            classes that may not be imported, or that its arguments and weights do not fit.
    """
    if not 1 <= explanation <= len(record.inrs):
        raise UserError(f"explanation must lie in 1 to {len(record.inrs)}, the number fitted; got {explanation}")
    for area in areas:
        exclusion = record.drawing["exclusion"]
        check_rendering(area, explanation, exclusion_area=exclusion["area"], exclude=exclusion["exclude"])
    drawing = Drawing(stored_method(record, areas, allow_targets), [record.sample_id], size)
    for k in range(1, explanation):
        stored = _stored(record, drawing.areas, size, k)
        drawing.next(_network(record, k, allow_targets)) if stored is None else drawing.add(stored)
    return drawing.next(_network(record, explanation, allow_targets))[0].float()


def draw_explanations(
    record: SampleRecord, areas: Sequence[float], size: tuple[int, int], allow_targets: Sequence[str] = ()
) -> Float[Tensor, "k a h w"]:
    """Draws masks of all stored explanations at once, values in [0, 1], as `draw_record` draws those of one.

    Raises UserError as `draw_record` does.
    """
    exclusion, count = record.drawing["exclusion"], len(record.inrs)
    for area in areas:
        check_rendering(area, count, exclusion_area=exclusion["area"], exclude=exclusion["exclude"])
    drawing = Drawing(stored_method(record, areas, allow_targets), [record.sample_id], size)
    masks = [drawing.next(_network(record, k, allow_targets))[0].float() for k in range(1, count + 1)]
    return torch.stack(masks)


def _stored(
    record: SampleRecord, areas: Sequence[float], size: tuple[int, int], k: int
) -> Float[Tensor, "1 e h w"] | None:
    """Returns the stored masks of explanation k if they have these areas and this size, else None.

    They are better than drawing again: what later explanations may not use is then the same to the pixel.
    """
    if record.masks.shape[-2:] != size or any(area not in record.areas for area in areas):
        return None
    return record.masks[k - 1, [record.areas.index(area) for area in areas]].unsqueeze(0)


def _network(record: SampleRecord, explanation: int, allow_targets: Sequence[str]) -> INR:
    """Returns the INR of a stored explanation."""
    weights = record.inrs[explanation - 1]
    inr: INR = _build(record.drawing["inr"], INR, allow_targets, [torch.Generator()])
    try:
        inr.to(next(value for value in weights.values() if value.is_floating_point()).dtype)
        load_networks(inr, [weights])
    except (RuntimeError, KeyError, StopIteration, TypeError) as error:
        raise UserError(
            f"the weights of explanation {explanation} of {record.sample_id!r} are not those of the INR that its masks "
            f"file names ({' '.join(str(error).split())}); delete the file and run the same command to make it again"
        ) from error
    return inr


def _class_path(target: Any) -> str:
    """Returns the path by which `_import_class` finds a class."""
    return f"{target.__module__}:{target.__qualname__}"


def _build(node: Mapping[str, Any], base: type, allow_targets: Sequence[str], *arguments: Any) -> Any:
    """Returns an object of the class that a file names, made with the arguments that the file has.

    Args:
        node: holds `class`, the path of a subclass of `base`, and `arguments`, which are plain values.
        arguments: what comes before these.
    """
    target = _import_class(node["class"], base, allow_targets)
    try:
        require(node["arguments"], {str: PLAIN})
        inspect.signature(target).bind(*arguments, **node["arguments"])
        return target(*arguments, **node["arguments"])
    except (TypeError, ValueError, RuntimeError, MemoryError) as error:
        raise UserError(
            f"this run names {node['class']} with arguments that it does not take ({error_text(error)}); {CHANGED}"
        ) from error


def _import_class(path: str, base: type, allow_targets: Sequence[str]) -> Any:
    """Returns the class at a path; anything but a subclass of `base` is refused, since the path comes from a file.

    Nothing is imported unless it is of the folder in which `base` is, or the user allows it.
    """
    module, _, name = new_path(path).partition(":")
    places = [base.__module__.removesuffix(".base"), *allow_targets]
    if not any(f"{module}.{name}.".startswith(f"{place}.") for place in places):
        raise UserError(
            f"this run names {path}, which is none of our classes; if you trust it, "
            f"allow_targets=[{module.partition('.')[0]}] lets it be imported"
        )
    try:
        target = functools.reduce(getattr, name.split("."), importlib.import_module(module))
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(
            f"this run needs {path}, which cannot be imported ({error}); install what defines it"
        ) from error
    if not (isinstance(target, type) and issubclass(target, base)):
        raise UserError(f"this run names {path}, which is no {base.__name__}; {CHANGED}")
    return target

"""Importance maps of masks as an attribution method of the package captum, for all its tools that take one.

Kokhlikyan et al., "Captum: A unified and generic model interpretability library for PyTorch", 2020.
"""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, TypeVar

import lightning
import torch
from torch import Tensor
from tqdm.auto import tqdm

from inr_xai.attribution import NO_TARGET, AreaValues, INRAttribution, class_indices
from inr_xai.classifier.frozen import owner
from inr_xai.classifier.scored import kind_of
from inr_xai.errors import UserError
from inr_xai.integrations import SHARED_ID
from inr_xai.objective import ScoreFunction
from inr_xai.perturbation import Constant, GivenImage, Perturbation
from inr_xai.types import Images, Targets

try:
    from captum.attr import PerturbationAttribution
    from captum.log import log_usage
except ImportError as error:
    raise UserError(
        "inr_xai.integrations.captum needs the package captum, which cannot be imported; "
        "install it with: pip install 'inr-xai[captum]'"
    ) from error

Index = tuple[int, ...] | None
"""Where the explained number stands in the output for one image; None for a class."""


Function = TypeVar("Function", bound=Callable[..., Any])


def as_captum_calls(function: Function) -> Function:
    """Returns a function whose `__wrapped__` is the one that is given: NoiseTunnel calls this of a method."""
    return log_usage()(function)


class INRImportance(PerturbationAttribution):  # type: ignore[misc]
    """The importance map of `INRAttribution` as a method of captum.

    As for all perturbation methods of captum, `multiplies_by_inputs` is True: a map says what pixels contribute by
    being there, and is no gradient. So `infidelity` needs perturbations that remove pixels.

    By default all images have the same random draws, in every call. `sensitivity_max` explains changed images: with
    draws of its own for each, named by its pixels, it would measure how the draws differ and not the explanations.

    Args:
        forward_func: the model, a module or any callable, which `forward_func` then is as in all methods of captum; or
            an INRAttribution that is ready.
        options: arguments of INRAttribution, such as head="sigmoid", donors=photos or steps=200; none with one that is
            ready.

    Example:
        >>> from captum.attr import NoiseTunnel
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 4))
        >>> tunnel = NoiseTunnel(INRImportance(model, steps=1))
        >>> tunnel.attribute(torch.rand(2, 3, 8, 8), nt_samples=2, stdevs=0.1, target=3).shape
        torch.Size([2, 3, 8, 8])
    """

    def __init__(self, forward_func: INRAttribution | Callable[..., Any], **options: Any):
        if not isinstance(forward_func, INRAttribution):
            forward_func = INRAttribution(forward_func, **options)
        elif options:
            raise UserError(f"the INRAttribution has its options already; give it {', '.join(options)}")
        super().__init__(forward_func.model)
        self.explainer = forward_func

    @classmethod
    def get_name(cls) -> str:
        """Returns the name by which captum's tools call the method."""
        return "INR Importance"

    @as_captum_calls
    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        baselines: Any = None,
        target: Any = None,
        additional_forward_args: Any = None,
        areas: AreaValues = (0.05, 0.1, 0.2, 0.3),
        perturbations_per_eval: int | None = None,
        show_progress: bool = False,
        *,
        image_ids: Sequence[str] | None = None,
    ) -> Tensor | tuple[Tensor, ...]:
        """Returns the importance of each pixel in [0, 1], the same for its channels, in the shape of the inputs.

        Args:
            inputs: b x c x h x w, or a tuple of one such tensor, which gives a tuple.
            baselines: what replaces the pixels that a mask hides, a number or a tensor that is broadcast to the inputs;
                None for what the INRAttribution has, by default several kinds of them.
            target: a class for all images (an int, a tensor or tuple of one), or one for each (a tensor or a list). For
                outputs of several dimensions, such as b x n x h x w, the place of the number that is explained, (c, i,
                j), or a list of such tuples, one for each image. None for a model that returns one number for each.
            additional_forward_args: further arguments of the model, one or a tuple. Of tensors whose first axis counts
                the images, each masked copy of an image gets the image's row. The images are then fitted one by one,
                as for baselines that have one for each.
            areas: fractions of the image that the masks keep.
            perturbations_per_eval: masked copies of images that pass the model at once (`masks_per_forward`).
            show_progress: show a bar of tqdm over the steps of all images.
            image_ids: names from which the images' draws derive, one for each image.

        Raises:
            UserError: bad input, or what `INRAttribution.importance` refuses.
        """
        images = _only(inputs)
        names = [SHARED_ID] * len(images) if image_ids is None else list(image_ids)
        if len(names) != len(images):
            raise UserError(f"image_ids must name each of the {len(images)} images; got {len(names)}")
        explainer = self.explainer
        if perturbations_per_eval is not None:
            explainer = explainer.with_options(masks_per_forward=perturbations_per_eval)
        classes, indices = _read_target(target, images, explainer)
        scored = {index: explainer.with_options(score=OutputAt(index)) for index in indices if index is not None}
        # Images that differ in nothing but their class are fitted together.
        cases: dict[tuple[Index, Perturbation | None, WithArguments | None], list[int]] = {}
        hidden = _read_baselines(baselines, images)
        models = _read_arguments(additional_forward_args, images, explainer.model)
        for place, case in enumerate(zip(indices, hidden, models, strict=True)):
            cases.setdefault(case, []).append(place)
        maps = torch.empty_like(images)
        name, total = f"{self.get_name()} attribution", len(images) * explainer.method.steps
        with tqdm(total=total, desc=name, disable=not show_progress) as bar:
            for (index, perturbation, model), places in cases.items():
                used = explainer if index is None else scored[index]
                if model is not None:
                    used = used.with_options(model=model)
                if perturbation is not None:
                    used = used.with_options(perturbation=perturbation)
                importance = used.importance(
                    images[places],
                    target=None if classes is None else classes[places],
                    areas=areas,
                    image_ids=[names[place] for place in places],
                    callbacks=[StepsShown(bar)] if show_progress else [],
                )
                maps[places] = importance.expand(-1, images.shape[1], -1, -1)
            bar.update(total - bar.n)  # of fits that ended early
        return (maps,) if isinstance(inputs, tuple) else maps


@dataclass(frozen=True)
class OutputAt:
    """The score that is the number at one place of each image's output; () is for one number an image, b or b x 1."""

    index: tuple[int, ...]

    def __call__(self, output: Any) -> Tensor:
        target, place = self.index or None, (slice(None), *self.index)
        if isinstance(output, Tensor) and output.ndim == 1 + len(self.index):
            try:
                return output[place]  # type: ignore[index]
            except IndexError:
                raise UserError(
                    f"target={target} is outside of the model's output for an image, {tuple(output.shape[1:])}"
                ) from None
        if isinstance(output, Tensor) and output.shape[1:] == (1,) and not self.index:
            return output[:, 0]
        kind = "one number for each image" if target is None else f"outputs of {1 + len(self.index)} dimensions"
        raise UserError(
            f"target={target} is right for a model that returns {kind}; this one returns {kind_of(output)}: give a "
            "class of outputs b x n, or the place of a number in the output for an image"
        )


@dataclass(frozen=True, eq=False)
class WithArguments:
    """A model with its further arguments for one image, of which every copy in a batch gets the same.

    Args:
        rows: the arguments; a tensor of `each` is one row, for one image.
        each: whether an argument has a row for each image.
    """

    model: Callable[..., Any]
    rows: tuple[Any, ...]
    each: tuple[bool, ...]

    @property
    def __self__(self) -> Any:
        """The module whose state the model uses: see `owner`."""
        return owner(self.model)

    def __call__(self, inputs: Images) -> Any:
        further = [
            row.expand(len(inputs), *row.shape[1:]) if each else row
            for row, each in zip(self.rows, self.each, strict=True)
        ]
        return self.model(inputs, *further)


class StepsShown(lightning.Callback):
    """Moves a bar of tqdm on by one for each image and step."""

    def __init__(self, bar: Any):
        self.bar = bar

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        self.bar.update(len(pl_module.sample_ids))


def _only(inputs: Tensor | tuple[Tensor, ...]) -> Images:
    """Returns the only tensor of the inputs. Raises UserError unless it is one, b x c x h x w."""
    if isinstance(inputs, tuple) and len(inputs) != 1:
        raise UserError(f"inputs must be one tensor of images, or a tuple of one; got a tuple of {len(inputs)}")
    images = inputs[0] if isinstance(inputs, tuple) else inputs
    if not isinstance(images, Tensor) or images.ndim != 4:
        raise UserError(f"inputs must be images, b x c x h x w; got {kind_of(images)}")
    return images


def _read_target(target: Any, images: Images, explainer: INRAttribution) -> tuple[Targets | None, list[Index]]:
    """Returns the class of each image, or None, and the place of what is explained in the output for each image."""
    count, own = len(images), not isinstance(explainer.method.score, ScoreFunction)
    no_place: list[Index] = [None] * count
    if target is None:  # a score of the user's own or another head needs no place
        return None, no_place if own or explainer.head != "softmax" else [() for _ in images]
    if own:
        raise UserError(NO_TARGET.format(target=target))
    if isinstance(target, tuple):
        target = [target] * count
    if not isinstance(target, list) or not target or not isinstance(target[0], tuple):
        return class_indices(target, images), no_place
    try:
        places = [tuple([operator.index(part) for part in place]) for place in target]
    except TypeError:  # such as a slice
        places = []
    if len(places) != count or () in places:
        raise UserError(
            "target must be a class, the place of a number in the output for an image such as (c, i, j), or a list of "
            f"one for each of the {count} images; got {' '.join(repr(target).split())[:80]}"
        )
    if {len(place) for place in places} == {1}:
        return class_indices([place[0] for place in places], images), no_place
    return None, list(places)


def _read_baselines(baselines: Any, images: Images) -> list[Perturbation | None]:
    """Returns what replaces the pixels of each image, the same object if it is the same for all of them."""
    count = len(images)
    given = baselines[0] if isinstance(baselines, tuple) and len(baselines) == 1 else baselines
    if given is None:
        return [None] * count
    if isinstance(given, Real) and not isinstance(given, bool):
        return [Constant(float(given))] * count
    shape = tuple(given.shape) if isinstance(given, Tensor) else ()
    fits = len(shape) <= 4 and all(
        side in (1, wanted) for side, wanted in zip(shape[::-1], tuple(images.shape)[::-1], strict=False)
    )
    if not isinstance(given, Tensor) or not fits or not bool(given.isfinite().all()):
        raise UserError(
            f"baselines must be a number, or one finite tensor that is broadcast to the inputs, {tuple(images.shape)}; "
            f"got {kind_of(baselines)}"
        )
    given = given.to(images)
    if len(shape) < 4 or shape[0] == 1:
        return [GivenImage(given[0] if len(shape) == 4 else given)] * count
    return [GivenImage(image) for image in given]


def _read_arguments(further: Any, images: Images, model: Callable[..., Any]) -> Sequence[WithArguments | None]:
    """Returns the model with its further arguments for each image, the same object if they are the same for all."""
    count = len(images)
    if further is None:
        return [None] * count
    arguments = further if isinstance(further, tuple) else (further,)
    each = tuple(isinstance(part, Tensor) and part.ndim > 0 and len(part) == count for part in arguments)
    if True not in each:
        return [WithArguments(model, arguments, each)] * count
    return [
        WithArguments(
            model,
            tuple(part[place : place + 1] if is_each else part for part, is_each in zip(arguments, each, strict=True)),
            each,
        )
        for place in range(count)
    ]

"""The Python API, in Captum's calling convention and on the same path as the command line (`fit_masks`).

Convention: Kokhlikyan et al., "Captum: A unified and generic model interpretability library for PyTorch", 2020.
"""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from numbers import Integral, Real
from typing import Any, TypeVar

import lightning
import torch
from jaxtyping import Float, Int
from torch import Tensor

from inr_xai.classifier.frozen import FrozenClassifier, require_head
from inr_xai.classifier.probe import doubts, examine
from inr_xai.errors import UserError, did_you_mean, in_python, speaking_python
from inr_xai.fitting.fit import FitResult, fit_masks
from inr_xai.fitting.stack import NOT_FINITE
from inr_xai.method import Method
from inr_xai.objective import Logit, ScoreFunction
from inr_xai.seeding import sha256
from inr_xai.types import Images, Preprocessing, Targets

TensorOrTuple = TypeVar("TensorOrTuple", Tensor, tuple[Tensor])
"""A tensor, or a tuple of one, as which Captum's tools hand over inputs and expect the result."""
AreaValues = float | Sequence[float] | Tensor
"""One fraction of the image, or several."""
Target = int | Sequence[int] | Tensor | None
"""A class index for all images, or one for each; None for a model that gives one score for each image."""
NOT_UNIT = (-0.25, 1.25)
"""Values beyond are not of images in [0, 1], but for a little that resizing may add."""
NO_TARGET = "target={target!r:.80} has no meaning beside a score of your own; leave target out"
log = logging.getLogger(__name__)


class INRAttribution:
    """Area-exact masks of what a model needs to see of an image, drawn by implicit neural representations.

    Args:
        model: a module (or any callable) that maps inputs b x c x h x w to outputs b x n, or to b of them; with a score
            of your own it may return anything. It is not changed.
        input_mean, input_std: mean and standard deviation of the inputs, one number or one per channel (a sequence, an
            array or a tensor): 0 and 1 for normalised tensors, the data set's for images in [0, 1]. Only baselines of
            colours and of noise use them.
        head: what the outputs are: "softmax" for logits; "sigmoid" for logits of a multi-label model, or for a single
            logit (target 1 is then its positive class, and 0 the negative one); "probabilities" for a model that ends
            in a softmax or sigmoid; "none" for scores that are no classes, such as a regression.
        donors: a tensor of other images, two or more, p x c x h x w in the units of the inputs. The default
            perturbation then also replaces pixels by those of donors, which makes masks more reliable. None if there
            are none.
        method: any argument of `inr_xai.Method` except areas and explanations, such as steps=200, seed=1 or
            stop=Stop(share=0.2). `score` may be a function of your own, which maps what the model returns for b images
            to b numbers, larger for more of what is explained; there is then no target, and head="none".

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 16 * 16, 4))
        >>> explainer = INRAttribution(model, steps=2)
        >>> explainer.attribute(torch.rand(2, 3, 16, 16), target=1, areas=(0.25,)).shape
        torch.Size([2, 1, 1, 16, 16])
    """

    @speaking_python()
    def __init__(
        self,
        model: Callable[..., Any],
        input_mean: Any = 0.0,
        input_std: Any = 1.0,
        head: str = "softmax",
        donors: Any = None,
        **method: Any,
    ):
        require_options(method)
        require_head(head)
        self.model, self.head, self.donors, self.method = model, head, donors, Method(**method)
        self.input_mean, self.input_std = input_mean, input_std
        if not isinstance(self.method.score, ScoreFunction):
            if head not in ("softmax", "none"):
                raise UserError(
                    f"head={head!r} says how outputs tell classes, and a score of your own reads the outputs as they "
                    "are; leave head out"
                )
            self.head = "none"
        self._examined: set[tuple[int, ...]] = set()

    @speaking_python()
    def attribute(
        self,
        inputs: TensorOrTuple,
        target: Target = None,
        areas: AreaValues = (0.05, 0.1, 0.2, 0.3),
        explanations: int | Integral | str = 1,
        image_ids: Sequence[str] | None = None,
    ) -> TensorOrTuple:
        """Returns masks in [0, 1], where 1 keeps the pixel, with the dtype and device of the inputs.

        They are b x k x a x h x w for k explanations and a areas.

        Args:
            inputs: b x c x h x w, given to the model as they are. A tuple of one such tensor gives a tuple of one.
            target: a class index for all images, or one for each. None is right for a model that gives one score for
                each image (head="none"), and with a score of your own.
            areas: fractions of the image that the masks keep, or a single one.
            explanations: masks per image and area, which do not overlap. With "auto" an image gets further masks
                until the next one would carry less than `Stop.share` of the class, or no more than chance, with noise
                in place of all other pixels. The result then has as many explanations as the image with the most;
                missing masks are 0, and `counts` returns the number of each image.
            image_ids: names from which the images' random draws derive; by default a hash of each image.

        Raises:
            ValueError: bad input, a model that cannot be explained (the first call with inputs of a size asks it for
                a few images and for noise), or an image for which it returns NaN or infinite logits.
        """
        images, ids, areas = _arguments(inputs, image_ids, areas)
        if isinstance(explanations, Integral) and not isinstance(explanations, bool):
            explanations = int(explanations)  # of NumPy
        method = replace(self.method, areas=areas, explanations=explanations)
        masks: Any = self._fit(images, target, method, ids).masks.to(images)
        return (masks,) if isinstance(inputs, tuple) else masks

    def with_options(self, *, model: Callable[..., Any] | None = None, **method: Any) -> "INRAttribution":
        """Returns an explainer that differs in its model, or in options of the method, such as steps=50."""
        options = {option.name: getattr(self.method, option.name) for option in fields(Method)} | method
        other = INRAttribution(
            self.model if model is None else model, self.input_mean, self.input_std, self.head, self.donors, **options
        )
        if "score" not in method:  # it asks the same of the model, with other arguments at most
            other._examined = self._examined
        return other

    @staticmethod
    def counts(masks: Float[Tensor, "b k a h w"]) -> Int[Tensor, " b"]:
        """Returns how many explanations each image has in a result of `attribute`.

        >>> masks = torch.zeros(2, 3, 1, 4, 4)
        >>> masks[0, 0], masks[1, :2] = 1, 1
        >>> INRAttribution.counts(masks).tolist()
        [1, 2]
        """
        return (masks != 0).flatten(2).any(2).sum(1)

    @speaking_python()
    def importance(
        self,
        inputs: TensorOrTuple,
        target: Target = None,
        areas: AreaValues = (0.05, 0.1, 0.2, 0.3),
        image_ids: Sequence[str] | None = None,
        callbacks: Sequence[lightning.Callback] = (),
    ) -> TensorOrTuple:
        """Returns one heatmap in [0, 1] per image, b x 1 x h x w, for tools that expect one.

        How it is made of masks: `inr_xai.fitting.importance`.

        Args:
            inputs, target, areas, image_ids: as of `attribute`.
            callbacks: callbacks of Lightning, which see every step of the fits.
        """
        from inr_xai.fitting.importance import importance_maps  # late: most ask for masks alone

        images, ids, areas = _arguments(inputs, image_ids, areas)
        method = replace(self.method, areas=areas, explanations=1)
        result = self._fit(images, target, method, ids, callbacks)
        size = (images.shape[-2], images.shape[-1])
        maps: Any = importance_maps(result, method, ids, size).unsqueeze(1).to(images)
        return (maps,) if isinstance(inputs, tuple) else maps

    def classifier_for(self, images: Images) -> FrozenClassifier:
        """Returns the model as the classifier that is explained for images of this size.

        Raises UserError if `input_mean` or `input_std` does not fit the channels.
        """
        size, channels = (images.shape[-2], images.shape[-1]), images.shape[1]
        statistics: list[tuple[float, ...]] = []
        for name, value in (("input_mean", self.input_mean), ("input_std", self.input_std)):
            try:
                values = torch.as_tensor(value, dtype=torch.float64, device="cpu").flatten().tolist()
            except (TypeError, ValueError, RuntimeError):
                values = []
            values = values * channels if len(values) == 1 else values
            lowest = 0.0 if name == "input_std" else -math.inf
            if len(values) != channels or False in [lowest <= value < math.inf for value in values]:
                wrong = len(values) if values and len(values) != channels else f"{value!r:.80} (not finite, or too low)"
                raise UserError(f"{name} must be one number or one for each of the {channels} channels; got {wrong}")
            statistics.append(tuple(values))
        return FrozenClassifier(
            self.model,
            preprocessing=Preprocessing(size, size, "bilinear", (0.0,) * channels, (1.0,) * channels),
            head=self.head,
            normalise=False,  # the inputs are the model's own
            input_mean=statistics[0],
            input_std=statistics[1],
        )

    def _fit(
        self,
        images: Images,
        target: Target,
        method: Method,
        image_ids: Sequence[str],
        callbacks: Sequence[lightning.Callback] = (),
    ) -> FitResult:
        classifier, not_finite = self.classifier_for(images), NOT_FINITE
        if self.donors is not None:
            require_donors(self.donors, images)
        if not isinstance(method.score, ScoreFunction):
            from inr_xai.classifier import scored  # late: most callers explain a class

            if target is not None:
                raise UserError(NO_TARGET.format(target=target))
            classifier, not_finite = scored.scored(classifier, method.score), scored.NOT_FINITE
            method, targets = replace(method, score=Logit()), images.new_zeros(len(images), dtype=torch.long)
            if images.shape[1:] not in self._examined:
                scored.examine_score(classifier, images, at_once=method.masks_per_forward)
        elif images.shape[1:] in self._examined:
            targets = _targets(target, images, classifier)
        else:
            answers = examine(classifier, images, at_once=method.masks_per_forward)
            targets = _targets(target, images, classifier)
            if doubt := doubts(classifier, answers, targets[: len(answers.images)].tolist()):
                log.warning("%s", in_python(doubt))
        self._examined.add(tuple(images.shape[1:]))
        result = fit_masks(images, targets, image_ids, classifier, method, donors=self.donors, callbacks=callbacks)
        if result.failures:
            position, reason = next(iter(result.failures.items()))
            raise UserError(f"image {position} of {len(images)}: {not_finite if reason == NOT_FINITE else reason}")
        return result


def require_options(options: dict[str, Any]) -> None:
    """Raises UserError for an option that `Method` does not have."""
    known = [option.name for option in fields(Method)]
    for name in options:
        if name not in known:
            hint = did_you_mean(name, known) or f"; the options are {', '.join(known)}"
            raise UserError(f"{name}={options[name]!r} is not an option of the method{hint}")


def require_donors(donors: Any, images: Images) -> None:
    """Raises UserError unless donors are two or more finite images of the inputs' kind, size and range of values."""
    dense = isinstance(donors, Tensor) and donors.layout is torch.strided and not donors.is_meta
    if not dense or not donors.is_floating_point() or donors.ndim != 4 or len(donors) < 2:
        kind = "" if dense or not isinstance(donors, Tensor) else f" ({donors.layout}, {donors.device})"
        got = f"{tuple(donors.shape)} of {donors.dtype}{kind}" if isinstance(donors, Tensor) else type(donors).__name__
        raise UserError(f"donors must be one floating-point tensor of two or more images, p x c x h x w; got {got}")
    if donors.shape[1:] != images.shape[1:]:
        raise UserError(
            f"donors must have the channels and the size of the inputs, {tuple(images.shape[1:])}; got "
            f"{tuple(donors.shape[1:])}"
        )
    bad = (~donors.isfinite().flatten(1).all(1)).nonzero().flatten().tolist()
    if bad:
        raise UserError(f"donor {bad[0]} of {len(donors)} holds NaN or infinite values; leave it out")
    ranges = [(float(values.amin()), float(values.amax())) for values in (donors, images)]
    unit = [NOT_UNIT[0] <= low and high <= NOT_UNIT[1] for low, high in ranges]
    largest = [max(-low, high, torch.finfo(torch.float32).tiny) for low, high in ranges]
    ratio = max(largest) / min(largest)
    if (unit[0] != unit[1] and ratio > 2) or (unit == [False, False] and ratio > 10):
        theirs, ours = (f"[{low:.4g}, {high:.4g}]" for low, high in ranges)
        raise UserError(
            f"the values of donors lie in {theirs} and those of the inputs in {ours}; give donors in the units of the "
            "inputs, normalised as they are"
        )


def _arguments(
    inputs: Tensor | tuple[Tensor], image_ids: Sequence[str] | None, areas: AreaValues
) -> tuple[Images, list[str], tuple[float, ...]]:
    """Returns the images, their names, which are hashes of their pixels if none are given, and the areas."""
    images = inputs[0] if isinstance(inputs, tuple) and len(inputs) == 1 else inputs
    dense = isinstance(images, Tensor) and images.layout is torch.strided and not images.is_meta
    if not dense or images.ndim != 4 or not images.is_floating_point() or not images.numel():
        got = f"{tuple(images.shape)} of {images.dtype}" if isinstance(images, Tensor) else type(images).__name__
        raise UserError(f"inputs must be one floating-point tensor of shape b x c x h x w, not empty; got {got}")
    bad = (~images.isfinite().flatten(1).all(1)).nonzero().flatten().tolist()
    if bad:
        raise UserError(f"image {bad[0]} of {len(images)} holds NaN or infinite values; leave it out, or correct it")
    if image_ids is None:
        image_ids = [sha256(image.float().cpu().numpy().tobytes()).hexdigest() for image in images.detach()]
    if len(image_ids) != len(images):
        raise UserError(f"image_ids must name each of the {len(images)} images; got {len(image_ids)}")
    try:
        single = isinstance(areas, Real) or getattr(areas, "ndim", 1) == 0
        fractions: Any = [areas] if single else areas
        return images, list(image_ids), tuple([float(area) for area in fractions])
    except (TypeError, ValueError):
        raise UserError(f"areas must be fractions of the image such as 0.2 or (0.1, 0.2); got {areas!r:.80}") from None


def _targets(target: Target, images: Images, classifier: FrozenClassifier) -> Targets:
    if target is None:
        if classifier.head != "none" or classifier.count_classes() > 1:
            raise UserError(
                f"target=None is right for a model that gives one score for each image (head='none'); this one gives "
                f"{classifier.count_classes()} outputs under head={classifier.head!r}: name the class"
            )
        target = 0
    return class_indices(target, images)


def class_indices(target: Any, images: Images) -> Targets:
    """Returns the class index of each image. Raises UserError unless there is one for all, or one for each."""
    try:
        targets = torch.as_tensor(target, device=images.device)
    except (TypeError, ValueError, RuntimeError):
        targets = images.new_zeros(0)
    flat = targets.flatten()
    whole = not (targets.is_floating_point() or targets.is_complex() or targets.dtype == torch.bool)
    # A row of several numbers for an image, such as a one-hot vector, is no index, also if there are as many images.
    if not whole or len(flat) not in (1, len(images)) or (targets.ndim > 1 and targets.shape != (len(flat), 1)):
        raise UserError(
            f"target must be a class index, or one for each of the {len(images)} images; got "
            f"{' '.join(repr(target).split())[:80]} (one-hot vectors are no indices)"
        )
    return flat.long().expand(len(images))

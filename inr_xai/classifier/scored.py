"""A score of the user's own, of whatever a model returns, as the only output of a classifier with the head `none`.

The score is a function: it reads the output for b images, such as logits b x n x h x w, boxes, embeddings, a tuple or a
dict, and returns b numbers, larger for more of what is explained.
"""

import logging
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from inr_xai.classifier.frozen import FrozenClassifier, ModelError, owner, words_of
from inr_xai.classifier.probe import IMAGES, NOT_FROZEN, ROUNDING, made_up
from inr_xai.errors import UserError
from inr_xai.objective import OutputScore
from inr_xai.types import Images

FAILS = (
    "score fails for what the model returns for {count} images, {kind} ({why}); it must read this output, also that of "
    "an image which shows nothing, and return one number for each image"
)
SHAPE = (
    "score must return a floating tensor of one number for each of the {count} images, larger for more of what is "
    "explained; got {got}"
)
SAME = (
    "score is {value:.4g} for each of {count} different inputs, so it is no function of the image; return a number "
    "that depends on what the model returns for it"
)
SMALL = 0.5
"""The regularity of masks outweighs scores that differ by less."""
TOO_SMALL = (
    "score differs by only %.2g between images, noise and plain colours; the weights of a mask's form, total_variation "
    "and binary, suit scores that differ by 1 or more, so multiply it"
)
NO_GRADIENT = (
    "score has no gradient for the image, and a fit follows this gradient; leave detach, torch.no_grad, NumPy, "
    "comparisons, rounding and argmax out of it and of the model"
)
NOT_FINITE = "score is NaN or infinite for this image; correct it, or check the weights of the model"
log = logging.getLogger(__name__)


class ScoredModel:
    """Maps b inputs to a score of what a model returns for them, b x 1.

    It is no module, so that it becomes no part of one; `__self__` says whose state is used, as of a module's method.

    Raises:
        ModelError: the score fails.
        UserError: it does not return one floating number for each image.
    """

    def __init__(self, model: nn.Module | Callable[..., Any], score: OutputScore):
        self.model, self.score, self.__self__ = model, score, owner(model)

    def __call__(self, inputs: Images) -> Float[Tensor, "b 1"]:
        output, count = self.model(inputs), len(inputs)
        try:
            values = self.score(output)
        except UserError:
            raise
        except Exception as error:  # a function of the user's raises anything
            raise ModelError(FAILS.format(count=count, kind=kind_of(output), why=words_of(error))) from error
        floating = isinstance(values, Tensor) and values.is_floating_point()
        if not floating or (values.shape not in ((count,), (count, 1)) and not count == values.numel() == 1):
            raise UserError(SHAPE.format(count=count, got=kind_of(values)))
        column = values.reshape(count, 1)
        # The score of an image may be constant, such as 0 without boxes. Its gradient is then 0, and not missing.
        return column if column.requires_grad else column + 0 * inputs[:, :1, 0, 0]


def kind_of(output: Any) -> str:
    """Returns what an output is, for a sentence.

    >>> kind_of(torch.zeros(2, 5)), kind_of({"boxes": 1, "scores": 2}), kind_of(3)
    ('a tensor of (2, 5) in torch.float32', 'a dict with boxes, scores', 'an object of the type int')
    """
    if isinstance(output, Tensor):
        return f"a tensor of {tuple(output.shape)} in {output.dtype}"
    if isinstance(output, dict):
        return f"a dict with {', '.join(map(str, output))}"
    return f"an object of the type {type(output).__name__}"


def scored(classifier: FrozenClassifier, score: OutputScore) -> FrozenClassifier:
    """Returns a classifier of the same inputs whose only output is the score; its head is `none`, its class 0."""
    other = FrozenClassifier(
        ScoredModel(classifier.model, score),
        preprocessing=classifier.preprocessing,
        head="none",
        normalise=classifier.normalise,
        input_mean=classifier.colour_mean,
        input_std=classifier.colour_std,
    )
    other.memory_format = classifier.memory_format
    return other


def examine_score(classifier: FrozenClassifier, images: Images, *, at_once: int = 32) -> None:
    """Asks a scored classifier once, as `probe.examine` asks one of classes; it and the random state stay as they were.

    A warning says if the score differs so little between inputs that a fit would hardly follow it.

    Args:
        images: images in the units of the classifier's input, on the device that computes; the first 8 are asked for.
        at_once: inputs that go through the model at once (memory).

    Raises:
        UserError: model or score fails, or the score has a wrong shape, is not finite for an image, has no gradient, or
            is the same for all inputs, made up ones among them.
    """
    images = images[:IMAGES].detach().to(torch.promote_types(images.dtype, torch.float32))  # as a fit does
    try:
        scores, follows = _scores(classifier, torch.cat([images, made_up(images, classifier)]), at_once)
    except ModelError:  # a model and a score may refuse what no data set holds
        scores, follows = _scores(classifier, images, at_once)
    bad = (~scores[: len(images)].isfinite()).nonzero().flatten().tolist()
    if bad:
        raise UserError(f"image {bad[0]} of {len(images)}: {NOT_FINITE}")
    finite = scores[scores.isfinite()]
    low, high = float(finite.amin()), float(finite.amax())
    if len(finite) > 1 and high - low <= ROUNDING * max(-low, high):
        raise UserError(SAME.format(value=high, count=len(finite)))
    if not follows:
        raise UserError(NO_GRADIENT)
    if len(finite) > len(images) and high - low < SMALL:
        log.warning(TOO_SMALL, high - low)


def _scores(classifier: FrozenClassifier, inputs: Images, at_once: int) -> tuple[Float[Tensor, " p"], bool]:
    """Returns the score of each input, and whether one of them has a gradient that is not 0."""
    scores, follows, devices = [], False, [inputs.device] if inputs.device.type == "cuda" else []
    try:
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.random.fork_rng(devices),
            classifier.frozen(inputs.device, inputs.dtype),
        ):
            for part in inputs.split(at_once):
                leaf = part.clone().requires_grad_()
                values = classifier(leaf)[:, 0]
                (gradient,) = torch.autograd.grad(values.sum(), leaf, allow_unused=True)
                scores.append(values.detach().float())
                follows = follows or (gradient is not None and bool(gradient.any()))
    except UserError:
        raise
    except Exception as error:  # freezing and differentiation raise anything
        raise UserError((NO_GRADIENT if scores else NOT_FROZEN).format(why=words_of(error))) from error
    return torch.cat(scores), follows

"""A wrapper that only queries a classifier: it normalises inside, enters no module tree and restores the model."""

import contextlib
import copy
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from inr_xai.errors import UserError, is_out_of_memory
from inr_xai.types import Images, Logits, Preprocessing, Targets

log = logging.getLogger(__name__)
Answer = TypeVar("Answer")
ONE_OUTPUT = (
    "the classifier returns one output for each image, and a softmax over one output is 1 for every image; set "
    "classifier.head=sigmoid if it is the logit of a class (class 1, and class 0 is its negative), "
    "classifier.head=probabilities if it is a probability, or classifier.head=none if it is a score"
)
BUILT_FOR_INFERENCE = (
    "the classifier was built under torch.inference_mode, so its tensors can take part in no gradient; build it "
    "outside of it, or explain copy.deepcopy(model), made outside of it"
)


def both_classes(logits: Float[Tensor, "b m"]) -> Logits:
    """Returns the logits -z and z of the negative and the positive class if a model gives one logit z an image.

    >>> both_classes(torch.tensor([[2.0]])).tolist()
    [[-2.0, 2.0]]
    """
    return torch.cat([-logits, logits], 1) if logits.shape[1] == 1 else logits


def log_probabilities(outputs: Float[Tensor, "b m"]) -> Logits:
    """Returns the logarithms of probabilities, which are finite at 0 too; one column p stands for 1 - p and p.

    >>> log_probabilities(torch.tensor([[0.25]])).exp().tolist()
    [[0.75, 0.25]]
    """
    pair = torch.cat([1 - outputs, outputs], 1) if outputs.shape[1] == 1 else outputs
    return pair.clamp(min=torch.finfo(pair.dtype).tiny).log()


@dataclass(frozen=True)
class Head:
    """What the outputs of a model are.

    Args:
        probabilities: what is reported of each class, made from the logits: its probability, or with `none` its score.
        logits: makes the logits from the outputs of the model.
        fewest: the smallest number of outputs for an image.
    """

    probabilities: Callable[[Logits], Float[Tensor, "b n"]]
    logits: Callable[[Float[Tensor, "b m"]], Logits] = torch.positive  # which returns its argument
    fewest: int = 1


class Heads(dict[str, Head]):
    """The heads by their names. Raises UserError if there is none of a name."""

    def __missing__(self, name: str) -> Head:
        raise UserError(f"classifier.head={name!r} is not allowed; choose one of {', '.join(self)}")


HEADS = Heads(
    softmax=Head(partial(torch.softmax, dim=1), fewest=2),
    sigmoid=Head(torch.sigmoid, both_classes),
    probabilities=Head(torch.exp, log_probabilities),
    none=Head(torch.positive),
)


class ModelError(UserError):
    """Raised if a model fails by itself; its cause is what the model raised."""


class FrozenClassifier:
    """Maps images to logits. It is not an nn.Module, so it never becomes a part of a Lightning module.

    Args:
        model: a module that returns b x n outputs, or b of them, or any callable (which can only be frozen if it is a
            module's method). It may change its input in place.
        preprocessing: how a photo becomes the input, and the statistics of the normalisation.
        head: what the outputs are: "softmax" for logits if an image has one class, "sigmoid" for logits if it has
            several or the model has a single logit (then class 1 is the positive class and 0 the negative one),
            "probabilities" if the model ends in a softmax or sigmoid, and "none" for scores that are no classes.
        normalise: False passes inputs to the model unchanged.
        input_mean, input_std: statistics per channel in the units of the input, for baselines of colours and noise; by
            default those of `preprocessing`, or 0 and 1 if `normalise` is False.
        channels_last: keep convolutions in this memory format while frozen. It saves 5 to 25 % of a pass on CPUs, but
            does not work with models that call `view` on feature maps.
        class_names: a readable name for each class index; None if they are unknown.
    """

    def __init__(
        self,
        model: nn.Module | Callable[[Tensor], Tensor],
        *,
        preprocessing: Preprocessing,
        head: str = "softmax",
        normalise: bool = True,
        input_mean: tuple[float, ...] | None = None,
        input_std: tuple[float, ...] | None = None,
        channels_last: bool = False,
        class_names: Sequence[str] | None = None,
    ) -> None:
        self.model = model
        self.class_names: list[str] | None = None if class_names is None else list(class_names)
        self.preprocessing = preprocessing
        self.head, self._head = head, HEADS[head]
        self.normalise = normalise
        channels = len(preprocessing.mean)
        mean, std = (preprocessing.mean, preprocessing.std) if normalise else ((0.0,) * channels, (1.0,) * channels)
        self.colour_mean: tuple[float, ...] = mean if input_mean is None else input_mean
        self.colour_std: tuple[float, ...] = std if input_std is None else input_std
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.num_classes: int | None = None
        """The number of classes of the model; None before the first pass."""
        self.room = Room()
        self._statistics: dict[tuple[torch.device, torch.dtype], Tensor] = {}

    def __call__(self, images: Images) -> Logits:
        """Returns the logits of images in [0, 1] (if `normalise` is False: of inputs in the units of the model).

        Raises UserError as `outputs` does.
        """
        logits = self._head.logits(self.outputs(images))
        self.num_classes = logits.shape[1]
        return logits

    def outputs(self, images: Images) -> Float[Tensor, "b m"]:
        """Returns what the model gives for the images, as one row for each.

        Raises UserError if the model fails (ModelError), returns anything but one floating tensor, b x m or b or with
        such `logits`, or fewer outputs than the head needs.
        """
        if self.normalise:
            mean, std = self._mean_std(images)
            inputs = (images - mean) / std
        else:
            inputs = images.clone()  # the model may change it in place
        try:
            returned = self.model(inputs.contiguous(memory_format=self.memory_format))
        except UserError:
            raise
        except Exception as error:  # models raise anything
            shape = " x ".join(map(str, images.shape))
            raise ModelError(
                f"the classifier fails for inputs of {shape} ({words_of(error)}); give it the size, the channels and "
                "the values that it was made for, or correct the model"
            ) from error
        outputs = getattr(returned, "logits", returned)  # Hugging Face's models return an object
        expected = (
            f"expected a floating tensor of {len(images)} x classes; wrap the model so that it returns its logits alone"
        )
        if not isinstance(outputs, Tensor):
            raise UserError(f"the classifier returned a {type(returned).__name__}, {expected}")
        rows = outputs.unsqueeze(1) if outputs.ndim == 1 else outputs
        if len(images) == 1 and outputs.ndim < 2:  # of a model that ends in `squeeze`
            rows = outputs.reshape(1, -1)
        if rows.ndim != 2 or len(rows) != len(images) or not rows.is_floating_point() or not rows.shape[1]:
            raise UserError(f"the classifier returned {tuple(outputs.shape)} of {outputs.dtype}, {expected}")
        if rows.shape[1] < self._head.fewest:
            raise UserError(ONE_OUTPUT)
        return rows

    @torch.no_grad()
    def count_classes(self) -> int:
        """Returns the number of classes of the model; before the first pass, a pass over a black image tells it."""
        if self.num_classes is None:
            with self.frozen():
                self(torch.zeros(1, len(self.preprocessing.mean), *self.preprocessing.size))
        assert self.num_classes is not None
        return self.num_classes

    @torch.no_grad()
    def require_mosaics(self, *, side: int, device: torch.device | str = "cpu") -> None:
        """Raises UserError if the model refuses an image `side` times its own size, by a pass over a black one."""
        height, width = (pixels * side for pixels in self.preprocessing.size)
        black = torch.zeros(1, len(self.preprocessing.mean), height, width, device=device)
        try:
            with self.frozen(device, black.dtype):
                self(black)
        except ModelError as error:
            raise UserError(
                f"the classifier cannot take mosaics of {height} x {width} pixels ({words_of(error.__cause__)}); "
                "choose one that takes images of any size, such as a network of convolutions that ends in global "
                "pooling"
            ) from error

    def probability(self, logits: Logits, targets: Targets) -> Float[Tensor, " b"]:
        """Returns the probability of each image's target under the head, or its score if the head is `none`."""
        return self._head.probabilities(logits).gather(1, targets.unsqueeze(1)).squeeze(1)

    def of(self, model: nn.Module) -> "FrozenClassifier":
        """Returns a classifier with another model that has the same inputs and head."""
        other = copy.copy(self)
        other.model, other._statistics = model, {}
        return other

    @contextlib.contextmanager
    def frozen(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Iterator["FrozenClassifier"]:
        """Puts the model into eval mode without gradients of its parameters, on `device` and in `dtype`.

        None leaves device or dtype as it is. On exit, also by an error, the model has its own tensors (themselves, not
        copies), flags, device, dtype and memory format again. Buffers are copied for the time within, because some
        models write into them even in eval mode. Contexts may be nested.

        Raises UserError, and changes nothing, if the model was built under torch.inference_mode.
        """
        module = owner(self.model)
        if module is None:
            yield self
            return
        tensors = *module.parameters(), *module.buffers()
        if True in [tensor.is_inference() for tensor in tensors]:
            raise UserError(BUILT_FOR_INFERENCE)
        with contextlib.ExitStack() as restore:
            for part in module.modules():
                restore.callback(setattr, part, "training", part.training)
            module.eval()
            for parameter in module.parameters():
                restore.callback(parameter.requires_grad_, parameter.requires_grad)
                restore.callback(setattr, parameter, "data", parameter.data)
                parameter.requires_grad_(False)
                parameter.data = parameter.data.to(device, dtype if parameter.is_floating_point() else None)
            for buffer in module.buffers():
                restore.callback(setattr, buffer, "data", buffer.data)
                buffer.data = buffer.data.to(device, dtype if buffer.is_floating_point() else None, copy=True)
            for part in module.modules():
                if isinstance(part, nn.Conv2d):
                    part.weight.data = part.weight.data.contiguous(memory_format=self.memory_format)
                if isinstance(part, nn.BatchNorm2d):
                    restore.callback(part.register_forward_hook(keep_layout).remove)
            yield self

    def _mean_std(self, images: Images) -> Float[Tensor, "2 1 c 1 1"]:
        key = images.device, images.dtype
        if key not in self._statistics:
            with torch.inference_mode(False):  # a tensor of inference mode could never take part in a gradient
                pair = torch.tensor([self.preprocessing.mean, self.preprocessing.std], device=key[0], dtype=key[1])
                self._statistics[key] = pair[:, None, :, None, None]
        return self._statistics[key]


def require_head(head: str) -> None:
    """Raises UserError if there is no such head."""
    HEADS[head]


def words_of(error: BaseException | None) -> str:
    """Returns an error's type and message in one line, for a sentence.

    >>> words_of(ValueError("too  small."))
    'ValueError: too small'
    """
    words = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return words.removesuffix(": ").removesuffix(".")[:300]


def require_class(target: int, num_classes: int) -> None:
    """Raises UserError if the classifier has no class `target`."""
    if not 0 <= target < num_classes:
        raise UserError(
            f"class {target} does not exist: the classifier has {num_classes} classes (0 to {num_classes - 1}); "
            "check the target (data.targets, data.classes) and the classifier"
        )


def owner(model: nn.Module | Callable[[Tensor], Tensor]) -> nn.Module | None:
    """Returns the module whose state the model uses: itself, or the module whose method it is; None if neither.

    A frozen module of TorchScript has constants for a state and is in evaluation mode for good.
    """
    candidate = model if isinstance(model, nn.Module) else getattr(model, "__self__", None)
    return candidate if isinstance(candidate, nn.Module) and hasattr(candidate, "training") else None


@dataclass
class Room:
    """How many images may go through a classifier at once: as many as are asked for, until the memory did not suffice.

    Every user of one classifier shares its room, so that what a fit has found out, its scores need not find out again.

    Attributes:
        most: the largest number; None as long as the memory suffices.
        told: the number that was logged last.
    """

    most: int | None = None
    told: int | None = None

    def tell(self) -> None:
        """Logs the number: the first as a warning, and smaller ones of later as a remark."""
        level = logging.WARNING if self.told is None else logging.INFO
        log.log(level, "the memory does not suffice; from here on masks_per_forward=%d", self.most)
        self.told = self.most


def in_parts(ask: Callable[[slice], Answer], count: int, at_once: int, *, of: object = None) -> list[Answer]:
    """Asks a classifier of `count` images, some at once, and of half as many whenever the memory does not suffice.

    Args:
        ask: returns the answer for a part of the images.
        of: the classifier, whose room keeps the smaller number; one without a room begins anew each time.

    >>> in_parts(lambda some: (some.start, some.stop), 5, 3)
    [(0, 3), (3, 6)]
    """
    known, answers, first = getattr(of, "room", None), [], 0
    room = known if isinstance(known, Room) else Room()
    while first < count:
        size = at_once if room.most is None else min(at_once, room.most)
        try:
            answers.append(ask(slice(first, first + size)))
        except (RuntimeError, MemoryError, UserError) as error:
            if size == 1 or not is_out_of_memory(error.__cause__ or error):
                raise
            room.most = (min(size, count) + 1) // 2
        else:
            first += size
            if room.most != room.told:
                room.tell()
    return answers


def keep_layout(part: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    """Brings the gradient of a batch norm's output into the memory layout of that output.

    Otherwise, for a batch of one image, PyTorch 2.15 on CPUs misreads the layout of a gradient that comes from tokens
    (`flatten(2).transpose(1, 2)`), and returns it with shuffled pixels.
    """
    if output.requires_grad:
        layout = output.stride()
        output.register_hook(lambda g: g if g.stride() == layout else g.new_empty_strided(g.shape, layout).copy_(g))

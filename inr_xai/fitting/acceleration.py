"""What makes a step faster and leaves its result: compiled functions, a step replayed as a CUDA graph, a memory layout.

They are the options `compile`, `cuda_graphs` and `channels_last` of a method, and only a fit that asks for one of them
comes here. What cannot be had is said once in a process, and the fit goes on without it.

Whatever changes from step to step must be a tensor on the device here: the progress of the fit, what the step draws,
and what the area rule remembers. So it is offered for our own games and area rules, which use nothing else.
"""

import copy
import logging
import weakref
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from inr_xai.area import AreaProjection, AreaRule, Memory, RankPenalty
from inr_xai.classifier.frozen import FrozenClassifier, words_of
from inr_xai.errors import UserError, is_out_of_memory
from inr_xai.objective import Deletion, Hybrid, Objective, Preservation, Regularity
from inr_xai.perturbation import KeepFunction, Kept
from inr_xai.types import Classifier, Masks

if TYPE_CHECKING:
    from inr_xai.fitting.mask_module import MaskModule

RULES: tuple[type[AreaRule], ...] = (AreaProjection, RankPenalty)
GAMES: tuple[type[Objective], ...] = (Preservation, Deletion, Hybrid)
"""Area rules and objectives whose work on the device is the same at every step; of Hybrid, at every step of a turn."""
GRAPHED = "cuda"
"""The kind of device that replays graphs."""
_said: set[tuple[str, str]] = set()
_shapes: set[tuple[Any, ...]] = set()
"""The kinds of fits that are compiled."""
_failed: set[str] = set()
"""`compile`, if the compiler has failed in this process."""
log = logging.getLogger(__name__)


class Accelerated:
    """The losses of a module's images in each step, by compiled functions, by graphs, or by both.

    Args:
        module: a module whose fit begins.
    """

    def __init__(self, module: "MaskModule"):
        method, device = module.method, module.images.device.type
        self._reference, self._is_first = weakref.ref(module), True  # the module has this one
        self._progress = module.images.new_tensor(module.progress)
        self._now = self._progress.new_zeros(())
        self._graphs: dict[tuple[int, bool], ReplayedStep] = {}
        parts = (method.area_rule, RULES), (method.objective, GAMES)
        foreign = " and ".join([type(part).__name__ for part, ours in parts if type(part) not in ours])
        self._compiles, self._replays = method.compile and "compile" not in _failed, method.cuda_graphs
        if self._compiles and foreign:
            self._compiles = not fall_back("compile", f"{foreign} may do other work at each step")
        if self._replays and foreign:
            self._replays = not fall_back("cuda_graphs", f"{foreign} may do other work at each step")
        if self._replays and device != GRAPHED:
            self._replays = not fall_back("cuda_graphs", f"the device is {device}")

    @property
    def _module(self) -> "MaskModule":
        module = self._reference()
        assert module is not None  # it alone asks
        return module

    def __call__(self, kept: Kept, step: int) -> Float[Tensor, " b"]:
        """Returns the loss of each image in a step with these draws."""
        module, before = self._module, self._module.memory
        if self._replays and callable(kept.drawn):
            self._replays = not fall_back("cuda_graphs", "the perturbation is no blend with a baseline")
        # The area rule begins otherwise than it goes on, and libraries choose their kernels in the first step.
        if self._is_first or not (self._compiles or self._replays):
            self._is_first = False
            progress = module.progress[step]
            return module.loss_of(module.current_masks(progress, before), kept, step=step, progress=progress)
        module.memory = {
            name: value if isinstance(value, Tensor) else self._now.new_tensor(value) for name, value in before.items()
        }
        try:
            if self._compiles:
                self._compile(kept, step)
            return self._replayed(kept, step) if self._replays else self._loss(kept, step, self._progress[step])
        except Exception as error:  # compilers raise anything
            if isinstance(error, UserError) or is_out_of_memory(error.__cause__ or error) or not self._compiles:
                raise
            self._compiles = not fall_back("compile", f"torch.compile fails ({words_of(error)})")
            _failed.add("compile")
        module.memory = before
        return self(kept, step)

    def _compile(self, kept: Kept, step: int) -> None:
        """Makes a step for nothing if its shapes are new, so that forward and backward functions are compiled here."""
        module, images = self._module, self._module.images
        shapes = type(module.inr), len(module.areas), images.shape, images.dtype, images.device
        if shapes not in _shapes:
            before = module.memory
            module.memory = dict(before)
            loss = self._loss(kept, step, self._progress[step]).sum()
            with torch.autocast(images.device.type, enabled=False):
                torch.autograd.grad(loss, list(module.inr.parameters()))
            module.memory = before
            _shapes.add(shapes)

    def _replayed(self, kept: Kept, step: int) -> Float[Tensor, " b"]:
        """Returns the losses by a graph, which is made for the first step of its kind."""
        turns = len(getattr(self._module.method.objective, "areas", None) or [0])
        kind = step % turns, bool(kept.frames.numbers)
        self._now.copy_(self._progress[step])
        if kind not in self._graphs:
            before = self._module.memory
            try:
                self._graphs[kind] = ReplayedStep(self._module, self._loss, kept, step, self._now)
            except (RuntimeError, UserError) as error:  # such as of a classifier that reads what it computes
                self._replays = not fall_back("cuda_graphs", f"no graph of a step can be made ({words_of(error)})")
                self._module.memory = before
                return self(kept, step)
        losses: Tensor = _Replay.apply(self._graphs[kind], kept, *self._module.inr.parameters())
        return losses

    def _loss(self, kept: Kept, step: int, progress: Float[Tensor, ""]) -> Float[Tensor, " b"]:
        """Returns the losses at a progress that the host does not know."""
        module = self._module
        own_masks, own_images = compiled() if self._compiles else (masks_of, images_of)

        def show(masks: Masks) -> Tensor:
            with torch.autocast(masks.device.type, enabled=False):
                images: Tensor = own_images(kept, masks)
            return images

        with torch.autocast(module.images.device.type, enabled=False):
            masks, regularity = own_masks(module, progress, module.memory)
        return module.loss_of(masks, show, step=step, progress=progress, regularity=regularity)


def masks_of(module: "MaskModule", progress: Float[Tensor, ""], memory: Memory) -> tuple[Masks, Float[Tensor, "b a"]]:
    """Returns the current masks, and what each pays for its contours and its grayness."""
    masks, method = module.current_masks(progress, memory), module.method
    contours = Regularity.apply(masks, method.total_variation, 0.0)
    return masks, contours + method.binary * progress * Regularity.apply(masks, 0.0, 1.0)


def images_of(kept: KeepFunction, masks: Masks) -> Float[Tensor, "b a c h w"]:
    """Returns the images as the masks keep them."""
    return kept(masks)


@cache
def compiled() -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Returns the compiled functions, which all modules share: they are compiled once for each shape."""
    # They would otherwise be compiled anew, for any number of images, as soon as a second number comes.
    return torch.compile(masks_of, dynamic=False), torch.compile(images_of, dynamic=False)


class ReplayedStep:
    """A step as a graph: masks, images, classifier and all gradients, but neither the draws nor the optimiser.

    Args:
        loss: computes the losses of a step.
        kept: what a step draws, whose shapes all steps have.
        step: a step of the same turn of the objective.
        progress: the tensor that holds the progress of the fit at every replay.
    """

    def __init__(
        self,
        module: "MaskModule",
        loss: Callable[[Kept, int, Tensor], Tensor],
        kept: Kept,
        step: int,
        progress: Float[Tensor, ""],
    ):
        frames = copy.copy(kept.frames)
        frames.numbers = tuple([number.clone() for number in frames.numbers])
        frames.pixels = None if frames.pixels is None else frames.pixels.clone()
        assert isinstance(kept.drawn, Tensor)
        self._kept = replace(kept, drawn=kept.drawn.contiguous().clone(), images=kept.images.clone(), frames=frames)
        memory, parameters = module.memory, list(module.inr.parameters())

        def work() -> list[Tensor]:
            module.memory = dict(memory)
            losses = loss(self._kept, step, progress)
            with torch.autocast(losses.device.type, enabled=False):
                gradients = torch.autograd.grad(losses.sum(), parameters)
            for name, value in memory.items():  # where the next replay finds them
                value.copy_(module.memory[name])
            module.memory = memory
            return [losses.detach(), *gradients]

        self._replay = capture(work)

    def __call__(self, kept: Kept) -> list[Tensor]:
        """Returns the losses of a step, and the gradients of their sum; the next replay overwrites them."""
        for own, drawn in zip(tensors_of(self._kept), tensors_of(kept), strict=True):
            own.copy_(drawn)
        return self._replay()


class _Replay(torch.autograd.Function):
    """The losses of a replayed step, whose gradients come with them."""

    @staticmethod
    def forward(ctx, graph, kept, *parameters):  # type: ignore[no-untyped-def]
        losses, *gradients = graph(kept)
        ctx.gradients = gradients
        return losses.clone()

    @staticmethod
    def backward(ctx, upstream):  # type: ignore[no-untyped-def]
        # Every parameter has one entry for each image, whose own loss alone depends on it.
        scaled = [upstream.view(-1, *[1] * (part.ndim - 1)) * part for part in ctx.gradients]
        return None, None, *scaled


def tensors_of(kept: Kept) -> list[Tensor]:
    """Returns what differs from step to step."""
    pixels = [] if kept.frames.pixels is None else [kept.frames.pixels]
    assert isinstance(kept.drawn, Tensor)
    return [kept.drawn, kept.images, *pixels, *kept.frames.numbers]


def capture(work: Callable[[], list[Tensor]]) -> Callable[[], list[Tensor]]:
    """Returns a function that does the work again as one CUDA graph, from and to the same tensors.

    Raises RuntimeError if the work cannot be captured, such as if the host reads a value in it.
    """
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = work()

    def replay() -> list[Tensor]:
        graph.replay()
        return results

    return replay


def in_layout(classifier: Classifier, channels_last: bool, image: Float[Tensor, "1 c h w"]) -> Classifier:
    """Returns the classifier with its convolutions and its inputs in a memory layout, if it works in it.

    Args:
        channels_last: or else contiguous.
        image: on which the classifier is tried.
    """
    if not isinstance(classifier, FrozenClassifier):
        fall_back("channels_last", f"{type(classifier).__name__} is no FrozenClassifier")
        return classifier
    other = copy.copy(classifier)
    other.memory_format = torch.channels_last if channels_last else torch.contiguous_format
    if channels_last and classifier.memory_format != torch.channels_last:
        leaf = image.detach().clone().requires_grad_()
        try:
            with other.frozen(image.device, image.dtype), torch.enable_grad():
                torch.autograd.grad(other(leaf).sum(), leaf)
        except (RuntimeError, UserError) as error:
            reason = words_of(error.__cause__ or error)
            fall_back("channels_last", f"the classifier fails in this memory layout ({reason})")
            return classifier
    return other


def fall_back(option: str, reason: str) -> bool:
    """Says that an option has no effect, once in a process for each reason, and returns True."""
    if (option, reason) not in _said:
        _said.add((option, reason))
        log.warning("%s is not used, as %s; the results are the same, and the fit goes on without it", option, reason)
    return True

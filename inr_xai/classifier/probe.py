"""The one look at a classifier before any fit: whether it can be explained, and whether it sees the class at all.

A few inputs (photos, noise, plain colours) pass the frozen classifier once, forward and backward. What no mask could
show is refused in one sentence; what masks would only seem to show is said in a warning.
"""

import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from inr_xai.classifier.frozen import HEADS, FrozenClassifier, ModelError, require_class, words_of
from inr_xai.classifier.targets import TargetRule
from inr_xai.errors import UserError
from inr_xai.types import ImageData, Images

IMAGES = 8
"""How many images are looked at, the first ones."""
LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Plain inputs between the lowest and the highest value: black, greys, white."""
NOISE_CELLS = (1, 2, 4, 8, 16)
"""Inputs of noise, by the side of their cells in pixels."""
TOLERANCE = 1e-3
"""Outputs that differ by less are the same, and sums of probabilities may be off by as much."""
ROUNDING = 1e-5
"""Scores, which may have any unit, are the same if they differ by less than this share of the largest."""
FAR = 30.0
"""Standard deviations of the noise that tells small logits, which it makes large, from what stays in [0, 1]."""
LEAST = 0.25
"""The least change of outputs in [0, 1] by which they are probabilities if nothing else tells it."""
SUMS = 1e-2
"""How far the sums of probabilities may be from 1, in 16 bits too."""
LAYERS = ("Addmm", "Mm", "Mv", "Dot", "Bmm", "Baddbmm", "Convolution", "MkldnnConvolution", "CudnnConvolution")
"""Operations with weights, of which the last ends the search for what squashes the outputs."""
SQUASHING = ("Softmax", "Sigmoid", "Hardsigmoid", "Exp", "Tanh", "Erf", "Atan", "Clamp", "Hardtanh")
"""Operations that bring values into [0, 1], or that a sigmoid or softmax written by hand consists of."""
UNKNOWN = "Function"
"""What an operation is called that is none of PyTorch's own."""
NO_GRADIENT = (
    "the classifier gives no gradient for its input{why}, and a fit follows this gradient; take torch.no_grad, "
    "torch.inference_mode, detach, NumPy, rounding and quantisation out of its forward (of a quantised model, explain "
    "the one in floating point that it was made from)"
)

NOT_FROZEN = (
    "the classifier cannot be put into evaluation mode, with its parameters as they are, on the device that computes "
    "({why}); correct the model"
)
SAME = (
    "the classifier returns nearly the same for different images (its outputs differ by at most {change:.2g}), so "
    "masks explain nothing, however high their scores are relative to p_full; check its weights and the preprocessing "
    "(classifier.mean, classifier.std)"
)
UNSEEN_CLASS = (
    "the classifier does not see the class that is explained: its mean probability over the first {images} is {p:.2g}, "
    "and chance is {chance:.2g}, so masks explain little, however high their scores are relative to p_full; check the "
    "class (data.targets, the order of the classes), the weights and the preprocessing (classifier.mean, "
    "classifier.std)"
)
ONE_OUTPUT_OF_TWO = (
    "the classifier has one output, so class 1 is its positive class and class 0 the negative one (before version "
    "0.2.0, class 0 was the positive one)"
)
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answers:
    """What a classifier returns for the images that are looked at, which come first, and for made up inputs.

    Args:
        images: the images that are looked at.
        outputs: what the model gives, by which its head is judged.
        logits: what the classifier makes of it.
    """

    images: Images
    outputs: Float[Tensor, "p m"]
    logits: Float[Tensor, "p n"]


def examine(classifier: FrozenClassifier, images: Images, *, at_once: int = 32, more: bool = True) -> Answers:
    """Asks the classifier once, and leaves it and the global random state as they were.

    Args:
        images: images as the classifier takes them, on the device that computes; also none of them, 0 x c x h x w.
        at_once: inputs that go through the classifier at once (memory).
        more: also ask for made up inputs. A model that refuses these alone is asked for the images.

    Raises:
        UserError: the model fails or gives no gradient, or its outputs are not what its head says.
    """
    images = images[:IMAGES].detach().to(torch.promote_types(images.dtype, torch.float32))  # as a fit does
    inputs = torch.cat([images, made_up(images, classifier)]) if more else images
    head, devices = HEADS[classifier.head], [inputs.device] if inputs.device.type == "cuda" else []
    outputs, gradients = [], []
    try:
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.random.fork_rng(devices),
            classifier.frozen(inputs.device, inputs.dtype),
        ):
            for part in inputs.split(at_once):
                leaf = part.clone().requires_grad_()
                given = classifier.outputs(leaf)
                outputs.append(given.detach().float())
                logits = head.logits(given)
                if logits.requires_grad:
                    # Weights that differ between the columns: the probabilities of a softmax have a constant sum.
                    weights = torch.linspace(1, 2, logits.shape[1]).to(logits)
                    gradients += torch.autograd.grad((logits * weights).sum(), leaf, allow_unused=True)
    except UserError as error:
        if isinstance(error, ModelError) and works_without_gradient(classifier, inputs[:at_once]):
            raise UserError(NO_GRADIENT.format(why=f" ({words_of(error.__cause__)})")) from error
        if isinstance(error, ModelError) and more and len(images) and works_without_gradient(classifier, images):
            return examine(classifier, images, at_once=at_once, more=False)
        raise
    except Exception as error:  # freezing and differentiation raise anything
        sentence = (
            NO_GRADIENT.format(why=f" ({words_of(error)})") if outputs else NOT_FROZEN.format(why=words_of(error))
        )
        raise UserError(sentence) from error
    answers = Answers(images, torch.cat(outputs), head.logits(torch.cat(outputs)))
    classifier.num_classes = answers.logits.shape[1]
    if classifier.num_classes > answers.outputs.shape[1]:
        log.warning(ONE_OUTPUT_OF_TWO)
    low, high = bounds(answers.outputs)
    unit = bool(low.amin() >= -TOLERANCE and high.amax() <= 1 + TOLERANCE)
    mistaken = MISTAKEN.get((classifier.head, unit))
    if mistaken is not None and (reason := mistaken(classifier, inputs, answers.outputs)) is not None:
        raise UserError(reason)
    if not gradients:
        raise UserError(NO_GRADIENT.format(why=""))
    differ = bool((high - low).amax() > ROUNDING * torch.maximum(-low, high).amax())
    if differ and True not in [part is not None and bool(part.any()) for part in gradients]:
        raise UserError(NO_GRADIENT.format(why=": it is 0 for each of several inputs whose outputs differ"))
    return answers


def examine_alone(classifier: FrozenClassifier, device: torch.device, *, at_once: int = 32) -> None:
    """Examines a classifier by made up inputs of its own size alone; arguments and errors are those of `examine`."""
    channels, size = len(classifier.preprocessing.mean), classifier.preprocessing.size
    examine(classifier, torch.zeros(0, channels, *size, device=device), at_once=at_once)


def made_up(images: Images, classifier: FrozenClassifier) -> Float[Tensor, "p c h w"]:
    """Returns ten inputs that no data set holds, plain colours and noise, in the size and the range of the images."""
    shape, draw = images.shape[1:], torch.Generator().manual_seed(0)
    mean, std = torch.tensor([classifier.colour_mean, classifier.colour_std])[:, :, None, None]
    low, high = (0.0, 1.0) if classifier.normalise else (float((mean - 2 * std).min()), float((mean + 2 * std).max()))
    if not classifier.normalise and len(images) and float(images.amin()) < float(images.amax()):
        low, high = float(images.amin()), float(images.amax())
    inputs = [torch.full(shape, low + level * (high - low)) for level in LEVELS]
    for place, cell in enumerate(NOISE_CELLS):
        size = shape[0], -(-shape[1] // cell), -(-shape[2] // cell)
        even = low + (high - low) * torch.rand(size, generator=draw)
        normal = (mean + std * torch.randn(size, generator=draw)).clamp(low, high)
        inputs.append(F.interpolate((even if place % 2 else normal)[None], size=shape[1:])[0])
    return torch.stack(inputs).to(images)


def first_look(
    classifier: FrozenClassifier, data: ImageData, plan: Sequence[str], *, seed: int, device: torch.device, at_once: int
) -> str | None:
    """Examines a run's classifier by its first images; returns what `doubts` says of it.

    An image that cannot be read, or has no class to explain, is left out here: the run itself says so of it.

    Args:
        plan: the ids of the run's images.
        seed, device, at_once: the seed of the run, the device that computes, and inputs in memory at once.
    """
    samples, rule = [], TargetRule(data.targets, seed)
    targets: list[int | None] = []
    for sample_id in plan[:IMAGES]:
        with contextlib.suppress(Exception):
            samples.append(data.load(sample_id, classifier.preprocessing))
    none = torch.zeros(0, len(classifier.preprocessing.mean), *classifier.preprocessing.size)
    images = torch.stack([sample.image for sample in samples]) if samples else none
    answers = examine(classifier, images.to(device), at_once=at_once)
    for sample, image in zip(samples, answers.images, strict=True):
        targets.append(None)
        with contextlib.suppress(UserError):
            targets[-1] = rule.choose(classifier, image, sample.target, sample.sample_id)
    return doubts(classifier, answers, targets if rule.targets != "wrong" else [])


def doubts(classifier: FrozenClassifier, answers: Answers, targets: Sequence[int | None]) -> str | None:
    """Returns why masks would explain nothing here, however good their scores look; None if nothing says so.

    Args:
        targets: the class that is explained of each image of `answers`, None if there is none; empty if the images are
            explained for classes that they do not show.

    Raises:
        UserError: the classifier has no such class.
    """
    few = len(answers.images)
    different = few > 1 and bool((answers.images != answers.images[0]).any())
    low, high = bounds(answers.outputs[:few] if different else answers.outputs)
    change, scores = float((high - low).amax()), classifier.head == "none"
    if change <= (ROUNDING * float(torch.maximum(-low, high).amax()) if scores else TOLERANCE):
        return SAME.format(change=change)
    chance, each = 1 / answers.logits.shape[1], []
    for logits, target in zip(answers.logits, targets, strict=False):
        if target is not None:
            require_class(target, len(logits))
            if bool(logits.isfinite().all()):
                each.append(float(HEADS[classifier.head].probabilities(logits[None])[0, target]))
    if scores or not each:
        return None
    p = sum(each) / len(each)
    if p > min(2 * chance, (1 + chance) / 2):  # of two classes, twice the chance would be certainty
        return None
    return UNSEEN_CLASS.format(p=p, images=f"{len(each)} images" if len(each) > 1 else "image", chance=chance)


def bounds(outputs: Float[Tensor, "p m"]) -> tuple[Float[Tensor, " m"], Float[Tensor, " m"]]:
    """Returns the smallest and the largest value of each output; rows that are not finite do not count.

    >>> bounds(torch.tensor([[1.0, 5.0], [1.5, 2.0], [9.0, torch.inf]]))
    (tensor([1., 2.]), tensor([1.5000, 5.0000]))
    """
    finite = outputs[outputs.isfinite().all(1)]
    if len(finite) == 0:
        finite = torch.zeros_like(outputs[:1])
    return finite.amin(0), finite.amax(0)


def works_without_gradient(classifier: FrozenClassifier, inputs: Images) -> bool:
    """Returns whether a model that failed while it was differentiated does not fail by itself."""
    try:
        with torch.no_grad(), classifier.frozen(inputs.device, inputs.dtype):
            classifier.outputs(inputs)
    except ModelError:
        return False
    return True


def last_operations(outputs: Tensor) -> set[str]:
    """Returns the names of the operations after a model's last layers, with one of these layers' if there are any.

    >>> sorted(last_operations(torch.nn.Linear(2, 3)(torch.zeros(1, 2)).sigmoid()))
    ['Addmm', 'Sigmoid']
    """
    found, seen, waiting = set(), set(), [outputs.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            name, _, version = node.name().partition("Backward")  # PyTorch's own end in a number
            found.add(name if version else UNKNOWN)
            waiting += [] if name in LAYERS else [before for before, _ in node.next_functions]
    return found


def probabilities_already(classifier: FrozenClassifier, inputs: Images, outputs: Float[Tensor, "b m"]) -> str | None:
    """Returns why outputs that all lie in [0, 1] are no logits; None if they may be.

    Logits that are small for all these inputs become large for noise that is far from all images, or they come from a
    layer with nothing after it that squashes them.
    """
    finite = outputs[outputs.isfinite().all(1)]
    one = finite.shape[1] > 1 and bool(((finite.sum(1) - 1).abs() <= SUMS).all())
    low, high = bounds(outputs)
    change = float((high - low).amax())
    if not len(finite) or not (one or change > TOLERANCE):
        return None
    mean, std = torch.tensor([classifier.colour_mean, classifier.colour_std])[:, :, None, None]
    noise = torch.randn(4, *inputs.shape[1:], generator=torch.Generator().manual_seed(0))
    operations: set[str] = set()
    try:
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.random.fork_rng([]),
            classifier.frozen(inputs.device, inputs.dtype),
        ):
            far = classifier.outputs((mean + FAR * std * noise).to(inputs).requires_grad_())
            operations = last_operations(far)
            low, high = bounds(far.detach().float())
    except Exception:  # a model may refuse such inputs
        pass
    squashed = not operations.isdisjoint(SQUASHING)
    linear = not squashed and UNKNOWN not in operations and not operations.isdisjoint(LAYERS)
    outside = bool(low.amin() < -TOLERANCE or high.amax() > 1 + TOLERANCE)
    if outside or not (one or squashed or (change > LEAST and not linear)):
        return None
    sums = " and each row sums to 1" if one else ""
    return (
        f"the outputs of the classifier are probabilities already: for {len(finite)} different inputs all lie in "
        f"[0, 1]{sums}, and classifier.head={classifier.head} would take them for logits; set "
        "classifier.head=probabilities, or leave out the last softmax or sigmoid of the model"
    )


def logarithms_already(classifier: FrozenClassifier, inputs: Images, outputs: Float[Tensor, "b m"]) -> str | None:
    """Returns why outputs of which none is positive are no logits of a sigmoid; None if they may be."""
    finite = outputs[outputs.isfinite().all(1)]
    if not len(finite) or float(finite.amax()) > TOLERANCE:
        return None
    if finite.shape[1] > 1 and bool((finite.logsumexp(1).abs() <= SUMS).all()):
        last, remedy = "log_softmax", "set classifier.head=softmax"
    else:
        with torch.inference_mode(False), torch.enable_grad(), classifier.frozen(inputs.device, inputs.dtype):
            operations = last_operations(classifier.outputs(inputs[:1].clone().requires_grad_()))
        last, remedy = "log_sigmoid", "leave it out of the model"
        if "LogSigmoid" not in operations and not {"Log", "Sigmoid"} <= operations:
            return None
    return (
        f"the outputs of the classifier are logarithms of probabilities already, as those of a {last}, and "
        f"classifier.head=sigmoid would give no class more than 0.5; {remedy}"
    )


def no_probabilities(classifier: FrozenClassifier, inputs: Images, outputs: Float[Tensor, "b m"]) -> str:
    """Returns why outputs of which some lie outside [0, 1] are no probabilities."""
    low, high = float(outputs.nan_to_num().amin()), float(outputs.nan_to_num().amax())
    return (
        f"classifier.head=probabilities, but the outputs of the classifier lie in [{low:.4g}, {high:.4g}] and not in "
        "[0, 1]; set classifier.head=softmax or sigmoid if they are logits, or none if they are scores"
    )


MISTAKEN: dict[tuple[str, bool], Callable[[FrozenClassifier, Images, Float[Tensor, "p m"]], str | None]] = {
    ("softmax", True): probabilities_already,
    ("sigmoid", True): probabilities_already,
    ("sigmoid", False): logarithms_already,
    ("probabilities", False): no_probabilities,
}
"""A head, and whether all outputs lie in [0, 1] -> what says why the outputs are not those of the head."""

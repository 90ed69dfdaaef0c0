"""Where a classifier's deepest feature map has evidence for a class: LayerCAM, by one traced pass of any classifier.

Jiang et al., "LayerCAM: Exploring Hierarchical Class Activation Maps for Localization", IEEE TIP 2021, equations 6 to
8, for activations of at least 0; those of transformers have both signs, and here the sign of the product counts.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from math import gcd, isqrt
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from inr_xai.blur import gaussian_blur
from inr_xai.classifier.frozen import owner
from inr_xai.types import Classifier, Images, Targets

NO_FEATURES = (nn.Linear, nn.Softmax, nn.Dropout, nn.Identity)
"""Modules that are passed over: between tokens they hold queries, keys, hidden units and attention, not features."""
MOST_PREFIXES = 16
"""Tokens before those of the places: classes and registers."""
SMOOTHING = 0.04
"""Standard deviation of the blur of an input gradient, as a part of the image's shorter side."""
FLAT = 1e-4
"""A map whose values differ by less than this part of the largest is constant up to rounding."""


def evidence_maps(
    classifier: Classifier, images: Images, targets: Targets, *, reference: Images | None = None
) -> Float[Tensor, "b h w"]:
    """Returns where each image has evidence for its target, by one forward and one backward pass.

    For the deepest feature map whose LayerCAM is not constant, this is the LayerCAM, enlarged bilinearly: the sum over
    channels of relu(activation * gradient of the logit). Behind the last block of a transformer only the class token
    counts, so that its places have no gradient and an earlier map is the deepest. A map of which a single channel
    counts holds scores of classes, and is passed over. A plain function, a compiled module and a network without
    feature maps give the absolute gradient of the pixels instead, blurred. Each image has the deepest map of its own.

    With a reference, by one more forward pass, activations are those of the image less those of the reference at the
    same place. What a place has whatever the image shows is no evidence: the corners of a vision transformer have
    tokens of little length and large gradients in every photo.

    Args:
        classifier: frozen on the device and in the dtype of the images.
        reference: an image without evidence for each image, in the units of the input. It is left out if the
            classifier's modules do not give it the same activations in the same order.

    Returns:
        Maps of at least 0, of any scale; NaN for an image without a gradient.
    """
    of_reference = [] if reference is None else _activations_of(classifier, reference)
    inputs, size = images.detach().clone().requires_grad_(), images.shape[-2:]
    with _activations(classifier) as activations:
        logits = classifier(inputs)
    comparable = [part.shape for part in of_reference] == [part.shape for part in activations]
    maps = images.new_full((len(images), *size), torch.nan)
    if not logits.requires_grad:
        return maps
    found: dict[int, Tensor] = {}
    # The hooks come after the pass: an activation that was changed in place has the gradient of what it is now.
    for place, activation in enumerate(activations):
        if not activation.requires_grad:
            continue
        added = activation.detach() - of_reference[place] if comparable else activation.detach()
        features = as_feature_map(added, images)
        if features is not None:
            activation.register_hook(partial(_note_map, found, place, features, images))
    (gradient,) = torch.autograd.grad(logits.gather(1, targets[:, None]).sum(), inputs, allow_unused=True)
    if gradient is not None:
        shade = gaussian_blur(gradient.abs().sum(1, keepdim=True), SMOOTHING * min(size)).squeeze(1)
        found[-1] = _unless_flat(shade)
    for place in sorted(found, reverse=True):
        enlarged = F.interpolate(found[place].unsqueeze(1), size=size, mode="bilinear").squeeze(1)
        maps = torch.where(maps.isnan(), enlarged, maps)
    return maps


def _activations_of(classifier: Classifier, images: Images) -> list[Tensor]:
    """Returns the outputs of all modules for these images, in the order in which they finish."""
    inputs = images.detach().clone().requires_grad_()  # some modules take another way where there is no gradient
    with _activations(classifier) as activations:
        classifier(inputs)
    return [activation.detach() for activation in activations]


@contextmanager
def _activations(classifier: Classifier) -> Iterator[list[Tensor]]:
    """Collects the outputs of all modules during the block, in the order in which they finish."""
    root = owner(getattr(classifier, "model", classifier))
    outputs: dict[int, Tensor] = {}

    def record(module: nn.Module, inputs: Any, output: Any) -> None:
        first = output[0] if isinstance(output, tuple | list) and output else output
        if isinstance(first, Tensor):
            outputs.pop(id(first), None)  # of an operation in place, or a container: it counts when the last ends
            outputs[id(first)] = first

    modules = [] if root is None else list(root.modules())
    # In compiled code no hooks of its parts are called, or they are called with stand-ins for tensors.
    compiled = [isinstance(part, torch.jit.ScriptModule) or hasattr(part, "_orig_mod") for part in modules]
    compiled += [getattr(part, "_compiled_call_impl", None) is not None for part in modules]
    traced = [] if True in compiled else [part for part in modules if not isinstance(part, NO_FEATURES)]
    handles = [part.register_forward_hook(record) for part in traced]
    collected: list[Tensor] = []
    try:
        yield collected
        collected.extend(outputs.values())
    finally:
        for handle in handles:
            handle.remove()


def as_feature_map(output: Tensor, images: Images) -> Float[Tensor, "b d y x"] | None:
    """Returns an output with its places as a grid; None if it has no places in the proportion of the images' sides.

    It may be b x c x h x w, b x h x w x c, or tokens, b x t x c or t x b x c: those of the places, row by row, behind
    at most 16 others.
    """
    count, size = len(images), (images.shape[-2], images.shape[-1])
    if output.ndim == 4 and len(output) == count:
        for grid in (output, output.movedim(-1, 1)):
            if is_feature_map(tuple(grid.shape), size) and grid[0, 0].numel() < images[0, 0].numel():
                return grid
    if output.ndim == 3 and count in output.shape[:2]:
        tokens = output if len(output) == count else output.transpose(0, 1)
        height, width = (side // gcd(*size) for side in size)
        cells = isqrt(tokens.shape[1] // (height * width))
        places = cells * cells * height * width
        if 1 < places < images[0, 0].numel() and tokens.shape[1] - places <= MOST_PREFIXES:
            return tokens[:, -places:].transpose(1, 2).unflatten(2, (cells * height, cells * width))
    return None


def is_feature_map(shape: tuple[int, ...], image_size: tuple[int, int]) -> bool:
    """Returns whether a shape is b x c x h x w with sides of two or more, and h : w as in the image, up to a pixel.

    >>> is_feature_map((1, 8, 7, 7), (224, 224)), is_feature_map((1, 197, 192), (224, 224))
    (True, False)
    """
    if len(shape) != 4 or min(shape[2:]) < 2:
        return False
    height, width = shape[2:]
    return abs(height * image_size[1] - width * image_size[0]) <= max(image_size)


def _note_map(
    found: dict[int, Tensor], place: int, features: Float[Tensor, "b d y x"], images: Images, gradient: Tensor
) -> None:
    """Adds the LayerCAM of an activation, now that its gradient is known."""
    gradients = as_feature_map(gradient, images)
    assert gradients is not None
    cam = (gradients * features).clamp(min=0).sum(1).to(images)
    is_score = (gradients != 0).any(-1).any(-1).sum(1) < 2
    found[place] = _unless_flat(cam.masked_fill(is_score[:, None, None], torch.nan))


def _unless_flat(maps: Float[Tensor, "b h w"]) -> Float[Tensor, "b h w"]:
    """Replaces maps that are constant up to rounding, or not finite, by NaN."""
    low, high = maps.flatten(1).aminmax(dim=1)
    varies = maps.flatten(1).isfinite().all(1) & (high - low > FLAT * torch.maximum(high, -low))
    return maps.where(varies[:, None, None], torch.nan)

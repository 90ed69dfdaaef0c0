"""timm's vision transformer as torchvision's, with the same weights and the same logits.

Tools that know torchvision's VisionTransformer alone then explain the classifier.
"""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import VisionTransformer

from inr_xai.classifier import FrozenClassifier
from inr_xai.classifier.frozen import words_of
from inr_xai.compare.methods.base import network_name
from inr_xai.errors import UserError
from inr_xai.seeding import generator

TOLERANCE = 1e-4
"""Largest difference of two logits, as a share of the largest logit if that is above 1."""
NAMES = {
    "cls_token": "class_token",
    "pos_embed": "encoder.pos_embedding",
    "patch_embed.proj": "conv_proj",
    "norm": "encoder.ln",
    "head": "heads.head",
}
NAMES_IN_BLOCK = {
    "norm1": "ln_1",
    "attn.qkv.weight": "self_attention.in_proj_weight",
    "attn.qkv.bias": "self_attention.in_proj_bias",
    "attn.proj": "self_attention.out_proj",
    "norm2": "ln_2",
    "mlp.fc1": "mlp.0",
    "mlp.fc2": "mlp.3",
}
"""Beginnings of timm's keys -> those of torchvision, in a block behind its number."""


def as_torchvision_vit(classifier: FrozenClassifier, *, device: torch.device, method: str) -> FrozenClassifier:
    """Returns the classifier with torchvision's VisionTransformer in the place of timm's; one of torchvision is kept.

    The new network shares the weights, and its logits of two random images must be those of the old one.

    Args:
        method: the method that needs it, for messages.

    Raises:
        UserError: the classifier is another network, or torchvision's has no counterpart of one of its parts.
    """
    from timm.models import vision_transformer as timm_vit  # takes seconds

    model = classifier.model
    if type(model) is VisionTransformer:
        return classifier
    if type(model) is not timm_vit.VisionTransformer:
        raise _refusal(method, f"the network of this classifier is {network_name(classifier)}")
    try:
        converted = classifier.of(_converted(model))
        difference = _largest_difference(classifier, converted, device)
    except (AttributeError, KeyError, RuntimeError, UserError) as error:
        raise _refusal(method, f"this one differs ({words_of(error)})") from error
    if not difference <= TOLERANCE:
        raise _refusal(method, f"this one has other logits when it is converted (by {difference:.2g} of the largest)")
    return converted


def torchvision_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the tensors of timm's vision transformer under torchvision's names; unknown names are kept.

    Both stack the weights of queries, keys and values in this order, and split the heads alike.

    >>> list(torchvision_state({"blocks.3.mlp.fc2.bias": torch.zeros(2), "norm.bias": torch.zeros(2)}))
    ['encoder.layers.encoder_layer_3.mlp.3.bias', 'encoder.ln.bias']
    """
    return {_renamed(name): value for name, value in state.items()}


def _renamed(name: str) -> str:
    prefix, rest, names = "", name, NAMES
    if name.startswith("blocks."):
        _, number, rest = name.split(".", 2)
        prefix, names = f"encoder.layers.encoder_layer_{number}.", NAMES_IN_BLOCK
    for ours, theirs in names.items():
        if rest == ours or rest.startswith(f"{ours}."):
            return prefix + theirs + rest.removeprefix(ours)
    return name


def _converted(model: Any) -> VisionTransformer:
    """Returns torchvision's network of the sizes and with the tensors of timm's."""
    state = torchvision_state(model.state_dict())
    width, _, patch, _ = state["conv_proj.weight"].shape
    patches = state["encoder.pos_embedding"].shape[1] - 1
    with torch.device("meta"):  # no random number is drawn, and nothing is allocated
        network = VisionTransformer(
            image_size=patch * math.isqrt(patches),
            patch_size=patch,
            num_layers=len(model.blocks),
            num_heads=model.blocks[0].attn.num_heads,
            hidden_dim=width,
            mlp_dim=len(state["encoder.layers.encoder_layer_0.mlp.0.weight"]),
            num_classes=len(state["heads.head.weight"]),
            norm_layer=partial(nn.LayerNorm, eps=model.norm.eps),
        )
    network.load_state_dict(state, assign=True)
    return network


@torch.no_grad()
def _largest_difference(one: FrozenClassifier, other: FrozenClassifier, device: torch.device) -> float:
    """Returns the largest difference of the logits of two random images, as a share of the largest if above 1."""
    preprocessing = one.preprocessing
    shape = 2, len(preprocessing.mean), *preprocessing.size
    images = torch.rand(shape, generator=generator(0, "torchvision_vit")).to(device)
    logits = []
    for classifier in (one, other):
        with classifier.frozen(device, torch.float32):
            logits.append(classifier(images))
    scale = logits[0].abs().max().clamp(min=1)
    return float((logits[0] - logits[1]).abs().max() / scale)


def _refusal(method: str, reason: str) -> UserError:
    return UserError(
        f"{method} needs torchvision's VisionTransformer, or one of timm with the same parts, such as classifier=timm "
        f"classifier.name=vit_tiny_patch16_224, and {reason}; leave the method out, or take integrated_gradients"
    )

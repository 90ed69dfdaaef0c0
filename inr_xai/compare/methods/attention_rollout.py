"""Attention rollout: how much of each patch the class token has gathered at the end of a vision transformer.

Abnar, Zuidema, "Quantifying Attention Flow in Transformers", ACL 2020, section 3.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from inr_xai.classifier import FrozenClassifier
from inr_xai.compare.methods.base import Explainer, MethodMaps, Stopwatch, network_name
from inr_xai.compare.methods.counted_logits import CountedLogits
from inr_xai.errors import UserError
from inr_xai.types import Image

AttentionMatrices = list[Float[Tensor, "b k n n"]]
"""The attention of k heads from each token to each of n tokens, layer by layer; rows sum to 1."""


class AttentionRollout(Explainer):
    """The class token's row of the rollout, without the tokens that are no patches, enlarged to the image.

    The map is the same for every class. It is divided by its largest value.

    Raises:
        UserError: the classifier is not timm's vision transformer, or its head does not read the class token.
    """

    def __init__(self, classifier: FrozenClassifier, *, device: torch.device):
        self._classifier, self._device = classifier, device
        self._transformer = _require_class_token(classifier)

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"attention_rollout": "mean of heads", "residual": 0.5}

    def explain(self, image: Image, target: int, image_id: str) -> MethodMaps:
        transformer, model = self._transformer, CountedLogits(self._classifier)
        with (
            self._classifier.frozen(self._device, torch.float32),
            torch.no_grad(),
            Stopwatch(self._device) as watch,
            attention_matrices(transformer) as matrices,
        ):
            model(image[None].to(self._device, torch.float32))
            row = rollout(matrices)[:, 0, transformer.num_prefix_tokens :]
        size = image.shape[-2], image.shape[-1]
        patches = row.reshape(1, 1, *transformer.patch_embed.dynamic_feat_size(size))
        heatmap = F.interpolate(patches, size, mode="bilinear", align_corners=False)[0].cpu()
        return MethodMaps(heatmap / heatmap.max(), passes=model.images / 2, seconds=watch.seconds)


def rollout(matrices: Sequence[Float[Tensor, "b k n n"]]) -> Float[Tensor, "b n n"]:
    """Returns R_L of R_l = N(.5 A_l + .5 I) R_(l-1) and R_0 = I.

    A_l is the attention of layer l, the mean over its heads. N divides each row by its sum, which is 1 already but for
    rounding. The identity stands for the residual connection past the attention.
    """
    rolled = torch.eye(matrices[0].shape[-1], dtype=matrices[0].dtype, device=matrices[0].device)
    identity = rolled
    for attention in matrices:
        mixed = 0.5 * attention.mean(1) + 0.5 * identity
        rolled = mixed / mixed.sum(-1, keepdim=True) @ rolled
    return rolled


@contextmanager
def attention_matrices(transformer: Any) -> Iterator[AttentionMatrices]:
    """Collects the attention of every block of timm's vision transformer while images pass through it.

    Fused attention, which makes no matrices, is switched off during the block. At its end the switches are as they
    were, and the hooks are gone.
    """
    matrices: AttentionMatrices = []
    with ExitStack() as restore:
        for block in transformer.blocks:
            attention = block.attn
            restore.callback(setattr, attention, "fused_attn", attention.fused_attn)
            attention.fused_attn = False
            # The attention passes through this dropout, which changes nothing in evaluation.
            hook = attention.attn_drop.register_forward_hook(lambda _module, _inputs, output: matrices.append(output))
            restore.callback(hook.remove)
        yield matrices


def _require_class_token(classifier: FrozenClassifier) -> Any:
    """Returns the transformer. Raises UserError if it is none of timm's, or rollout says nothing of its head."""
    from timm.models import vision_transformer  # takes seconds

    model: Any = classifier.model
    timm_vit: Any = vision_transformer  # whose Attention lies elsewhere in some versions
    if type(model) is not timm_vit.VisionTransformer:
        reason = f"the network of this classifier is {network_name(classifier)}"
    elif model.global_pool != "token":
        reason = f"this one's head reads its tokens by global_pool={model.global_pool!r}"
    elif not all(type(getattr(block, "attn", None)) is timm_vit.Attention for block in model.blocks):
        reason = "this one has attention of another kind"
    else:
        return model
    raise UserError(
        "attention_rollout needs timm's VisionTransformer whose head reads the class token, such as classifier=timm "
        f"classifier.name=vit_tiny_patch16_224, and {reason}; leave the method out, or take integrated_gradients"
    )

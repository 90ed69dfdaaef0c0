"""The explanations that metrics ask of a method: one importance map per image, for the model it is given.

Beside `score`, which is what metrics ask of a model.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from inr_xai.types import Images, Targets

Maps = Float[Tensor, "b h w"]
"""Importance maps, any real values; larger is more important."""

Explain = Callable[[Images, Targets], Maps]
"""Images and the class to explain in each, to their maps, as large as the images.

Gradients are on or off as the caller has them: a method that needs them turns them on. Random draws of its own should
follow the image's place and not its pixels (`INRAttribution`: pass image_ids), or their noise is measured too.
"""

ExplainWith = Callable[[nn.Module, Images, Targets], Maps]
"""The same for a model that comes with each call; nothing may be remembered of an earlier one."""


def explained(explain: Explain, images: Images, targets: Targets) -> Maps:
    """The maps of the images, checked as in `finite_maps`. Raises ValueError where their shape is not b x h x w."""
    maps = explain(images, targets)
    wanted = (len(images), *images.shape[2:])
    if maps.shape != wanted:
        raise ValueError(
            f"expected one map for each image, of shape {wanted}, got {tuple(maps.shape)}; "
            "sum over channels, index the one there is, or enlarge the maps to the size of the images"
        )
    return finite_maps(maps)


def finite_maps(maps: Maps) -> Maps:
    """The maps without their graph, in single precision or better. Raises ValueError for NaN and infinity."""
    bad = ~maps.isfinite().flatten(1).all(1)
    if bad.any():
        raise ValueError(
            f"expected finite maps, got NaN or infinity in the maps {bad.nonzero().flatten().tolist()}; "
            "leave out the images that failed"
        )
    return maps.detach().to(torch.promote_types(maps.dtype, torch.float32))

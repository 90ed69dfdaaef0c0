"""Pictures as W&B wants them: photos with a layer for each mask."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image as PillowImage

if TYPE_CHECKING:
    import wandb


@dataclass(frozen=True)
class WandbPicture:
    """A picture, alone or in the cell of a table.

    Args:
        image: h x w x 3 of 8 bits, or the path of a file.
        layers: name -> the pixels (h x w) of a mask that W&B can show above the picture.
        small: whether an array is stored as JPEG, which takes a tenth of the bytes.
    """

    image: UInt8[np.ndarray, "h w 3"] | str | Path
    caption: str | None = None
    layers: Mapping[str, Bool[np.ndarray, "h w"]] = field(default_factory=dict)
    small: bool = False

    def at_wandb(self) -> "wandb.Image":
        """Returns the picture as an object of W&B's, in which the n-th layer is the class n."""
        import wandb

        if not isinstance(self.image, np.ndarray):
            return wandb.Image(str(self.image), caption=self.caption)
        masks = {
            name.replace(" ", "_"): {"mask_data": mask.astype(np.uint8) * place, "class_labels": {place: name}}
            for place, (name, mask) in enumerate(self.layers.items(), start=1)
        }
        photo = PillowImage.fromarray(self.image)
        return wandb.Image(photo, caption=self.caption, masks=masks or None, file_type="jpg" if self.small else "png")

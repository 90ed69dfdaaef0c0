"""The wrong-target control of an audit: the same fit for classes that the images do not show.

What its explanations carry is what masks can draw by themselves; nothing is claimed of an image whose explanations do
not carry more. An absent class has nothing that a hole could break; what any hole breaks random regions tell, `chance`.
METHOD, "The audit", in docs/method.md.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf

from inr_xai.audit.estimates import AuditedImage

QUANTILE = 0.95


def control_configuration(cfg: DictConfig, *, images: int, out: Path, every: int = 1) -> DictConfig:
    """The run's configuration for a class that each image does not show, with nothing drawn.

    Args:
        images: how many are fitted.
        every: takes every n-th image of the data.
    """
    changed = OmegaConf.merge(
        OmegaConf.create(OmegaConf.to_container(cfg)),  # open: a run of an earlier version may lack a key
        {
            "name": f"{cfg.name}_control",
            "out": str(out),
            "data": {"targets": "wrong", "limit": images, "every": every},
            "callbacks": {"figures": None, "curves": None, "evolution": None},
            "logger": {"wandb": None},
            "shard": {"index": 0, "count": 1},
            "evaluate": None,
            "audit": None,
        },
    )
    assert isinstance(changed, DictConfig)
    return changed


def bound(control: Sequence[AuditedImage]) -> float:
    """What an image's explanations must exceed in `Reading.joint`: the 95 % quantile over the control's images.

    With fewer than 20 images that is their largest value, or nearly.
    """
    joint = torch.tensor([value for image in control for value in image.joint], dtype=torch.float64)
    return float(joint.quantile(QUANTILE, interpolation="higher"))

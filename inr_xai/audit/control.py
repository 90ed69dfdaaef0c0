"""The wrong-target control of an audit: the same fit for classes that the images do not show.

What its explanations reach is what masks can draw by themselves; nothing is claimed of an image whose explanations do
not reach more. An absent class has nothing that a hole could break. What any hole breaks is measured with random
regions instead (`random_region_values`). METHOD, "The audit", in docs/method.md.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf

from inr_xai.audit.estimates import AuditedImage

QUANTILE = 0.95


def control_configuration(cfg: DictConfig, *, images: int, out: Path, every: int = 1) -> DictConfig:
    """Returns the run's configuration for a class that each image does not show, without figures and W&B.

    Args:
        images: how many are fitted.
        every: every n-th image of the data is fitted.
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


def control_limit(control: Sequence[AuditedImage]) -> float:
    """Returns what `Estimates.joint` of an image must exceed: the 95 % quantile over the fits of the control's images.

    With fewer than 20 images this is their largest value, or nearly.
    """
    joint = torch.tensor([value for image in control for value in image.joint], dtype=torch.float64)
    return float(joint.quantile(QUANTILE, interpolation="higher"))

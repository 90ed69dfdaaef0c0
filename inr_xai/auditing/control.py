"""The wrong-target control of an audit: the same fit for classes that the images do not show.

What its explanations reach is what masks can draw by themselves, or break by themselves; nothing is claimed of an image
whose explanations do not reach more. METHOD, "The audit", in docs/method.md.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf

from inr_xai.auditing.reading import Taken

QUANTILE = 0.95


def control_configuration(cfg: DictConfig, *, images: int, out: Path) -> DictConfig:
    """The run's configuration for a class that each image does not show, of the first images, with nothing drawn."""
    changed = OmegaConf.merge(
        OmegaConf.create(OmegaConf.to_container(cfg)),  # open: a run of an earlier version may lack a key
        {
            "name": f"{cfg.name}_control",
            "out": str(out),
            "data": {"targets": "wrong", "limit": images},
            "callbacks": {"figures": None, "curves": None, "evolution": None},
            "logger": {"wandb": None},
            "shard": {"index": 0, "count": 1},
            "evaluate": None,
            "audit": None,
        },
    )
    assert isinstance(changed, DictConfig)
    return changed


def bound(control: Sequence[Taken]) -> float:
    """What an image's explanations must exceed in `Play.joint`: the 95 % quantile over the control's images.

    With fewer than 20 images that is their largest value, or nearly.
    """
    joint = torch.stack([one.joint.mean() for taken in control for one in taken.plays])
    return float(joint.double().quantile(QUANTILE, interpolation="higher"))

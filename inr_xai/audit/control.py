"""The wrong-target control of an audit: the same fit for classes that the images do not show.

What its explanations reach is what masks can draw by themselves; nothing is claimed of an image whose explanations do
not reach more. An absent class has nothing that a hole could break. What any hole breaks is measured with random
regions instead (`random_region_values`). METHOD, "The audit", in docs/method.md.
"""

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from omegaconf import DictConfig, OmegaConf

from inr_xai.audit.estimates import AuditedImage
from inr_xai.audit.measure import AuditContext, measure_image
from inr_xai.config import check
from inr_xai.draws import GENERATOR
from inr_xai.errors import UserError
from inr_xai.instantiate import OUTAGE
from inr_xai.runner import explain
from inr_xai.runs.folder import RunFolder
from inr_xai.runs.load import load
from inr_xai.runs.loop import each_image

QUANTILE = 0.95
LATER: Final[dict[str, Any]] = {
    "threads": None,
    "lock": {"wait": None},
    "outage": {"wait": OUTAGE},
    "checkpoint_every": None,
    "allow_targets": [],
}
"""The options that earlier versions did not have, with their defaults."""
log = logging.getLogger(__name__)


def control_configuration(cfg: DictConfig, *, images: int, out: Path, every: int = 1) -> DictConfig:
    """Returns the run's configuration for a class that each image does not show, without figures and W&B.

    Args:
        images: the number of images that are fitted.
        every: the step from one image of the data to the next that is fitted.
    """
    name = re.sub(r"[/\\\x00-\x1f\x7f]", "_", cfg.name)[:100]  # earlier versions allowed any name
    changed = OmegaConf.merge(
        LATER,
        OmegaConf.create(OmegaConf.to_container(cfg)),  # open: a run of an earlier version may lack a key
        {
            "name": f"{name}_control",
            "out": str(out),
            "data": {"targets": "wrong", "limit": images, "every": every},
            "callbacks": {"figures": None, "curves": None, "evolution": None},
            "logger": {"wandb": None},
            "shards": None,
            "shard": {"index": 0, "count": 1, "steal": False},
            "evaluate": None,
            "audit": None,
        },
    )
    assert isinstance(changed, DictConfig)
    return changed


def measure_control(
    cfg: DictConfig, context: AuditContext, *, area: float, images: int, every: int, out: Path, cache: Path
) -> list[AuditedImage]:
    """Returns the measured images of the wrong-target control, and fits those that are not in its folder yet.

    Args:
        cfg: the configuration of the run that is audited.
        area: the area of the regions, one of the areas fitted.
        images, every: the number of images, and the step from one image of the data to the next.
        out: the folder of the control's run.
        cache: the folder of its stored games.

    Raises:
        UserError: no image of the control could be fitted and measured.
    """
    control_cfg = control_configuration(cfg, images=images, out=out, every=every)
    check(control_cfg)
    wanted, folder = context.data.ids[::every][:images], RunFolder(out)
    # A control of an earlier version drew other random numbers: it is not continued, but it serves if it is whole.
    earlier = folder.exists() and folder.read_run().get("draws", 1) != GENERATOR
    if not (earlier and folder.done().issuperset(wanted)):
        explain(control_cfg)
    control = load(out, cfg.allow_targets)
    fitted = set(control)  # may be more images, from an earlier audit with a larger control
    sample_ids = [sample_id for sample_id in wanted if sample_id in fitted]
    measured: list[AuditedImage] = []

    def measure(sample_id: str, place: str) -> int:
        measured.append(measure_image([control], sample_id, context, area=area, cache=cache))
        return 0

    each_image(
        sample_ids, measure, note=lambda sample_id, reason: log.warning("the control does without %s", sample_id)
    )
    if not measured:
        raise UserError(f"the wrong-target control has no image; {out / 'failures.csv'} and the log say why")
    return measured


def control_limit(control: Sequence[AuditedImage]) -> float:
    """Returns what `Estimates.joint` of an image must exceed: the 95 % quantile over the fits of the control's images.

    With fewer than 20 images this is their largest value, or nearly.
    """
    joint = torch.tensor([value for image in control for value in image.joint], dtype=torch.float64)
    return float(joint.quantile(QUANTILE, interpolation="higher"))

"""Builds the parts of a run from its configuration (data, classifier, method, callbacks), and what run.json holds."""

import platform
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import hydra
import torch
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from inr_xai.callbacks.base import RunCallback
from inr_xai.classifier.frozen import FrozenClassifier
from inr_xai.data.photo_pool import PhotoPool
from inr_xai.data.pools import is_synthetic
from inr_xai.errors import UserError
from inr_xai.fitting.mask_module import device_of
from inr_xai.limits import Exclusion, Stop
from inr_xai.loggers import WandbSettings
from inr_xai.method import Method
from inr_xai.runs.folder import RunFolder
from inr_xai.types import ImageData

PACKAGES = ("inr-xai", "torch", "torchvision", "lightning", "timm", "wandb", "hydra-core")


@dataclass
class Parts:
    """The parts that a run is made of.

    Args:
        trainer: options of Lightning's trainer.
        scoring: photos that stand around a mask while it is scored (the baseline `photo`).
        donors: photos whose pixels a fit may use; None if the perturbation uses none.
        wandb: the options of W&B; None if it is off.
    """

    data: ImageData
    classifier: FrozenClassifier
    method: Method
    trainer: dict[str, Any]
    device: torch.device
    callbacks: list[RunCallback]
    scoring: PhotoPool
    donors: PhotoPool | None
    wandb: WandbSettings | None


def instantiate(node: Any) -> Any:
    """Builds what a `_target_` node describes. A UserError of its constructor is raised as it is."""
    try:
        return hydra.utils.instantiate(node, _convert_="all")  # plain lists and dicts, as the types say
    except InstantiationException as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from None
        raise


def plain(cfg: DictConfig) -> dict[str, Any]:
    """Returns the resolved configuration as plain dicts and lists."""
    content = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def stored_configuration(config: Mapping[str, Any], overrides: Sequence[str]) -> DictConfig:
    """Returns a run's stored configuration with some values changed, given as KEY=VALUE.

    Raises:
        UserError: an override is not of this form, or its key is not in the configuration.
    """
    cfg = OmegaConf.create(dict(config))
    OmegaConf.set_struct(cfg, True)
    for override in overrides:
        key, separator, value = override.partition("=")
        if not separator:
            raise UserError(f"{override!r} is no option; give KEY=VALUE, such as data.root=PATH")
        parsed = OmegaConf.from_dotlist([f"value={value}"]).value
        try:
            OmegaConf.update(cfg, key, parsed)
        except (OmegaConfBaseException, ValueError) as error:  # a key such as areas.x, within a list, is a ValueError
            raise UserError(f"{override} names no option of the run; its run.json lists them") from error
    return cfg


def build_method(cfg: DictConfig) -> Method:
    """Builds the method that the configuration describes."""
    return Method(
        areas=tuple(cfg.areas),
        explanations=cfg.explanations,
        exclusion=Exclusion(**plain(cfg.exclusion)),
        stop=Stop(**plain(cfg.stop)),
        steps=cfg.steps,
        seed=cfg.seed,
        stride=cfg.stride,
        total_variation=cfg.total_variation,
        binary=cfg.binary,
        masks_per_forward=cfg.masks_per_forward,
        images_per_fit=cfg.images_per_fit,
        nested=cfg.nested,
        inr=instantiate(cfg.inr),
        area_rule=instantiate(cfg.area_rule),
        perturbation=instantiate(cfg.perturbation),
        objective=instantiate(cfg.objective),
        score=instantiate(cfg.score),
        jitter=instantiate(cfg.jitter),
        reveal=instantiate(cfg.reveal),
        optimizer=instantiate(cfg.optimizer),
    )


def start_or_continue(folder: RunFolder, config: dict[str, Any], data: ImageData) -> dict[str, Any]:
    """Returns what run.json will hold: of a new run, or of the run to continue, which keeps its pools and W&B run."""
    current = {
        "config": config,
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "seed": config["seed"],
        "classifier": config["classifier"],
    }
    if folder.exists():
        folder.tidy()
        facts = folder.read_run() | current
    else:
        pools = {"scoring_pool": list(data.scoring_ids), "donor_pool": list(data.donor_ids)}
        facts = current | pools | {"wandb_id": secrets.token_hex(4), "seconds": 0.0, "classifier_passes": {}}
    # Version 0.1.0 called the sessions sittings.
    facts["sessions"] = facts.pop("sittings", facts.get("sessions", 0)) + 1
    return facts


def assemble(cfg: DictConfig, data: ImageData, classifier: FrozenClassifier, facts: dict[str, Any]) -> Parts:
    """Builds everything that the loop over the images needs, and notes the device in the facts of run.json."""
    method = build_method(cfg)
    scoring, donors = (make_photo_pool(facts[name], data, classifier) for name in ("scoring_pool", "donor_pool"))
    callbacks = [instantiate(node) for node in cfg.callbacks.values() if node is not None]
    trainer = plain(cfg.trainer)
    device = device_of(trainer)
    facts["device"] = describe_device(device)
    require_optimizer(method)
    wandb = instantiate(cfg.logger.wandb) if cfg.logger and cfg.logger.get("wandb") is not None else None
    fit_donors = donors if method.perturbation.needs_donors else None
    return Parts(data, classifier, method, trainer, device, callbacks, scoring, fit_donors, wandb)


def require_optimizer(method: Method) -> None:
    """Raises UserError if the optimiser refuses its arguments, which it does only once it has parameters."""
    try:
        method.optimizer([torch.nn.Parameter(torch.zeros(1))])
    except (ValueError, TypeError) as error:
        raise UserError(f"optimizer cannot be built: {error}; correct the values of optimizer") from error


def make_photo_pool(ids: Sequence[str], data: ImageData, classifier: FrozenClassifier) -> PhotoPool:
    """Returns the photos of a pool; its synthetic images, which fill up the pool of a small folder, are the reserve."""
    reserve = [sample_id for sample_id in ids if is_synthetic(sample_id)]
    photos = [sample_id for sample_id in ids if not is_synthetic(sample_id)]
    return PhotoPool(photos, data, classifier.preprocessing, reserve)


def describe_device(device: torch.device) -> str:
    """Returns the device, with the name of its hardware if torch knows it."""
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)

"""The light Lightning trainers of fits: one a fit, quiet, on the device that the settings name."""

import contextlib
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import lightning
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException

from inr_xai.errors import UserError


def light_trainer(settings: Mapping[str, Any], callbacks: Sequence[lightning.Callback]) -> lightning.Trainer:
    """A trainer for one fit."""
    # LightningEnvironment: a cluster's launcher owns requeueing, not each of the many small fits.
    return lightning.Trainer(
        **settings,
        max_epochs=1,
        logger=False,
        callbacks=list(callbacks),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        plugins=[LightningEnvironment()],
    )


def trainer_of(device: torch.device) -> dict[str, Any]:
    """The settings of a trainer that fits on a device."""
    accelerator = {"cuda": "gpu"}.get(device.type, device.type)
    return {"accelerator": accelerator, "devices": [device.index or 0] if device.type == "cuda" else 1}


def device_of(settings: Mapping[str, Any]) -> torch.device:
    """The device that a trainer of these settings fits on."""
    try:
        with quiet_lightning():
            return light_trainer(settings, ()).strategy.root_device
    except MisconfigurationException as error:
        raise UserError(
            f"trainer.accelerator={settings.get('accelerator')} is not to be had on this machine ({error}); "
            "use trainer.accelerator=auto or cpu"
        ) from error


@contextlib.contextmanager
def quiet_lightning() -> Iterator[None]:
    """A Trainer per fit must not announce its hardware each time."""
    names = ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch.accelerators.cuda", "lightning.pytorch")
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, before, strict=True):
                logger.setLevel(level)

"""The light Lightning trainers, one for each fit, and how they are let go of."""

import contextlib
import logging
import signal
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import lightning
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException

from inr_xai.errors import UserError


@contextlib.contextmanager
def light_trainer(settings: Mapping[str, Any], callbacks: Sequence[lightning.Callback]) -> Iterator[lightning.Trainer]:
    """A context with a trainer for one fit, which prints and writes nothing by itself.

    If somebody cares for SIGTERM, as our programs and the launchers of clusters do, it leaves that to him.

    At the end the trainer is empty and of no use, and nobody has its module. A trainer and its parts refer to each
    other, and they to the module. Python looks for such cycles so seldom that the tensors of a hundred fits would lie
    in memory, and on a GPU their graphs, too.
    """
    # LightningEnvironment: requeueing is the task of a cluster's launcher, not of the many small fits.
    trainer = lightning.Trainer(
        **settings,
        max_epochs=1,
        logger=False,
        callbacks=list(callbacks),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        plugins=[LightningEnvironment()],
    )
    if callable(signal.getsignal(signal.SIGTERM)):  # else Lightning ends the fit, whatever that handler decides
        trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
    try:
        yield trainer
    finally:
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            for name in ("log", "log_dict"):  # methods of the module that Lightning gives them
                vars(callback).pop(name, None)
        vars(trainer).clear()


def device_of(settings: Mapping[str, Any]) -> torch.device:
    """Returns the device on which a trainer with these settings fits. Raises UserError if it is not available."""
    try:
        with quiet_lightning(), light_trainer(settings, ()) as trainer:
            return trainer.strategy.root_device
    except MisconfigurationException as error:
        raise UserError(
            f"trainer.accelerator={settings.get('accelerator')} is not available on this machine ({error}); "
            "use trainer.accelerator=auto or cpu"
        ) from error


@contextlib.contextmanager
def quiet_lightning() -> Iterator[None]:
    """Silences Lightning, whose trainers, one for each fit, would otherwise all report their hardware."""
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

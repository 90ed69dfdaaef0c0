"""The command line: `inr-xai` is Hydra's program around `inr_xai.pipeline.run`, `inr-xai VERB` what follows a run.

Exit status: 0 done, 1 a bug (with its traceback), 2 refused, 3 done but some images failed or could not be evaluated or
audited, 130 interrupted. A refusal is one sentence.
"""

import atexit
import logging
import os
import shutil
import sys
import tempfile
import traceback
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from inr_xai.columns import less_is_better
from inr_xai.config import check, conf_folder, register, sentence
from inr_xai.errors import IMAGES_FAILED, INTERRUPTED, REFUSED, UserError, did_you_mean

log = logging.getLogger(__name__)

VERBS = {
    "evaluate": ("inr_xai.evaluate.__main__", "metrics of a finished run, or of another tool's maps of its images"),
    "audit": ("inr_xai.audit.__main__", "what a classifier leans on, from finished runs"),
    "compare": ("inr_xai.compare.__main__", "our masks beside other methods, on the same photos"),
    "maps": ("inr_xai.compare.maps", "other methods' heatmaps of a finished run's images"),
    "table": ("inr_xai.evaluate.table", "one table of several methods, as Markdown and LaTeX"),
    "verify": ("inr_xai.runs.verify", "whether a finished run keeps what it promises"),
}
"""Verb -> the module whose `main` it runs, imported when it is asked for, and what it does."""

# What a multirun leaves to be done after its last job. Hydra tells its callbacks nothing where a job failed.
_afterwards = ExitStack()

register()  # here, because a launcher's worker process knows the program by this module alone


def main() -> None:
    """Runs the program with the arguments of the command line and exits with its status."""
    first = sys.argv[1] if len(sys.argv) > 1 else ""
    if first == "--version":
        from inr_xai import __version__

        sys.stdout.write(f"inr-xai {__version__}\n")
        sys.exit(0)
    if first in VERBS:
        sys.exit(import_module(VERBS[first][0]).main(sys.argv[2:]))
    if first.isalpha():  # Hydra would take it for an override and say so in its own words
        hint = did_you_mean(first, VERBS) or f"; the verbs are {', '.join(VERBS)}"
        sys.stderr.write(f"error: {first} is neither a verb nor KEY=VALUE{hint}\n")
        sys.exit(REFUSED)
    sys.exit(run_hydra())


def run_hydra() -> int:
    """Hydra's program: one run, or the jobs of a multirun; the exit status."""
    program = hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name="config")(job)
    before = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # lets exceptions through; Hydra would print them and exit by itself
    try:
        with _afterwards:
            return _status(program, full_error=before == "1")
    finally:
        if before is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = before


class ExitProgram(BaseException):
    """Ends the program; not an Exception, because Hydra turns those of its callbacks into warnings."""

    def __init__(self, status: int = 0, error: Exception | None = None):
        super().__init__(status)
        self.status, self.error = status, error


class Gate(Callback):
    """Hydra's callback that refuses, or shows, a configuration before Hydra makes any folder."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """A single run: refuses it, or prints it where only that is asked for."""
        cfg = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
        try:
            check(cfg)
        except UserError as error:
            raise ExitProgram(REFUSED, error) from error
        if cfg.dry_run:
            _show(cfg)
            raise ExitProgram

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Fixes the sweep's folder for all its jobs, also in other processes, which would draw its name anew."""
        _check_direction(config)
        folder = str(config.hydra.sweep.dir)
        if config.dry_run:
            folder = tempfile.mkdtemp(prefix="inr_xai_dry_run_")
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
        else:
            _afterwards.callback(_compare, Path(folder).absolute())
        config.hydra.sweep.dir = folder
        config.hydra.overrides.hydra.append("hydra.sweep.dir='" + folder.replace("'", r"\'") + "'")

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """The status of a sweep: a job in another process can hand over its files alone."""
        if any(_is_incomplete(folder) for folder in Path(config.hydra.sweep.dir).iterdir()):
            raise ExitProgram(IMAGES_FAILED)


def job(cfg: DictConfig) -> float | None:
    """One run; returns `sweep_metric` for a sweeper."""
    hydra_cfg = HydraConfig.get()
    if hydra_cfg.mode is RunMode.MULTIRUN:
        return _job_of_many(cfg, hydra_cfg)
    try:
        return _job(cfg, hydra_cfg)
    except Exception as error:
        refusal = sentence(error)
        if refusal is not None:
            _write_to_file(refusal)
            raise ExitProgram(REFUSED, error) from error
        raise


def _job_of_many(cfg: DictConfig, hydra_cfg: Any) -> float | None:
    """A job of a multirun notes in its folder how it ends, for the table of all of them."""
    number, overrides = hydra_cfg.job.num, list(hydra_cfg.overrides.task)
    if cfg.get("dry_run"):
        return _job(cfg, hydra_cfg)
    from inr_xai.sweeps import DONE, FAILED, RUNNING, note_job  # late: it brings torch

    note_job(hydra_cfg.runtime.output_dir, number, overrides, RUNNING)
    try:
        metric = _job(cfg, hydra_cfg)
    except Exception as error:
        refusal = sentence(error)
        # Hydra itself reports the first job that failed, after the last one has ended.
        log.error("job %s (%s): %s", number, " ".join(overrides), refusal, exc_info=refusal is None)
        note_job(hydra_cfg.runtime.output_dir, number, overrides, FAILED, refusal or repr(error))
        raise
    note_job(hydra_cfg.runtime.output_dir, number, overrides, DONE)
    return metric


def _job(cfg: DictConfig, hydra_cfg: Any) -> float | None:
    """One run. The gate has checked a single one before; `pipeline.run` checks each job, since it is called alone too."""
    many = hydra_cfg.mode is RunMode.MULTIRUN
    if cfg.dry_run:
        if many:
            check(cfg)
        _show(cfg)
        return None
    cfg.out = hydra_cfg.runtime.output_dir
    if many and _logs_without_group(cfg):
        cfg.logger.wandb.group = Path(hydra_cfg.sweep.dir).resolve().name
    log.info("configuration:\n%s", OmegaConf.to_yaml(cfg, resolve=True).rstrip())
    from inr_xai.pipeline import run  # late: a refusal, a dry run and --help do not wait for it

    outcome = run(cfg)
    if outcome.metric is None:
        log.warning("sweep_metric=%s is not in summary.json, so there is nothing to rank this run by", cfg.sweep_metric)
    if (outcome.failures or outcome.unmeasured) and not many:
        raise ExitProgram(IMAGES_FAILED)
    return outcome.metric


def _logs_without_group(cfg: DictConfig) -> bool:
    logger = cfg.get("logger")
    settings = logger.get("wandb") if isinstance(logger, DictConfig) else None
    return isinstance(settings, DictConfig) and settings.get("group") is None


def _is_incomplete(folder: Path) -> bool:
    """Whether a job's folder tells of images that failed or could not be evaluated or audited."""
    from inr_xai.runs.folder import RunFolder

    run_folder = RunFolder(folder)
    return bool(run_folder.read_failures() or run_folder.read_unmeasured())


def _check_direction(config: DictConfig) -> None:
    """A search must not look for the worst value of `sweep_metric`."""
    wanted, metric = config.hydra.sweeper.get("direction"), str(config.get("sweep_metric"))
    if str(getattr(wanted, "name", wanted)) == "maximize" and less_is_better(metric):
        error = UserError(
            f"hydra.sweeper.direction=maximize looks for the worst sweep_metric={metric}, of which less is better; "
            "give hydra.sweeper.direction=minimize"
        )
        raise ExitProgram(REFUSED, error)


def _compare(folder: Path) -> None:
    """Prints the table of a multirun's jobs."""
    from inr_xai.sweeps import conclude_multirun

    table = conclude_multirun(folder)
    if table is not None:
        sys.stdout.write(f"\n{table}\nThe table is in {folder / 'sweep.md'} and sweep.csv.\n")


def _show(cfg: DictConfig) -> None:
    sys.stdout.write(OmegaConf.to_yaml(cfg, resolve=True))


def _status(program: Any, *, full_error: bool) -> int:
    try:
        program()
    except KeyboardInterrupt:
        return INTERRUPTED
    except SystemExit as exit_:
        # Lightning turns Ctrl-C into exit(1).
        if isinstance(exit_.__context__, KeyboardInterrupt):
            return INTERRUPTED
        raise
    except ExitProgram as stop:
        return stop.status if stop.error is None else _report(stop.error, full_error=full_error)
    except Exception as error:
        if sentence(error) is None:
            raise
        return _report(error, full_error=full_error)
    return 0


def _report(error: Exception, *, full_error: bool) -> int:
    if full_error:
        traceback.print_exception(error)
    else:
        sys.stderr.write(f"error: {sentence(error)}\n")
    return REFUSED


def _write_to_file(message: str) -> None:
    """Into the run's log alone: the terminal gets the message once, as the program's last line."""
    record = log.makeRecord(log.name, logging.ERROR, __file__, 0, message, (), None)
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(record)

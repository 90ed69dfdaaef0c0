"""The command line: `inr-xai KEY=VALUE ...` explains images, `inr-xai VERB ...` works on what a run left behind.

`main` reads the first argument. Without a verb, Hydra composes the configuration and calls `Gate` (which refuses it, or
shows it) and then `job` (which does the work in `inr_xai.pipeline.run`): once for a run, once per job of a multirun.

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
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from inr_xai.columns import less_is_better
from inr_xai.config import check, conf_folder, register, sentence
from inr_xai.errors import IMAGES_FAILED, INTERRUPTED, REFUSED, UserError, did_you_mean

if TYPE_CHECKING:
    from inr_xai.pipeline import RunOutcome

log = logging.getLogger(__name__)

VERBS = {
    "evaluate": ("inr_xai.evaluate.__main__", "metrics of a finished run, or of another tool's maps of its images"),
    "audit": ("inr_xai.audit.__main__", "what a classifier leans on, from finished runs"),
    "compare": ("inr_xai.compare.__main__", "our masks beside other methods, on the same photos"),
    "maps": ("inr_xai.compare.maps", "other methods' heatmaps of a finished run's images"),
    "table": ("inr_xai.evaluate.table", "one table of several methods, as Markdown and LaTeX"),
    "verify": ("inr_xai.runs.verify", "how exact, binary and disjoint a finished run's masks are"),
}
"""Verb -> the module whose `main` does its work (imported only if it is used), and what the verb is for."""

_after_multirun = ExitStack()
"""What is done after the last job of a multirun: Hydra does not tell its callbacks if a job has failed."""

register()  # here, because a launcher's worker process imports this module alone


def main() -> None:
    """Does what the arguments of the command line say, and exits with the status."""
    first = sys.argv[1] if len(sys.argv) > 1 else ""
    if first in VERBS:
        sys.exit(import_module(VERBS[first][0]).main(sys.argv[2:]))
    if first == "--version":
        from inr_xai import __version__

        sys.stdout.write(f"inr-xai {__version__}\n")
        sys.exit(0)
    if first in ("--help", "-h"):
        verbs = "\n".join(f"  inr-xai {verb:10} {purpose}" for verb, (_, purpose) in VERBS.items())
        sys.stdout.write(f"Verbs (inr-xai VERB --help says more):\n{verbs}\n\nWithout a verb:\n\n")
    if first.isalpha():  # Hydra would take it for an option without a value, and say so
        hint = did_you_mean(first, VERBS) or f"; the verbs are {', '.join(VERBS)}"
        sys.stderr.write(f"error: {first} is neither a verb nor KEY=VALUE{hint}\n")
        sys.exit(REFUSED)
    sys.exit(run_hydra())


def run_hydra() -> int:
    """Runs Hydra's program, which is one run or the jobs of a multirun, and returns the exit status."""
    program = hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name="config")(job)
    before = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # lets exceptions through; Hydra would print them and exit by itself
    try:
        with _after_multirun:
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
        """Refuses the configuration of a single run, or prints it if it is a dry run."""
        cfg = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
        try:
            check(cfg)
        except UserError as error:
            raise ExitProgram(REFUSED, error) from error
        if cfg.dry_run:
            _show(cfg)
            raise ExitProgram

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Fixes the folder of a multirun for all jobs: a job in another process would compose another name."""
        _check_direction(config)
        folder = str(config.hydra.sweep.dir)
        if config.dry_run:
            folder = tempfile.mkdtemp(prefix="inr_xai_dry_run_")
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
        else:
            _after_multirun.callback(_print_sweep_table, Path(folder).absolute())
        config.hydra.sweep.dir = folder
        config.hydra.overrides.hydra.append("hydra.sweep.dir='" + folder.replace("'", r"\'") + "'")

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Ends with the status of failed images if a job had any: its files say so, also from another process."""
        from inr_xai.runs.folder import RunFolder

        folders = [RunFolder(path) for path in Path(config.hydra.sweep.dir).iterdir()]
        if any(folder.read_failures() or folder.read_unmeasured() for folder in folders):
            raise ExitProgram(IMAGES_FAILED)


def job(cfg: DictConfig) -> float | None:
    """Does one run, alone or as a job of a multirun, and returns its `sweep_metric` for a sweeper."""
    if cfg.get("dry_run"):  # of a multirun: the gate has ended the program if the run is a single one
        check(cfg)
        _show(cfg)
        return None
    hydra_cfg = HydraConfig.get()
    return _job_of_multirun(cfg, hydra_cfg) if hydra_cfg.mode is RunMode.MULTIRUN else _single_run(cfg, hydra_cfg)


def _single_run(cfg: DictConfig, hydra_cfg: Any) -> float | None:
    """Does a run whose outcome is the program's exit status."""
    try:
        outcome = _run(cfg, hydra_cfg)
    except Exception as error:
        refusal = sentence(error)
        if refusal is None:
            raise
        _write_to_log_file(refusal)
        raise ExitProgram(REFUSED, error) from error
    if outcome.failures or outcome.unmeasured:
        raise ExitProgram(IMAGES_FAILED)
    return outcome.metric


def _job_of_multirun(cfg: DictConfig, hydra_cfg: Any) -> float | None:
    """Does a job of a multirun, and notes in its folder how it ends, for the table of all jobs."""
    from inr_xai.sweeps import DONE, FAILED, RUNNING, note_job  # late: it brings torch

    folder, number, overrides = hydra_cfg.runtime.output_dir, hydra_cfg.job.num, list(hydra_cfg.overrides.task)
    note_job(folder, number, overrides, RUNNING)
    try:
        wandb = OmegaConf.select(cfg, "logger.wandb")
        if isinstance(wandb, DictConfig) and wandb.get("group") is None:
            wandb.group = Path(hydra_cfg.sweep.dir).resolve().name
        outcome = _run(cfg, hydra_cfg)
    except Exception as error:
        refusal = sentence(error)
        # Hydra itself reports the first job that failed, after the last one has ended.
        log.error("job %s (%s): %s", number, " ".join(overrides), refusal, exc_info=refusal is None)
        note_job(folder, number, overrides, FAILED, refusal or repr(error))
        raise
    note_job(folder, number, overrides, DONE)
    return outcome.metric


def _run(cfg: DictConfig, hydra_cfg: Any) -> "RunOutcome":
    """Does a run in the folder that Hydra made for it."""
    cfg.out = hydra_cfg.runtime.output_dir
    log.info("configuration:\n%s", OmegaConf.to_yaml(cfg, resolve=True).rstrip())
    from inr_xai.pipeline import run  # late: a refusal, a dry run and --help do not wait for it

    outcome = run(cfg)
    if outcome.metric is None:
        log.warning("sweep_metric=%s is not in summary.json, so there is nothing to rank this run by", cfg.sweep_metric)
    return outcome


def _check_direction(config: DictConfig) -> None:
    """Ends the program if a search would look for the worst value of `sweep_metric`."""
    direction, metric = config.hydra.sweeper.get("direction"), str(config.get("sweep_metric"))
    if str(getattr(direction, "name", direction)) == "maximize" and less_is_better(metric):
        error = UserError(
            f"hydra.sweeper.direction=maximize looks for the worst sweep_metric={metric}, of which less is better; "
            "give hydra.sweeper.direction=minimize"
        )
        raise ExitProgram(REFUSED, error)


def _print_sweep_table(folder: Path) -> None:
    """Makes and prints the table of a multirun's jobs."""
    from inr_xai.sweeps import conclude_multirun

    table = conclude_multirun(folder)
    if table is not None:
        sys.stdout.write(f"\n{table}\nThe table is in {folder / 'sweep.md'} and sweep.csv.\n")


def _show(cfg: DictConfig) -> None:
    """Prints the resolved configuration."""
    sys.stdout.write(OmegaConf.to_yaml(cfg, resolve=True))


def _status(program: Any, *, full_error: bool) -> int:
    """Runs Hydra's program, prints a refusal, and returns the exit status; a bug is raised."""
    try:
        program()
    except KeyboardInterrupt:
        return INTERRUPTED
    except SystemExit as exit_:
        # Lightning turns Ctrl-C into exit(1).
        if isinstance(exit_.__context__, KeyboardInterrupt):
            return INTERRUPTED
        raise
    except ExitProgram as ending:
        return ending.status if ending.error is None else _report(ending.error, full_error=full_error)
    except Exception as error:
        if sentence(error) is None:
            raise
        return _report(error, full_error=full_error)
    return 0


def _report(error: Exception, *, full_error: bool) -> int:
    """Prints a refusal, with its traceback if the user asks for full errors, and returns the exit status."""
    if full_error:
        traceback.print_exception(error)
    else:
        sys.stderr.write(f"error: {sentence(error)}\n")
    return REFUSED


def _write_to_log_file(message: str) -> None:
    """Writes a refusal into the run's log alone: the terminal gets it once, as the program's last line."""
    record = log.makeRecord(log.name, logging.ERROR, __file__, 0, message, (), None)
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(record)

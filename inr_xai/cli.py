"""The command line: `inr-xai KEY=VALUE ...` explains images, `inr-xai VERB ...` works on what a run left behind.

`main` reads the first argument. Without a verb, Hydra composes the configuration and calls `Gate` (which refuses it, or
shows it) and then `job` (which does the work in `inr_xai.pipeline.run`): once for a run, once per job of a multirun.

Exit status: 0 done, 1 a bug (with its traceback) or a fault of the machine, 2 refused, 3 done but some images failed or
could not be evaluated or audited, 129, 130 and 143 ended by SIGHUP, SIGINT and SIGTERM. A refusal and a fault are one
sentence each.
"""

import atexit
import functools
import logging
import os
import re
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from inr_xai.columns import less_is_better
from inr_xai.config import check, conf_folder, launchers, register, sentence
from inr_xai.config.environment import as_yaml
from inr_xai.config.hydra_nodes import hydra_nodes_checked
from inr_xai.config.photos import overrides_of
from inr_xai.config.places import check_files, check_place
from inr_xai.config.programs import Interruption, report_error, report_interruption, run_program
from inr_xai.config.shards import expand_shards, folder_of_job, without_multirun
from inr_xai.errors import IMAGES_FAILED, REFUSED, RunFault, UserError, did_you_mean

if TYPE_CHECKING:
    from inr_xai.pipeline import RunOutcome

log = logging.getLogger(__name__)

EXPLAIN = "explain"
VERBS = {
    "evaluate": ("inr_xai.evaluate.__main__", "metrics of a finished run, or of another tool's maps of its images"),
    "audit": ("inr_xai.audit.__main__", "what a classifier leans on, from finished runs"),
    "compare": ("inr_xai.compare.__main__", "our masks beside other methods, on the same photos"),
    "maps": ("inr_xai.compare.maps", "other methods' heatmaps of a finished run's images"),
    "table": ("inr_xai.evaluate.table", "one table of several methods, as Markdown and LaTeX"),
    "dashboard": (
        "inr_xai.dashboards.__main__",
        "a workspace at W&B of a project's runs, and a report of a sweep",
    ),
    "app": ("inr_xai.app.__main__", "a page in the browser: drop a photo, and masks of it form"),
    "report": ("inr_xai.report.__main__", "one page of finished runs: their images with masks at every area"),
    "verify": ("inr_xai.runs.verify", "how exact, binary and disjoint a finished run's masks are"),
    "status": ("inr_xai.runs.status", "how far a run has come, who works on it, and when it will be done"),
    "merge": ("inr_xai.evaluate.merge", "one run folder of several, whose images were explained apart"),
}
"""Verb -> the module whose `main` does its work (imported only if it is used), and what the verb is for."""

BASIC_LAUNCHER = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
"""Does jobs one after another in the process of the command."""

register()  # here, because a launcher's worker process imports this module alone


def main() -> None:
    """Does what the arguments of the command line say, and exits with the status."""
    status = run_program(lambda: do(sys.argv[1:]))
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_DFL)  # as the other signals, from here on
    sys.exit(status)


def do(arguments: Sequence[str]) -> int:
    """Does what the arguments say, and returns the exit status."""
    first = arguments[0] if arguments else ""
    if first in VERBS:
        status: int = import_module(VERBS[first][0]).main(arguments[1:])
        return status
    if first == EXPLAIN:
        return explain_photos(arguments[1:])
    if first == "--version":
        from inr_xai import __version__

        sys.stdout.write(f"inr-xai {__version__}\n")
        return 0
    if first in ("--help", "-h"):
        purposes = {EXPLAIN: "what a classifier sees in photos of yours"} | {
            verb: of for verb, (_, of) in VERBS.items()
        }
        verbs = "\n".join(f"  inr-xai {verb:10} {purpose}" for verb, purpose in purposes.items())
        sys.stdout.write(f"Verbs (inr-xai VERB --help says more):\n{verbs}\n\nWithout a verb:\n\n")
    if first.isalpha():  # Hydra would take it for an option without a value, and say so
        hint = did_you_mean(first, [EXPLAIN, *VERBS]) or f"; the verbs are {', '.join([EXPLAIN, *VERBS])}"
        raise UserError(f"{first} is neither a verb nor KEY=VALUE{hint}")
    return run_hydra()


def explain_photos(arguments: Sequence[str]) -> int:
    """Explains single photos in a run of their own, says where the pictures are, and returns the exit status."""
    overrides, folder = overrides_of(arguments)
    before, sys.argv = sys.argv, [sys.argv[0], *overrides]
    try:
        status = run_hydra()
    finally:
        sys.argv = before
    if status in (0, IMAGES_FAILED):
        figures = sorted((folder / "figures").rglob("*.*"))
        sys.stdout.write("".join(f"{figure}\n" for figure in figures))
    return status


def run_hydra() -> int:
    """Runs Hydra's program, which is one run or the jobs of a multirun, and returns the exit status."""
    program = hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name="config")(job)
    before = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # lets exceptions through; Hydra would print them and exit by itself
    try:
        with multirun, hydra_nodes_checked():
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


class Multirun:
    """A context in which a multirun may be done; at its end the table of the jobs is made, whatever has become of them.

    Hydra does not tell its callbacks if a job has failed.

    Attributes:
        folder: the folder of the jobs; None until Hydra says that there are any.
        during: what holds while the jobs are done.
    """

    folder: Path | None = None

    def __enter__(self) -> None:
        self.folder, self.during = None, ExitStack()

    def __exit__(self, *error: object) -> None:
        self.during.close()
        if self.folder is None:
            return
        from inr_xai.sweeps import conclude_multirun

        table = conclude_multirun(self.folder)
        if table is not None:
            sys.stdout.write(f"\n{table}\nThe table is in {self.folder / 'sweep.md'} and sweep.csv.\n")


multirun = Multirun()


class Gate(Callback):
    """Hydra's callback that refuses, or shows, a configuration before Hydra makes any folder."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Refuses the configuration of a single run, or prints it if it is a dry run."""
        cfg = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
        try:
            if cfg.get("shards") is not None:
                raise without_multirun(cfg.shards)
            check_files(cfg)
            check(cfg)
            check_place(str(config.hydra.run.dir), "hydra.run.dir")
        except UserError as error:
            raise ExitProgram(REFUSED, error) from error
        if cfg.dry_run:
            _show(cfg)
            raise ExitProgram

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Fixes the folder of a multirun for all jobs: a job in another process would compose another name."""
        _check_direction(config)
        _check_agent()
        try:
            shards = expand_shards(config)
            if not config.dry_run:
                launchers.check_slurm(config.hydra.launcher, config.hydra.runtime.choices["hydra/launcher"])
        except UserError as error:
            raise ExitProgram(REFUSED, error) from error
        folder = str(config.hydra.sweep.dir)
        if config.dry_run:
            folder = tempfile.mkdtemp(prefix="inr_xai_dry_run_")
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
            config.hydra.launcher = {"_target_": BASIC_LAUNCHER}  # shows the jobs here and now, whoever would do them
        else:
            try:
                check_place(folder, "out")
            except UserError as error:
                raise ExitProgram(REFUSED, error) from error
            multirun.folder = Path(folder).absolute()
            _prepare_launcher(config, multirun)
        config.hydra.sweep.dir = folder
        config.hydra.overrides.hydra.append("hydra.sweep.dir='" + folder.replace("'", r"\'") + "'")
        _name_by_differences(config, without=[] if shards is None else ["shard.index"])

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Ends with the status of failed images if a job had any: its files say so, also from another process."""
        from inr_xai.runs.folder import RunFolder

        folders = [RunFolder(path) for path in Path(config.hydra.sweep.dir).iterdir() if path.is_dir()]
        try:
            failed = any(folder.read_failures() or folder.read_unmeasured() for folder in folders)
        except UserError as error:
            raise ExitProgram(error=error) from error
        if failed:
            raise ExitProgram(IMAGES_FAILED)


def job(cfg: DictConfig) -> float | None:
    """Does one run, alone or as a job of a multirun, and returns its `sweep_metric` for a sweeper."""
    logging.raiseExceptions = False  # for a launcher's worker process; a log that cannot be written costs no more
    if cfg.get("dry_run"):  # of a multirun: the gate has ended the program if the run is a single one
        check(cfg)
        _show(cfg)
        return None
    hydra_cfg = HydraConfig.get()
    if hydra_cfg.job.chdir:  # relative paths are those of the folder in which the program was started
        os.chdir(hydra_cfg.runtime.cwd)
    return _job_of_multirun(cfg, hydra_cfg) if hydra_cfg.mode is RunMode.MULTIRUN else _single_run(cfg, hydra_cfg)


def _single_run(cfg: DictConfig, hydra_cfg: Any) -> float | None:
    """Does a run whose outcome is the program's exit status."""
    try:
        outcome = _run(cfg, hydra_cfg)
    except (Interruption, KeyboardInterrupt) as error:
        _write_to_log_file(f"interrupted ({error or 'SIGINT'})")
        raise ExitProgram(report_interruption(error, _continuing(hydra_cfg.runtime.output_dir))) from error
    except Exception as error:
        message = sentence(error)
        if message is None:
            raise
        _write_to_log_file(message)
        raise ExitProgram(error=error) from error
    if outcome.failures or outcome.unmeasured:
        raise ExitProgram(IMAGES_FAILED)
    return outcome.metric


def _job_of_multirun(cfg: DictConfig, hydra_cfg: Any) -> float | None:
    """Does a job of a multirun, and notes in its folder how it ends, for the table of all jobs."""
    from inr_xai.runs.gpus import own_gpu
    from inr_xai.sweeps import DONE, FAILED, INTERRUPTED, RUNNING, note_job  # late: it brings torch

    folder, number, overrides = hydra_cfg.runtime.output_dir, hydra_cfg.job.num, list(hydra_cfg.overrides.task)
    shard = None if cfg.get("shards") is None else (int(cfg.shard.index), int(cfg.shard.count))
    place = number if shard is None else folder_of_job(number, shard[1])
    note = functools.partial(note_job, folder, place, overrides, shard=shard)
    note(RUNNING)
    try:
        with launchers.requeue_orderly(lambda: note(INTERRUPTED)), own_gpu():
            _name_at_wandb(cfg, hydra_cfg)
            outcome = _run(cfg, hydra_cfg)
    except Exception as error:
        message = sentence(error)
        # Hydra itself reports the first job that failed, after the last one has ended.
        log.error("job %s (%s): %s", number, " ".join(overrides), message, exc_info=message is None)
        note(FAILED, message or repr(error))
        raise
    except BaseException:
        note(INTERRUPTED)
        raise
    note(DONE)
    return outcome.metric


def _name_at_wandb(cfg: DictConfig, hydra_cfg: Any) -> None:
    """Names a job's W&B run, unless it has a name, after the options that differ between jobs."""
    wandb = OmegaConf.select(cfg, "logger.wandb")
    if not isinstance(wandb, DictConfig):
        return
    if wandb.get("group") is None:
        wandb.group = Path(hydra_cfg.sweep.dir).resolve().name
    if wandb.get("name") is None:
        options = re.sub(r"(^|,)\++", r"\1", hydra_cfg.job.override_dirname)
        if options:
            wandb.name = options


def _run(cfg: DictConfig, hydra_cfg: Any) -> "RunOutcome":
    """Does a run in the folder that Hydra made for it."""
    cfg.out = hydra_cfg.runtime.output_dir
    _write_to_log_file(f"configuration:\n{as_yaml(cfg).rstrip()}", logging.INFO)
    from inr_xai.pipeline import run  # late: a refusal, a dry run and --help do not wait for it

    outcome = run(cfg)
    if outcome.metric is None and outcome.concluded:
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


def _check_agent() -> None:
    """Ends the program if W&B's sweep agent has started a multirun, whose jobs would all be the agent's one run."""
    from inr_xai.loggers import environment

    job = environment.agent()
    if job is not None:
        error = UserError(
            f"the agent of W&B's sweep {job.sweep_id} starts one run at a time, and this is a multirun; leave -m and "
            "sweep=NAME out of the sweep's command"
        )
        raise ExitProgram(REFUSED, error)


def _prepare_launcher(config: DictConfig, multirun: Multirun) -> None:
    """Lets several jobs on this machine share its GPUs, and jobs of a cluster be told from one another if they end."""
    from inr_xai.runs.gpus import shared_gpus, visible_gpus  # late: many runs start no jobs

    launcher = config.hydra.launcher
    if launcher.get("_target_") in launchers.ONE_MACHINE:
        accelerator = OmegaConf.select(config, "trainer.accelerator", default="auto")
        gpus = visible_gpus() if accelerator in ("auto", "gpu") else []
        multirun.during.enter_context(shared_gpus(gpus))
        if launcher.get("n_jobs") == 0:
            launcher.n_jobs = launchers.jobs_at_once(len(gpus), config.get("threads"))
    if launchers.is_submitit(launcher):
        multirun.during.enter_context(launchers.lost_jobs_told(_continuing(str(multirun.folder))))


def _name_by_differences(config: DictConfig, *, without: Sequence[str]) -> None:
    """Lets Hydra name the jobs of a multirun, by which W&B calls them, after the options alone that it sweeps.

    Args:
        without: options that are left out although they are swept.
    """
    parsed = OverridesParser.create().parse_overrides(list(config.hydra.overrides.task))
    same = [override.get_key_element().lstrip("+~") for override in parsed if not override.is_sweep_override()]
    keys = [*config.hydra.job.config.override_dirname.exclude_keys, *same, *without]
    listed = ",".join(f"'{key}'" for key in dict.fromkeys(keys))
    config.hydra.overrides.hydra.append(f"hydra.job.config.override_dirname.exclude_keys=[{listed}]")


def _show(cfg: DictConfig) -> None:
    """Prints the resolved configuration."""
    sys.stdout.write(as_yaml(cfg))


def _status(program: Any, *, full_error: bool) -> int:
    """Runs Hydra's program, prints a refusal, and returns the exit status; a bug is raised."""
    try:
        program()
    except (Interruption, KeyboardInterrupt) as error:
        if multirun.folder is None:
            raise
        return report_interruption(error, _continuing(str(multirun.folder)))
    except BrokenProcessPool as error:
        return report_error(RunFault(f"{sentence(error)}: {_continuing(str(multirun.folder))}"), full=full_error)
    except ExitProgram as ending:
        return ending.status if ending.error is None else report_error(ending.error, full=full_error)
    except Exception as error:
        return report_error(launchers.refusal_of_slurm(error), full=full_error)
    return 0


def _continuing(folder: str) -> str:
    """Says how the run in a folder can be continued: its default name holds the time, so that it has to be given."""
    value = folder if re.fullmatch(r"[\w./-]+", folder) else '"' + folder.replace('"', r"\"") + '"'
    return f"continue with the same command and {shlex.quote(f'out={value}')}"


def _write_to_log_file(message: str, level: int = logging.ERROR) -> None:
    """Writes into the run's log alone what the terminal gets once as the program's last line, or need not get."""
    record = log.makeRecord(log.name, level, __file__, 0, message, (), None)
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(record)

"""Hydra's launchers of a multirun's jobs: their values, what is refused, and how jobs that end too early are told.

The launchers themselves are plug-ins (joblib, submitit); their options stand in conf/hydra/launcher.
"""

import contextlib
import functools
import math
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from omegaconf import DictConfig, OmegaConf

from inr_xai.config.compose import conf_folder
from inr_xai.config.programs import Interruption
from inr_xai.errors import RunFault, UserError, error_text

SUBMITIT = "hydra_plugins.hydra_submitit_launcher.submitit_launcher"
SLURM = f"{SUBMITIT}.SlurmLauncher"
ONE_MACHINE = (f"{SUBMITIT}.LocalLauncher", "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher")
"""Launchers that run several jobs at once on the machine of the command."""
FILES = {"joblib": "local", "submitit_local": "local_submitit", "submitit_slurm": "slurm"}
"""A plug-in's own name of a launcher -> the file in conf/hydra/launcher with the values that it has here."""
SMALLEST = {
    "n_jobs": -1,
    "timeout_min": 1,
    "signal_delay_s": 1,
    "max_num_timeout": 0,
    "array_parallelism": 1,
    "cpus_per_task": 1,
    "gpus_per_task": 0,
    "gpus_per_node": 0,
    "cpus_per_gpu": 1,
    "nodes": 1,
    "tasks_per_node": 1,
}
"""Options of launchers that are whole numbers -> the smallest one that makes sense."""
SINFO_SECONDS = 20.0
"""How long Slurm may take to name its nodes."""
EARLIER, LEAST = 60, 30
"""Seconds by which Slurm may send a signal too early, and those that a job should have before it."""


def register_launchers() -> None:
    """Gives the launchers the values of our files under the plug-ins' own names too; what is not installed is left out.

    It changes the nodes that the plug-ins have put into Hydra's store. Files of these names would not do: Hydra takes a
    node of the same name for the schema of a file, and warns of it, and such a file cannot build on the node.
    """
    Plugins.instance()  # loads the plug-ins
    nodes = ConfigStore.instance().repo.get("hydra", {}).get("launcher", {})
    for plugin, file in FILES.items():
        if f"{plugin}.yaml" in nodes:
            node = nodes[f"{plugin}.yaml"].node
            values = OmegaConf.load(conf_folder() / "hydra" / "launcher" / f"{file}.yaml")
            assert isinstance(values, DictConfig)
            known = [str(key) for key in values if key in node]  # without `defaults`; older plug-ins have fewer keys
            node.merge_with(OmegaConf.masked_copy(values, known))


def check_launcher(node: Mapping[str, Any]) -> None:
    """Raises UserError if the options of a launcher cannot work; their types are those of its plug-in.

    Args:
        node: the node `hydra.launcher`.
    """
    target = str(node.get("_target_"))
    for name, smallest in SMALLEST.items():
        value = node.get(name)
        if type(value) is int and value < smallest:
            raise UserError(f"hydra.launcher.{name}={value} is out of range; it must be at least {smallest}")
    if target == SLURM:
        _check_times(node.get("timeout_min"), node.get("signal_delay_s"))


def check_slurm(node: Mapping[str, Any], name: str) -> None:
    """Raises UserError if jobs are meant for Slurm, and could not be submitted from this machine or would never start.

    Args:
        node: the node `hydra.launcher`.
        name: the name by which the launcher was chosen.
    """
    if node.get("_target_") != SLURM:
        return
    if not (shutil.which("sbatch") and shutil.which("srun")):
        raise UserError(
            f"hydra/launcher={name} needs Slurm's sbatch and srun, which are not on this machine; start the command "
            "on a login node of the cluster, or use hydra/launcher=local"
        )
    cpus, most = node.get("cpus_per_task"), _cores_of_nodes(node)
    if cpus is not None and most and cpus > most:
        raise UserError(
            f"hydra.launcher.cpus_per_task={cpus} is more than a node of Slurm has, and the jobs would wait without "
            f"end; give hydra.launcher.cpus_per_task={most} or fewer"
        )


def _cores_of_nodes(node: Mapping[str, Any]) -> int | None:
    """Returns the most cores that a node has of those where Slurm may run the jobs; None if that is not known."""
    # They may name another cluster, or other partitions.
    if node.get("additional_parameters") or os.environ.get("SBATCH_CLUSTERS"):
        return None
    environment = {name: value for name, value in os.environ.items() if name != "SINFO_PARTITION"}  # not sbatch's
    partition = ["--partition", str(node["partition"])] if node.get("partition") else []
    command = ["sinfo", "--all", "--exact", "--noheader", "--format=%c", *partition]
    try:
        said = subprocess.run(
            command, capture_output=True, text=True, timeout=SINFO_SECONDS, check=True, env=environment
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return max((int(number) for number in re.findall(r"\d+", said)), default=None)


def _check_times(minutes: int | None, delay: int | None) -> None:
    """Refuses a time limit of which nothing is left when Slurm asks the job to stop: it would do so at once."""
    if minutes is None or delay is None or 60 * minutes >= delay + EARLIER + LEAST:
        return
    enough = math.ceil((delay + EARLIER + LEAST) / 60)
    raise UserError(
        f"hydra.launcher.timeout_min={minutes} leaves a job no time, since Slurm asks it to stop up to "
        f"{delay + EARLIER} s before (hydra.launcher.signal_delay_s={delay}); give hydra.launcher.timeout_min={enough} "
        "or more"
    )


def is_submitit(node: Mapping[str, Any]) -> bool:
    """Returns whether a launcher hands its jobs to submitit."""
    return str(node.get("_target_")).startswith(SUBMITIT)


@contextmanager
def lost_jobs_told(advice: str) -> Iterator[None]:
    """A context in which a job of submitit that ends without a result, such as a killed one, is one that has failed.

    The launcher would else end with a traceback at the first of them, while other jobs are still running.

    Args:
        advice: how the work can go on.
    """
    from hydra.core.utils import JobReturn, JobStatus
    from submitit.core.core import Job
    from submitit.core.utils import UncompletedJobError

    results = Job.results

    @functools.wraps(results)
    def told(self: Any) -> list[Any]:
        try:
            return list(results(self))
        except UncompletedJobError:
            lost = JobReturn(overrides=[f"job {self.job_id}"], status=JobStatus.FAILED)
            lost.return_value = RunFault(
                f"job {self.job_id} has ended without a result (state {self.state}), and its output is in "
                f"{self.paths.stderr}; what it has done is kept: {advice}"
            )
            return [lost]

    Job.results = told
    try:
        yield
    finally:
        Job.results = results


def refusal_of_slurm(error: Exception) -> Exception:
    """Returns what Slurm says of jobs that it does not take as a UserError; every other error as it is."""
    said = re.findall(r"sbatch: error: (.*)", str(error)) if type(error).__name__ == "FailedJobError" else []
    if not said:
        return error
    return UserError(
        f"Slurm does not take the jobs ({'; '.join(said)}); correct hydra.launcher, whose keys are sbatch's"
    )


@contextmanager
def requeue_orderly(note: Callable[[], object]) -> Iterator[None]:
    """A context for the work of a job, in which submitit's signal ends the work, whatever submitit makes of it.

    Its handler has the job started again, and then exits. If it cannot, it raises an error in the midst of the work,
    for which an image would be blamed: here that is an Interruption.

    Args:
        note: is called first of all, because Slurm kills the job soon after it is started again.
    """
    before = {number: handler for number in _signals() if _is_of_submitit(handler := signal.getsignal(number))}

    def handle(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)
        with contextlib.suppress(Exception):  # a note that cannot be written must not keep the job from going on later
            note()
        try:
            before[signal.Signals(number)](number, frame)  # type: ignore[operator, misc]
        except Exception as error:
            raise Interruption(number) from error

    for number in before:
        signal.signal(number, handle)
    try:
        yield
    except Interruption as error:
        if error.__cause__ is None:
            raise
        raise RunFault(
            f"the job was asked to stop and is not started again ({error_text(error.__cause__)}); what it has done is "
            "kept, and the same command with the same out=PATH continues"
        ) from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _signals() -> list[signal.Signals]:
    """Returns the signals by which a cluster may ask a job to stop, except those that have a meaning everywhere."""
    return [getattr(signal, name) for name in ("SIGUSR1", "SIGUSR2") if hasattr(signal, name)]


def _is_of_submitit(handler: Any) -> bool:
    """Returns whether a signal's handler is the one with which submitit has a job started again."""
    owner = type(getattr(handler, "__self__", None)).__module__
    return owner.startswith("submitit.") and handler.__name__ == "checkpoint_and_try_requeue"


def cores() -> int:
    """Returns the number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def jobs_at_once(gpus: int, threads: int | None) -> int:
    """Returns how many jobs this machine should do at the same time.

    Args:
        gpus: the number of its GPUs, of which each job takes one.
        threads: the CPU threads of a job; None for its share of the cores.
    """
    return gpus or max(1, cores() // (threads or 1))

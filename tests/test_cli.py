"""The program from its command line: its verbs, where a run goes, what it prints, and with which status it ends."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

import inr_xai
from inr_xai import cli, pipeline
from inr_xai.config import check, compose
from inr_xai.errors import RunFault, UserError
from inr_xai.runs.folder import RunFolder
from inr_xai.sweeps import read_jobs
from tests.helpers.program import Program, status
from tests.helpers.runs import PROGRAM, environment

VERBS = ", ".join([cli.EXPLAIN, *cli.VERBS])


def fail(error: BaseException) -> Callable[..., None]:
    """Returns what a run does that raises this error."""

    def act(*_: object) -> None:
        raise error

    return act


@pytest.mark.usefixtures("command_line")
@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_has_a_help_text(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert status(verb, "--help") == 0
    printed = capsys.readouterr()
    assert printed.out.startswith(f"usage: inr-xai {verb} ")
    assert printed.err == ""


@pytest.mark.usefixtures("command_line")
def test_the_status_of_a_verb_is_that_of_the_program(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert status("verify", str(tmp_path / "none")) == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path / 'none' / 'run.json'} does not exist")
    monkeypatch.setattr("inr_xai.runs.verify.main", lambda arguments: len(arguments))
    assert status("verify", "RUN", "--size", "32") == 3


@pytest.mark.usefixtures("command_line")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evalute", "RUN"], "error: evalute is neither a verb nor KEY=VALUE; did you mean evaluate?\n"),
        (["frobnicate"], f"error: frobnicate is neither a verb nor KEY=VALUE; the verbs are {VERBS}\n"),
    ],
)
def test_a_misspelt_verb_is_refused(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(*arguments) == 2
    assert capsys.readouterr() == ("", message)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("command_line")
def test_the_version_is_the_installed_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert inr_xai.__version__ == version("inr-xai")
    assert status("--version") == 0
    assert capsys.readouterr() == (f"inr-xai {version('inr-xai')}\n", "")


def test_the_package_as_a_program_is_the_same_program(tmp_path: Path) -> None:
    done = python("-m", "inr_xai", "--version", folder=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"inr-xai {version('inr-xai')}\n", "")


@pytest.mark.usefixtures("command_line")
@pytest.mark.slow
def test_a_single_run_is_checked_by_the_gate_and_by_the_pipeline_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    for module in (cli, pipeline):

        def counted(cfg: DictConfig, name: str = module.__name__) -> None:
            calls.append(name)
            check(cfg)

        monkeypatch.setattr(module, "check", counted)
    monkeypatch.setattr(pipeline, "explain", fail(UserError("no photo there")))
    assert status("out=here") == 2
    assert calls == ["inr_xai.cli", "inr_xai.pipeline"]


@pytest.mark.slow
def test_a_single_run_has_its_own_folder_with_a_log(program: Program, tmp_path: Path) -> None:
    assert program("steps=7", "name=mine") == 0
    (cfg,) = program.started
    folder = Path(cfg.out)
    assert folder.parent == tmp_path / "outputs" / "mine"
    assert [file.name for file in folder.iterdir()] == ["inr_xai.log"]
    log = (folder / "inr_xai.log").read_text()
    assert log.count("configuration:") == 1
    assert "\nsteps: 7\n" in log
    assert cfg.logger.wandb.group is None


@pytest.mark.slow
def test_out_is_the_run_folder_and_can_be_used_again(program: Program, tmp_path: Path) -> None:
    assert program("out=here") == program("out=here") == 0
    assert [cfg.out for cfg in program.started] == [str(tmp_path / "here")] * 2


@pytest.mark.slow
def test_jobs_of_a_multirun_lie_below_one_folder_and_form_a_group(program: Program, tmp_path: Path) -> None:
    assert program("-m", "name=a,b", 'out="it\'s here"') == 0
    base = tmp_path / "it's here"
    jobs = [(cfg.name, cfg.out, cfg.logger.wandb.group) for cfg in program.started]
    assert jobs == [("a", str(base / "0"), "it's here"), ("b", str(base / "1"), "it's here")]
    assert (base / "1" / "inr_xai.log").read_text().count("\nname: b\n") == 1
    program.started.clear()
    assert program("-m", "name=a,b") == 0
    assert {Path(cfg.out).parent.parent.name for cfg in program.started} == {"demo"}
    assert len({Path(cfg.out).parent for cfg in program.started}) == 1


@pytest.mark.slow
def test_a_group_or_no_logger_stays_as_given_and_two_sweeps_do_not_share_a_folder(program: Program) -> None:
    assert program("-m", "logger.wandb.group=mine", "seed=0") == 0
    assert program("-m", "logger=none", "seed=0") == 0
    assert program.started[0].logger.wandb.group == "mine"
    assert program.started[1].logger.get("wandb") is None
    assert len({Path(cfg.out).parent for cfg in program.started}) == 2


@pytest.mark.slow
@pytest.mark.parametrize("flags", [[], ["-m"]])
def test_a_named_sweep_runs_its_jobs_with_or_without_the_flag(program: Program, flags: list[str]) -> None:
    assert program(*flags, "sweep=area_rule") == 0
    targets = [cfg.area_rule._target_ for cfg in program.started]
    assert targets == ["inr_xai.area.AreaProjection", "inr_xai.area.RankPenalty"]
    assert [Path(cfg.out).name for cfg in program.started] == ["0", "1"]
    assert len({Path(cfg.out).parent for cfg in program.started}) == 1


class Recorder(Callback):
    """A callback of Hydra that notes what a sweeper would get."""

    values: ClassVar[list[Any]] = []

    def on_job_end(self, config: DictConfig, job_return: Any, **kwargs: Any) -> None:
        self.values.append(job_return.return_value)


@pytest.mark.slow
def test_a_job_returns_its_metric_to_the_sweeper(program: Program) -> None:
    Recorder.values.clear()
    recorder = f"+hydra.callbacks.recorder._target_={__name__}.Recorder"
    assert program("-m", "seed=0,1", recorder, "allow_targets=[tests]") == 0
    assert Recorder.values == [0.25, 0.25]


@pytest.mark.slow
def test_failed_images_end_with_3(program: Program) -> None:
    program.failures = 2
    assert program() == 3
    assert len(program.started) == 1


@pytest.mark.slow
def test_images_that_are_not_audited_end_with_3(program: Program) -> None:
    program.unmeasured = 1
    assert program() == 3

    def act(cfg: DictConfig) -> None:
        RunFolder(cfg.out).write_summary({"images": 2, "unmeasured": int(cfg.seed == 0)})

    program.act, program.unmeasured = act, 0
    assert program("-m", "seed=0") == 3
    assert program("-m", "seed=1") == 0


@pytest.mark.slow
def test_failed_images_of_one_job_end_the_sweep_with_3(program: Program) -> None:
    def act(cfg: DictConfig) -> None:
        rows = "image_id,reason\n" + ("a,broken\n" if cfg.seed == 0 else "")
        (Path(cfg.out) / "failures.csv").write_text(rows)

    program.act = act
    assert program("-m", "seed=0,1") == 3
    assert program("-m", "seed=1") == 0
    assert [cfg.seed for cfg in program.started] == [0, 1, 1]


def test_a_refusal_is_one_line_and_leaves_nothing_behind(
    program: Program, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program("steps=0") == 2
    assert capsys.readouterr() == ("", "error: steps=0 is out of range; it must be a whole number, at least 1\n")
    assert list(tmp_path.iterdir()) == []
    assert program.started == []


@pytest.mark.slow
def test_a_refusal_during_the_run_is_one_line_and_in_the_log(
    program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    program.act = fail(UserError("no photo there; give data.root=PATH"))
    assert program("out=here") == 2
    printed = capsys.readouterr()
    assert printed.err == "error: no photo there; give data.root=PATH\n"
    assert "no photo there" not in printed.out
    assert "no photo there; give data.root=PATH" in Path("here/inr_xai.log").read_text()


@pytest.mark.slow
def test_full_errors_where_the_user_asks(
    program: Program, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    assert program("stepz=3") == 2
    assert "Traceback" in capsys.readouterr().err
    assert os.environ["HYDRA_FULL_ERROR"] == "1"
    monkeypatch.delenv("HYDRA_FULL_ERROR")
    assert program("stepz=3") == 2
    assert capsys.readouterr().err == "error: stepz=3 is not an option; did you mean steps?\n"
    assert "HYDRA_FULL_ERROR" not in os.environ


@pytest.mark.slow
def test_one_refused_job_is_reported_and_the_others_run(program: Program, capsys: pytest.CaptureFixture[str]) -> None:
    def act(cfg: DictConfig) -> None:
        if cfg.seed == 0:
            raise UserError("no photo there")

    program.act = act
    assert program("-m", "seed=-1,0,1", "out=here") == 2
    assert [cfg.seed for cfg in program.started] == [0, 1]
    printed = capsys.readouterr()
    assert "job 0 (seed=-1 out=here): seed=-1 is out of range" in printed.out
    assert "job 1 (seed=0 out=here): no photo there" in printed.out
    assert "no photo there" in Path("here/1/inr_xai.log").read_text()
    assert printed.err.splitlines()[-1].startswith("error: seed=-1")
    assert "Traceback" not in printed.err + printed.out


@pytest.mark.slow
def test_a_bug_keeps_its_traceback(program: Program) -> None:
    program.act = fail(ValueError("a bug in the mathematics"))
    with pytest.raises(ValueError, match="mathematics"):
        cli.main()


@pytest.mark.slow
def test_interruption_ends_with_130(program: Program) -> None:
    program.act = fail(KeyboardInterrupt())
    assert program() == 130

    program.act = fail(SystemExit(7))
    assert program() == 7


@pytest.mark.slow
def test_an_interrupted_run_says_how_to_go_on(
    program: Program, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def act(cfg: DictConfig) -> None:
        signal.raise_signal(signal.SIGTERM)

    program.act = act
    assert program() == 143
    (cfg,) = program.started
    assert capsys.readouterr().err == f"interrupted (SIGTERM): continue with the same command and out={cfg.out}\n"
    assert "interrupted (SIGTERM)" in (Path(cfg.out) / "inr_xai.log").read_text()
    assert program('out="it\'s here"') == 143
    line = capsys.readouterr().err
    given = shlex.split(line.partition(" and ")[2])
    assert program(*given) == 143
    assert [cfg.out for cfg in program.started[1:]] == [str(tmp_path / "it's here")] * 2


@pytest.mark.slow
def test_an_interrupted_multirun_notes_its_job_and_says_how_to_go_on(
    program: Program, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def act(cfg: DictConfig) -> None:
        if cfg.seed == 1:
            signal.raise_signal(signal.SIGTERM)
        (Path(cfg.out) / "summary.json").write_text("{}")

    program.act = act
    assert program("-m", "seed=0,1,2", "out=here") == 143
    assert [cfg.seed for cfg in program.started] == [0, 1]
    assert [job.status for job in read_jobs("here")] == ["done", "interrupted"]
    printed = capsys.readouterr()
    assert printed.err == f"interrupted (SIGTERM): continue with the same command and out={tmp_path / 'here'}\n"
    assert "interrupted |" in printed.out


@pytest.mark.slow
def test_a_fault_of_the_machine_is_one_sentence(program: Program, capsys: pytest.CaptureFixture[str]) -> None:
    program.act = fail(RunFault("the disk is full; free space there"))
    assert program("out=here") == 1
    assert capsys.readouterr().err == "error: the disk is full; free space there\n"
    assert "the disk is full" in Path("here/inr_xai.log").read_text()
    assert program("-m", "seed=0,1", "out=jobs") == 1
    printed = capsys.readouterr()
    assert printed.err.splitlines()[-1] == "error: the disk is full; free space there"
    assert "Traceback" not in printed.err + printed.out
    assert [job.status for job in read_jobs("jobs")] == ["failed: the disk is full; free space there"] * 2


@pytest.mark.slow
def test_a_killed_worker_of_a_multirun_is_one_sentence(
    program: Program, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program.act = fail(BrokenProcessPool("a worker process was terminated"))  # as the launcher's, from outside the job
    assert program("-m", "seed=0", "out=here") == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: a process that worked on a job was killed")
    assert line.endswith(f": continue with the same command and out={tmp_path / 'here'}")


@pytest.mark.parametrize("flags", [[], ["-m"]])
@pytest.mark.slow
def test_relative_paths_are_those_of_the_starting_folder_also_with_chdir(
    program: Program, tmp_path: Path, flags: list[str]
) -> None:
    (tmp_path / "photos").mkdir()
    folders: list[Path] = []
    program.act = lambda cfg: folders.append(Path.cwd())
    assert program(*flags, "hydra.job.chdir=true", "out=here", "seed=0", "data=image_folder", "data.root=photos") == 0
    assert folders == [tmp_path]
    assert program.started[0].data.root == "photos"
    assert Path(program.started[0].out) == tmp_path / ("here/0" if flags else "here")
    assert Path.cwd() == tmp_path


@pytest.mark.slow
def test_a_dry_run_prints_the_configuration_and_does_nothing(
    program: Program, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program("dry_run=true", "steps=7", "name=mine", "inr=fourier") == 0
    shown = OmegaConf.create(capsys.readouterr().out)
    assert (shown.steps, shown.inr._target_, "hydra" in shown) == (7, "inr_xai.inr.FourierINR", False)
    assert shown.out.startswith("outputs/mine/")
    assert program("dry_run=true", "sweep=area_rule") == 0
    out = capsys.readouterr().out
    assert out.count("_target_: inr_xai.area.AreaProjection") == out.count("_target_: inr_xai.area.RankPenalty") == 1
    assert program.started == []
    assert list(tmp_path.iterdir()) == []


def test_the_packaged_configuration_is_preferred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "inr_xai"
    for folder in (tmp_path / "conf", package / "conf"):
        folder.mkdir(parents=True)
    monkeypatch.setattr(compose, "__file__", str(package / "config" / "compose.py"))
    with pytest.raises(FileNotFoundError, match="install inr-xai again"):
        cli.conf_folder()
    (tmp_path / "conf" / "config.yaml").touch()
    assert cli.conf_folder() == tmp_path / "conf"
    (package / "conf" / "config.yaml").touch()
    assert cli.conf_folder() == package / "conf"


def python(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs Python in a process of its own, where a warning is an error."""
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# Prints at the end whether torch was imported.
NO_TORCH = "import sys, atexit; atexit.register(lambda: sys.stdout.write(f'torch: {\"torch\" in sys.modules}'))"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stepz=3", "error: stepz=3 is not an option; did you mean steps?\n"),
        ("data=image_folder", "error: data.root is required: data.root=PATH\n"),
    ],
)
@pytest.mark.slow
def test_process_refuses_quickly_with_one_line(tmp_path: Path, override: str, message: str) -> None:
    done = python("-c", f"{NO_TORCH}\n{PROGRAM}", override, folder=tmp_path)
    assert (done.returncode, done.stderr) == (2, message)
    assert done.stdout == "torch: False"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_process_help_is_short_and_needs_no_torch(tmp_path: Path) -> None:
    done = python("-c", f"{NO_TORCH}\n{PROGRAM}", "--help", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) < 52
    for part in (
        *(f"  inr-xai {verb} " for verb in cli.VERBS),
        "python train.py -m sweep=area_rule",
        "perturbation: blur,",
        "inr: dense_grid, feature_grid",
        "torch: False",
    ):
        assert part in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_process_ends_a_bug_with_1_and_its_traceback(tmp_path: Path) -> None:
    stub = (
        "import sys, types, inr_xai.cli\n"
        "inr_xai.cli.check = lambda cfg: None\n"
        "sys.modules['inr_xai.pipeline'] = types.SimpleNamespace(run=lambda cfg: 1 / 0)\n"
    )
    done = python("-c", f"{stub}\n{PROGRAM}", folder=tmp_path)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1] == "ZeroDivisionError: division by zero"

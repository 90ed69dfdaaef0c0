"""The program from its command line: where a run goes, what it prints, and with which status it ends."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from inr_xai import cli
from inr_xai.errors import UserError
from inr_xai.runs.folder import RunFolder
from tests.helpers.program import Program

PROGRAM = "from inr_xai.cli import main; main()"


def fail(error: BaseException) -> Callable[[DictConfig], None]:
    def act(cfg: DictConfig) -> None:
        raise error

    return act


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


def test_out_is_the_run_folder_and_can_be_used_again(program: Program, tmp_path: Path) -> None:
    assert program("out=here") == program("out=here") == 0
    assert [cfg.out for cfg in program.started] == [str(tmp_path / "here")] * 2


def test_jobs_of_a_multirun_lie_below_one_folder_and_form_a_group(program: Program, tmp_path: Path) -> None:
    assert program("-m", "name=a,b", 'out="it\'s here"') == 0
    base = tmp_path / "it's here"
    found = [(cfg.name, cfg.out, cfg.logger.wandb.group) for cfg in program.started]
    assert found == [("a", str(base / "0"), "it's here"), ("b", str(base / "1"), "it's here")]
    assert (base / "1" / "inr_xai.log").read_text().count("\nname: b\n") == 1
    program.started.clear()
    assert program("-m", "name=a,b") == 0
    assert {Path(cfg.out).parent.parent.name for cfg in program.started} == {"demo"}
    assert len({Path(cfg.out).parent for cfg in program.started}) == 1


def test_a_group_or_no_logger_stays_as_given_and_two_sweeps_do_not_share_a_folder(program: Program) -> None:
    assert program("-m", "logger.wandb.group=mine", "seed=0") == 0
    assert program("-m", "logger=none", "seed=0") == 0
    assert program.started[0].logger.wandb.group == "mine"
    assert program.started[1].logger.get("wandb") is None
    assert len({Path(cfg.out).parent for cfg in program.started}) == 2


@pytest.mark.parametrize("flags", [[], ["-m"]])
def test_a_named_sweep_runs_its_jobs_with_or_without_the_flag(program: Program, flags: list[str]) -> None:
    assert program(*flags, "sweep=area_rule") == 0
    targets = [cfg.area_rule._target_ for cfg in program.started]
    assert targets == ["inr_xai.area.AreaProjection", "inr_xai.area.RankPenalty"]
    assert [Path(cfg.out).name for cfg in program.started] == ["0", "1"]
    assert len({Path(cfg.out).parent for cfg in program.started}) == 1


class Recorder(Callback):
    """Notes what a sweeper would get."""

    values: ClassVar[list[Any]] = []

    def on_job_end(self, config: DictConfig, job_return: Any, **kwargs: Any) -> None:
        self.values.append(job_return.return_value)


def test_a_job_returns_its_metric_to_the_sweeper(program: Program) -> None:
    Recorder.values.clear()
    assert program("-m", "seed=0,1", f"+hydra.callbacks.recorder._target_={__name__}.Recorder") == 0
    assert Recorder.values == [0.25, 0.25]


def test_failed_images_end_with_3(program: Program) -> None:
    program.failures = 2
    assert program() == 3
    assert len(program.started) == 1


def test_images_that_are_not_audited_end_with_3(program: Program) -> None:
    program.unmeasured = 1
    assert program() == 3

    def act(cfg: DictConfig) -> None:
        RunFolder(cfg.out).write_summary({"images": 2, "unmeasured": int(cfg.seed == 0)})

    program.act, program.unmeasured = act, 0
    assert program("-m", "seed=0") == 3
    assert program("-m", "seed=1") == 0


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
    assert capsys.readouterr() == ("", "error: steps=0 is out of range; it must be at least 1\n")
    assert list(tmp_path.iterdir()) == []
    assert program.started == []


def test_a_refusal_during_the_run_is_one_line_and_in_the_log(
    program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    program.act = fail(UserError("no photo there; give data.root=PATH"))
    assert program("out=here") == 2
    printed = capsys.readouterr()
    assert printed.err == "error: no photo there; give data.root=PATH\n"
    assert "no photo there" not in printed.out
    assert "no photo there; give data.root=PATH" in Path("here/inr_xai.log").read_text()


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


def test_a_bug_keeps_its_traceback(program: Program) -> None:
    program.act = fail(ValueError("a bug in the mathematics"))
    with pytest.raises(ValueError, match="mathematics"):
        cli.main()


def test_interruption_ends_with_130(program: Program) -> None:
    program.act = fail(KeyboardInterrupt())
    assert program() == 130

    def as_lightning_does(cfg: DictConfig) -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            sys.exit(1)

    program.act = as_lightning_does
    assert program() == 130
    program.act = fail(SystemExit(7))
    assert program() == 7


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
    monkeypatch.setattr(cli, "__file__", str(package / "cli.py"))
    with pytest.raises(FileNotFoundError, match="install inr-xai again"):
        cli.conf_folder()
    (tmp_path / "conf" / "config.yaml").touch()
    assert cli.conf_folder() == tmp_path / "conf"
    (package / "conf" / "config.yaml").touch()
    assert cli.conf_folder() == package / "conf"


def process(*arguments: str, folder: Path, before: str = "") -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "HYDRA_FULL_ERROR"}
    code = f"{before}\n{PROGRAM}"
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        cwd=folder,
        env={**environment, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(cli.__file__).parent.parent)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


NO_TORCH = "import sys, atexit; atexit.register(lambda: sys.stdout.write(f'torch: {\"torch\" in sys.modules}'))"


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("stepz=3", "error: stepz=3 is not an option; did you mean steps?\n"),
        ("data=image_folder", "error: data.root is required: data.root=PATH\n"),
    ],
)
def test_process_refuses_quickly_with_one_line(tmp_path: Path, override: str, said: str) -> None:
    done = process(override, folder=tmp_path, before=NO_TORCH)
    assert (done.returncode, done.stderr) == (2, said)
    assert done.stdout == "torch: False"
    assert list(tmp_path.iterdir()) == []


def test_process_help_is_short_and_needs_no_torch(tmp_path: Path) -> None:
    done = process("--help", folder=tmp_path, before=NO_TORCH)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) < 45
    for part in (
        "python train.py -m sweep=area_rule",
        "perturbation: blur,",
        "inr: dense_grid, fourier",
        "torch: False",
    ):
        assert part in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_process_ends_a_bug_with_1_and_its_traceback(tmp_path: Path) -> None:
    stub = (
        "import sys, types, inr_xai.cli\n"
        "inr_xai.cli.check = lambda cfg: None\n"
        "sys.modules['inr_xai.pipeline'] = types.SimpleNamespace(run=lambda cfg: 1 / 0)\n"
    )
    done = process(folder=tmp_path, before=stub)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1] == "ZeroDivisionError: division by zero"

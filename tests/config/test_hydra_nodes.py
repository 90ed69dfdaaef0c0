"""Hydra's own nodes are checked before Hydra builds from them: nothing runs that the configuration may not name."""

from pathlib import Path

import pytest

from tests.helpers.program import status

TOUCH = "{_target_: os.system, command: touch ran}"


@pytest.mark.usefixtures("command_line")
@pytest.mark.parametrize(
    ("option", "parts"),
    [
        (f"+hydra.callbacks.x={TOUCH}", ["hydra.callbacks.x._target_=os.system", "allow_targets"]),
        ("hydra.callbacks.gate._target_=os.system", ["hydra.callbacks.gate._target_=os.system is code that Hydra"]),
        (f"+hydra.callbacks.x.deep=[{TOUCH}]", ["hydra.callbacks.x.deep.0._target_=os.system"]),
        ("+hydra.callbacks.x=${hydra:nothing}", ["hydra.callbacks.x=${hydra:nothing} is known only while"]),
        (f"+hydra.sweeper.x={TOUCH}", ["hydra.sweeper.x._target_=os.system"]),
        (f"+hydra.launcher.x={TOUCH}", ["hydra.launcher.x._target_=os.system"]),
        (
            "+hydra.job_logging.handlers.x={class: subprocess.Popen, args: [touch, ran]}",
            ["hydra.job_logging.handlers.x.class=subprocess.Popen"],
        ),
        ("+hydra.hydra_logging.formatters.x={class: os.system}", ["hydra.hydra_logging.formatters.x.class=os.system"]),
        ("+hydra.job_logging.handlers.x={stream: 'ext://os.environ'}", ["=ext://os.environ would be imported"]),
        ("hydra.searchpath=[pkg://antigravity]", ["would import the package antigravity"]),
    ],
)
@pytest.mark.slow
def test_refused_before_it_runs(
    option: str, parts: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(option, "dry_run=true") == 2
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    for part in parts:
        assert part in printed.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("command_line")
@pytest.mark.slow
def test_logging_without_code_is_left_to_hydra(capsys: pytest.CaptureFixture[str]) -> None:
    assert status("dry_run=true", "hydra/job_logging=stdout", "hydra.verbose=false") == 0
    assert "steps: 100" in capsys.readouterr().out

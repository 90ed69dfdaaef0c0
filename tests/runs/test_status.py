"""`inr-xai status`: what it prints, in 80 columns and as JSON, its statuses, how a watch goes on and ends, no torch."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inr_xai.runs import status
from inr_xai.runs.failures import FailureNotes
from inr_xai.runs.folder import RunFolder
from inr_xai.runs.status import main
from inr_xai.runs.store import ShardStore
from tests.helpers.runs import process
from tests.runs.test_claims import worker
from tests.runs.test_folder import record
from tests.runs.test_lock import mark
from tests.runs.test_progress import OLD_RUN, begin, clock, store

Pauses = list[float]


@pytest.fixture
def running(tmp_path: Path) -> Path:
    """The folder of a run that goes on, whose worker has three images in hand."""
    run = begin(tmp_path / "run", planned=12)
    own = worker(run, since=clock(1200))
    for name in ("x" * 100, "y", "z"):
        assert own.take(name) == 0
    return run


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], Pauses]:
    """Lets something happen in the place of a watch's pauses, and returns how long they would have been."""

    def instead(happens: Callable[[], object]) -> Pauses:
        lengths: Pauses = []
        monkeypatch.setattr(status.time, "sleep", lambda seconds: (lengths.append(seconds), happens()))
        return lengths

    return instead


def test_what_is_printed_of_a_run_that_goes_on(running: Path, capsys: pytest.CaptureFixture[str]) -> None:
    notes = FailureNotes(RunFolder(running))
    for place in range(8):
        notes.add(f"bad {place}", f"'{place}.jpg' has {place} bytes" if place < 3 else f"{'why ' * place}not")
    assert main([str(running)]) == 4
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    text = "\n".join(line.rstrip() for line in lines)
    for line in (
        "  state     running, 1 worker alive",
        "  planned         12",
        "  done             2  16.7 %",
        "  failed           9",
        "  in flight        3",
        "  left             1",
        "  rate           0.1 images/min in the last 10 minutes",
        "       3  ... has ... bytes",
        "       4  for 4 other reasons (failures.csv)",
        f"  shard 0 of 4   alive    0:00 ago  since {clock(1200)[5:16]}  pid 4321 of node7",
    ):
        assert line in text
    assert "0:00  xxxx" in text


@pytest.mark.parametrize(("left", "expected"), [(0, 3), (1, 5)])
def test_the_status_says_what_a_script_needs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], left: int, expected: int
) -> None:
    run = begin(tmp_path, planned=3 + left)
    assert main([str(run)]) == expected
    state = "stopped: images are left, and the same command continues" if left else "finished"
    assert f"\n  state     {state}\n" in capsys.readouterr().out
    assert main([str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_json_has_all_images_in_flight(running: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(running), "--json"]) == 4
    printed = json.loads(capsys.readouterr().out)
    assert (printed["done"], printed["left"], printed["exit_status"]) == (2, 9, 4)
    assert sorted(printed["workers"][0]["images"]) == ["x" * 100, "y", "z"]


def test_a_watch_ends_with_the_run(
    running: Path, capsys: pytest.CaptureFixture[str], pauses: Callable[[Callable[[], object]], Pauses]
) -> None:
    """One more image is done with each look, until the worker ends before all are."""

    def goes_on() -> None:
        if len(lengths) == 3:
            mark(running, "shard-0-of-4").unlink()
        store(running, f"new {len(lengths)}")

    lengths = pauses(goes_on)
    assert main([str(running), "--watch", "2.5", "--json"]) == 5
    assert lengths == [2.5] * 3
    assert [json.loads(line)["done"] for line in capsys.readouterr().out.splitlines()] == [2, 3, 4, 5]


@pytest.mark.parametrize("terminal", [True, False])
def test_a_watch_takes_the_place_of_what_it_printed_on_a_terminal(
    running: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    pauses: Callable[[Callable[[], object]], Pauses],
    terminal: bool,
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("LINES", "8")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    lengths = pauses(mark(running, "shard-0-of-4").unlink)
    assert main([str(running), "--watch"]) == 5
    assert lengths == [10.0]
    first, second = capsys.readouterr().out.split("  state ")[1:]
    if terminal:
        assert first.count("\n") == second.count("\n") + 1 == 7
        assert "\n\x1b[7F\x1b[J" in first
    else:
        assert "\n\n" in first
        assert "\x1b" not in first + second


@pytest.mark.parametrize("json_too", [[], ["--json"]])
def test_ctrl_c_ends_a_watch_without_a_word(
    running: Path,
    capsys: pytest.CaptureFixture[str],
    pauses: Callable[[Callable[[], object]], Pauses],
    json_too: list[str],
) -> None:
    def interrupt() -> Any:
        raise KeyboardInterrupt

    pauses(interrupt)
    assert main([str(running), "--watch", *json_too]) == 130
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--watch", "RUN"], "'RUN' is no number of seconds; name the run first"),
        (["RUN", "--watch", "0"], "seconds must be positive; got 0"),
        (["RUN", "--watch", "nan"], "seconds must be positive"),
    ],
)
def test_a_pause_that_is_none_is_refused(capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


def test_nobody_waits_for_torch(tmp_path: Path) -> None:
    program = "import sys; from inr_xai.cli import do; status = do(sys.argv[1:]); sys.exit(10 + status)"
    check = program.replace("sys.exit", "assert {'torch', 'numpy', 'lightning'}.isdisjoint(sys.modules); sys.exit")
    run = begin(tmp_path / "run", planned=9)
    assert RunFolder(run, ShardStore()).commit(record("e"))
    assert worker(run).take("x") == 0
    for folder, expected in ((OLD_RUN, 10), (run, 14)):
        done = process("status", str(folder), folder=tmp_path, program=check)
        assert done.returncode == expected, done.stderr

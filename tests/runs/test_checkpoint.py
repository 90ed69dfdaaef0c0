"""Checkpoints within a fit: a run that goes on from one ends with the bits of an unbroken run, and takes no other."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from inr_xai.callbacks import RunCallback
from inr_xai.config.programs import Interruption, signals_caught
from inr_xai.errors import RunFault
from inr_xai.fitting import plateau
from inr_xai.fitting.mask_module import MaskModule
from inr_xai.runs.checkpoint import SUFFIX, _WaitingSignals, read_fit_checkpoint, remove_ended
from inr_xai.seeding import sha256
from tests.helpers.runs import RunFolder, explain, files_below, messages, same_masks, table

RUN = ["steps=6", "data.size=1", "explanations=2"]
PLATEAU = ["steps=20", "plateau.steps=4", "images_per_fit=3", "image_batch_size=3", "inr=pyramid", "start=none"]
KINDS = {"plain": RUN, "plateau": [*RUN[1:], *PLATEAU, "data.size=3"]}


class Acts(RunCallback):
    """Does something after a step of a fit, which has a place or a number, and notes the steps that were made."""

    act: ClassVar[Callable[[], object] | None] = None
    place: ClassVar[tuple[int, int]] = (0, 0)
    number: ClassVar[int] = 0
    steps: ClassVar[list[tuple[int, int]]] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        assert isinstance(pl_module, MaskModule)
        place = (pl_module.explanation, batch + 1)
        Acts.steps.append(place)
        if (place == Acts.place or len(Acts.steps) == Acts.number) and Acts.act is not None:
            act, Acts.act = Acts.act, None
            act()


@pytest.fixture(autouse=True)
def acts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plateau, "BEGIN", 20)
    Acts.act, Acts.place, Acts.number = None, (0, 0), 0
    Acts.steps.clear()


def run(out: Path, *options: str, every: str = "0") -> list[tuple[int, int]]:
    """Explains images, and returns the steps that were made, as explanation and step."""
    Acts.steps.clear()
    explain(out, *options, f"checkpoint_every={every}", f"callbacks.scores._target_={__name__}.Acts")
    return list(Acts.steps)


def break_off() -> None:
    raise RunFault("broken on purpose")


def kept(out: Path) -> list[str]:
    return [name for name in files_below(out) if name.endswith(SUFFIX)]


def require_same(run_folder: Path, whole: Path) -> None:
    """Fails unless two runs of the same images hold the same to the bit."""
    assert same_masks(run_folder, whole)
    assert table(run_folder) == table(whole)
    first, second = RunFolder(run_folder), RunFolder(whole)
    for name in sorted(second.done()):
        ours, theirs = first.read(name), second.read(name)
        assert torch.equal(ours.losses.nan_to_num(-1), theirs.losses.nan_to_num(-1))
        assert ours.extra == theirs.extra
        for own, other in zip(ours.inrs, theirs.inrs, strict=True):
            assert all(torch.equal(own[key], other[key]) for key in other)


@pytest.fixture(scope="module")
def wholes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folders of unbroken runs, without checkpoints."""
    folders = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plateau, "BEGIN", 20)
        for kind, options in KINDS.items():
            folders[kind] = tmp_path_factory.mktemp("whole") / kind
            explain(folders[kind], *options)
    return folders


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        ("plain", (1, 1)),
        ("plain", (1, 4)),
        ("plain", (2, 4)),
        ("plateau", (1, 15)),
        ("plateau", (2, 5)),
        ("plateau", (2, 14)),
    ],
)
@pytest.mark.slow
def test_a_broken_fit_goes_on_to_the_bits_of_an_unbroken_one(
    wholes: dict[str, Path], tmp_path: Path, kind: str, place: tuple[int, int]
) -> None:
    Acts.act, Acts.place = break_off, place
    with pytest.raises(RunFault, match="on purpose"):
        run(tmp_path, *KINDS[kind])
    assert len(kept(tmp_path)) == (place != (1, 1))  # of the step before the one that broke
    steps = run(tmp_path, *KINDS[kind])
    assert steps[0] == place
    require_same(tmp_path, wholes[kind])
    assert kept(tmp_path) == []


@pytest.mark.slow
def test_a_signal_waits_for_the_checkpoint_and_then_has_its_effect(wholes: dict[str, Path], tmp_path: Path) -> None:
    """The handler is that of a launcher, which hands the job back and ends the process."""
    seen = []

    def handler(number: int, frame: object) -> None:
        seen.append((number, len(kept(tmp_path))))
        raise SystemExit(7)

    before = signal.signal(signal.SIGUSR2, handler)
    try:
        Acts.act, Acts.place = lambda: os.kill(os.getpid(), signal.SIGUSR2), (2, 3)
        with pytest.raises(SystemExit) as ending:
            run(tmp_path, *RUN, every="600")
        assert signal.getsignal(signal.SIGUSR2) is handler
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert ending.value.code == 7
    assert seen == [(signal.SIGUSR2, 1)]
    assert run(tmp_path, *RUN, every="600") == [(2, 4), (2, 5), (2, 6)]
    require_same(tmp_path, wholes["plain"])


@pytest.mark.slow
def test_a_second_try_goes_on_as_one(tmp_path: Path) -> None:
    """The first fit of six steps diverges; the second one is broken after its third."""
    diverging = ["objective._target_=tests.fitting.test_second_try.Diverging", "objective.fits=[1]"]
    options = [*RUN, "explanations=1", *diverging]
    explain(tmp_path / "whole", *options)
    Acts.act, Acts.number = break_off, 9
    with pytest.raises(RunFault):
        run(tmp_path / "run", *options)
    assert run(tmp_path / "run", *options)[0] == (1, 3)
    require_same(tmp_path / "run", tmp_path / "whole")


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.slow)])
def test_a_program_that_is_stopped_has_its_checkpoint(tmp_path: Path, number: signal.Signals) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    Acts.act, Acts.place = lambda: os.kill(os.getpid(), number), (2, 3)
    try:
        with signals_caught() as received, pytest.raises(Interruption, match=number.name):
            run(tmp_path, *RUN, every="600")
    finally:
        signal.signal(signal.SIGHUP, before)
    assert received == [number]
    (file,) = (tmp_path / "checkpoints").iterdir()
    course = read_fit_checkpoint(file)["fit"]["stack"]["course"]
    assert [len(part["losses"]) for part in course["parts"]] == [3]


@pytest.mark.slow
def test_ctrl_c_is_one_after_the_checkpoint(wholes: dict[str, Path], tmp_path: Path) -> None:
    Acts.act, Acts.place = lambda: os.kill(os.getpid(), signal.SIGINT), (1, 3)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, *RUN, every="600")
    assert len(kept(tmp_path)) == 1
    assert run(tmp_path, *RUN, every="null")[0] == (1, 1), "the option is off: the file is not read"
    require_same(tmp_path, wholes["plain"])
    assert kept(tmp_path) == [], "all its images are done"


@pytest.mark.slow
def test_a_handler_that_returns_lets_the_work_go_on(wholes: dict[str, Path], tmp_path: Path) -> None:
    seen = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: seen.append(len(kept(tmp_path))))
    try:
        Acts.act, Acts.place = lambda: os.kill(os.getpid(), signal.SIGUSR1), (1, 2)
        assert len(run(tmp_path, *RUN, every="600")) == 12
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert seen == [1]
    require_same(tmp_path, wholes["plain"])


def test_a_second_signal_acts_at_once_and_one_that_is_ignored_stays_so() -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: seen.append(number))
    hangup = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        waiting = _WaitingSignals()
        with waiting.waiting():
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGUSR1)
            os.kill(os.getpid(), signal.SIGUSR1)  # at once after the first: it counts as one
            assert (seen, waiting.number) == ([], signal.SIGUSR1)
            waiting._since = time.monotonic() - 1
            os.kill(os.getpid(), signal.SIGUSR1)
            assert (seen, waiting.number) == ([signal.SIGUSR1], None)
            os.kill(os.getpid(), signal.SIGUSR1)
            assert len(seen) == 1
        assert len(seen) == 2, "it acts at the end of the context"
    finally:
        signal.signal(signal.SIGUSR1, before)
        signal.signal(signal.SIGHUP, hangup)


def damaged(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:1000])


def of_other_inputs(file: Path) -> None:
    content = read_fit_checkpoint(file)
    content["facts"]["inputs"] = "other"
    torch.save(content, file)
    data = file.read_bytes()
    file.write_bytes(sha256(data).digest() + data)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (damaged, "its content does not have the checksum that was written with it"),
        (cut, "its content does not have the checksum that was written with it"),
        (of_other_inputs, "it is of another fit, which differs in inputs"),
    ],
)
@pytest.mark.slow
def test_a_checkpoint_that_is_none_of_this_fit_is_not_used(
    wholes: dict[str, Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    change: Callable[[Path], None],
    reason: str,
) -> None:
    Acts.act, Acts.place = break_off, (2, 2)
    with pytest.raises(RunFault):
        run(tmp_path, *RUN)
    (file,) = (tmp_path / "checkpoints").iterdir()
    change(file)
    assert run(tmp_path, *RUN)[0] == (1, 1)
    assert f"{file} is not used, and the fit begins anew: {reason}" in messages(caplog.records)
    require_same(tmp_path, wholes["plain"])


def test_checkpoints_of_other_batches_go_when_their_images_are_done(tmp_path: Path) -> None:
    Acts.act, Acts.place = break_off, (1, 3)
    with pytest.raises(RunFault):
        run(tmp_path, *RUN)
    (file,) = (tmp_path / "checkpoints").iterdir()
    ids = read_fit_checkpoint(file)["facts"]["ids"]
    remove_ended(tmp_path, {"another"})
    assert file.exists()
    (tmp_path / "checkpoints" / f"x{SUFFIX}").write_bytes(b"none")
    remove_ended(tmp_path, set(ids))
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_a_fit_that_fails_leaves_no_checkpoint(tmp_path: Path) -> None:
    def fail() -> None:
        assert len(kept(tmp_path)) == 1
        raise RuntimeError("broken")

    Acts.act, Acts.place = fail, (1, 3)
    assert explain(tmp_path, *RUN, "checkpoint_every=0", f"callbacks.scores._target_={__name__}.Acts").failures == 1
    assert kept(tmp_path) == []


def test_a_checkpoint_that_cannot_be_written_ends_the_run_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise RunFault("the disk is full; free space there, then the same command continues")

    with monkeypatch.context() as patch:
        patch.setattr("inr_xai.runs.checkpoint.write_chunks", full)
        with pytest.raises(RunFault, match="the disk is full"):
            run(tmp_path, *RUN)
    assert list(files_below(tmp_path / "checkpoints")) == []

"""Callbacks: what they draw, print and log, that they change no result, and what W&B holds of runs in the end."""

import gc
import itertools
import logging
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.image import AxesImage
from PIL import Image

from inr_xai.callbacks import Figures, Progress, RunState, Scores
from inr_xai.callbacks.curves import strip
from inr_xai.callbacks.progress import log as progress_log
from inr_xai.classifier import demo
from inr_xai.errors import UserError
from inr_xai.fitting.mask_module import MaskModule
from inr_xai.fitting.trainers import light_trainer
from inr_xai.method import Method
from inr_xai.perturbation import Constant
from inr_xai.runs.figure import content_of
from inr_xai.runs.folder import RunFolder
from inr_xai.runs.masks_file import SampleRecord
from inr_xai.types import Batch, Frame
from tests.helpers import wandb_read
from tests.helpers.runs import TINY, explain, files_below, messages, process, same_masks, table
from tests.helpers.wandb_fixtures import fresh_wandb  # noqa: F401

FRAME = Frame((8, 8), (8, 8), 0, 0, (8, 8))
OFF = [f"callbacks.{name}=null" for name in ("figures", "curves", "scores", "progress")]
WANDB = ["logger=wandb", "data.size=2", "explanations=1"]


def record(name: str = "image", p_full: float = 0.5, preserved: float = 0.25) -> SampleRecord:
    """Returns a record of one explanation, whose masks keep the upper quarter and the upper half."""
    masks = torch.zeros(1, 2, 8, 8, dtype=torch.float16)
    masks[0, 0, :2], masks[0, 1, :4] = 1, 1
    scores = {"p_full": p_full, "preservation_hard_mean": preserved, "chance": 0.125, "area_error": 0.01}
    rows = [{"sample_id": name, "explanation": 1, "area": area, **scores} for area in (0.25, 0.5)]
    return SampleRecord(name, 3, FRAME, [0.25, 0.5], masks, [{}], torch.zeros(1, 2), rows, {})


def test_a_strip_is_the_overlays_side_by_side() -> None:
    image = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(0))
    masks = torch.stack([torch.ones(4, 5), torch.zeros(4, 5), torch.full((4, 5), torch.nan)])
    drawn = strip(image, masks)
    assert drawn.dtype == np.uint8
    assert drawn.shape == (4, 15, 3)
    photo = (image.permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    assert np.array_equal(drawn[:, :5], photo)
    assert np.array_equal(drawn[:, 5:10], drawn[:, 10:])  # the mask of a fit that diverged keeps nothing
    assert np.array_equal(drawn[..., 5:10, 0], drawn[..., 5:10, 2])


def test_a_figure_has_the_record_s_masks_and_scores() -> None:
    image = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(0))
    content = content_of(record(), image, "tench")
    assert np.array_equal(content.photo, np.repeat(image[0].numpy()[..., None], 3, axis=-1))
    assert content.masks[0].mean((1, 2)).tolist() == [0.25, 0.5] == list(content.areas)
    assert (content.whole, content.target, content.title) == (0.5, "tench", "image")
    assert content.kept.tolist() == [[0.25, 0.25]]
    assert content.chance.tolist() == [[0.125, 0.125]]
    assert np.isnan(content.removed).all()  # the rows have no such column
    assert (content.carries, content.predicted, content.p_predicted, content.right) == ((None,), None, None, None)


def test_a_figure_says_what_later_columns_know() -> None:
    full = record()
    for row in full.rows:
        row |= {"carries": False, "predicted_name": "goldfish", "p_predicted": 0.75, "right": True}
        row |= {"deletion_hard_mean": row["area"]}
    content = content_of(full, torch.ones(3, 8, 8), "tench")
    assert (content.carries, content.predicted, content.p_predicted, content.right) == (
        (False,),
        "goldfish",
        0.75,
        True,
    )
    assert content.removed.tolist() == [[0.25, 0.5]]


@pytest.mark.parametrize(("format", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")])
@pytest.mark.slow
def test_a_figure_is_written_in_its_format(tmp_path: Path, format: str, start: bytes) -> None:
    figures = Figures(format=format, dpi=50)
    figures.on_run_start(RunState(RunFolder(tmp_path), Method(), total=1))
    figures.on_sample(record(), torch.ones(3, 8, 8))
    assert list(files_below(tmp_path)) == [f"figures/image.{format}"]
    assert (tmp_path / "figures" / f"image.{format}").read_bytes().startswith(start)


def test_the_pixels_of_a_figure_do_not_wait_until_python_looks_for_cycles(tmp_path: Path) -> None:
    figures = Figures(dpi=50)
    figures.on_run_start(RunState(RunFolder(tmp_path), Method(), total=1))
    gc.collect()
    gc.disable()
    try:
        figures.on_sample(record(), torch.ones(3, 8, 8))
        pictures = [part for part in gc.get_objects() if type(part) is AxesImage]
    finally:
        gc.enable()
    assert pictures == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "gif"}, r"callbacks\.figures\.format=gif is not allowed; choose one of pdf, png, svg"),
        ({"dpi": 20}, r"callbacks\.dpi=20 is out of range; it must be a whole number, at least 50"),
        ({"cell": 0.5}, r"callbacks\.cell=0\.5 is out of range; it must be at least 1"),
    ],
)
def test_options_of_figures_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Figures(**options)


@pytest.mark.slow
def test_evolution_draws_the_masks_during_the_fit_and_changes_no_bit(tmp_path: Path) -> None:
    options = ["data.size=1", "steps=5"]
    explain(tmp_path / "with", *options, "callbacks=evolution", "callbacks.evolution.every=2", "callbacks.figures=null")
    explain(tmp_path / "without", *options, *OFF)
    assert same_masks(tmp_path / "with", tmp_path / "without")
    pictures = [name for name in files_below(tmp_path / "with") if name.startswith("figures/")]
    names = [f"figures/00000-disc.evolution.k{k}.png" for k in (1, 2)]
    assert pictures == names
    for name in names:
        frames = np.asarray(Image.open(tmp_path / "with" / name))
        assert frames.shape == (2 * 24, 2 * 24, 3)  # rows after steps 2 and 4, columns of two areas
        assert not np.array_equal(frames[:24], frames[24:])


def test_evolution_every_0_steps_is_refused(tmp_path: Path) -> None:
    message = r"callbacks\.evolution\.every=0 is out of range; it must be a whole number, at least 1"
    with pytest.raises(UserError, match=message):
        explain(tmp_path / "out", "callbacks=evolution", "callbacks.evolution.every=0")
    assert not (tmp_path / "out").exists()


def test_a_callback_is_switched_off_by_null(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    explain(tmp_path, "data.size=1", "callbacks.progress=null")
    assert not messages(caplog.records, of=progress_log.name)
    assert not any(name.startswith("figures") for name in files_below(tmp_path))
    assert len(table(tmp_path)) == 4


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Returns the lines of the progress callback."""
    return messages(caplog.records, of=progress_log.name)


@pytest.mark.slow
def test_progress_without_a_terminal_is_lines_with_the_time_left(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    explain(tmp_path, "callbacks.progress.seconds=0", "data.limit=2")
    explain(tmp_path, "callbacks.progress.seconds=0")
    pattern = r"(\d) of (\d) images, kept (\d+\.\d\d) of p, area error 0\.0\d{3}, about \d+:\d\d left"
    matches = [re.fullmatch(pattern, line) for line in lines(caplog) if not line.startswith("0 of ")]
    assert [match and (match[1], match[2]) for match in matches] == [("1", "2"), ("2", "2"), ("3", "3")]
    rows = [row for row in table(tmp_path) if row["explanation"] == "1" and row["sample_id"] != "00002-triangle"]
    share = sum(float(row["preservation_hard_mean"]) for row in rows) / sum(float(row["p_full"]) for row in rows)
    assert float(matches[1][3]) == pytest.approx(share, abs=0.0051)  # type: ignore[index]


def test_progress_waits_between_lines_but_not_for_the_last(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images end 4, 8, 14 and 16 seconds after the start; the third of them fails."""
    caplog.set_level(logging.INFO)
    now = iter([1000.0, 1004.0, 1008.0, 1014.0, 1016.0])
    monkeypatch.setattr("inr_xai.callbacks.progress.time.monotonic", lambda: next(now))
    progress, state = Progress(seconds=9.5), RunState(RunFolder(tmp_path), Method(), total=6, images_done=2)
    progress.on_run_start(state)
    progress.on_sample(record(), torch.ones(3, 8, 8))
    progress.on_sample(record(p_full=0.0, preserved=0.0), torch.ones(3, 8, 8))
    state.failures["bad"] = "broken"
    progress.on_sample_failed("bad", "broken")
    progress.on_sample(record(), torch.ones(3, 8, 8))
    progress.close()
    assert lines(caplog) == [
        "3 of 6 images, kept 0.50 of p, area error 0.0100, about 0:12 left",
        "5 of 6 images, 1 failed, about 0:05 left",
        "6 of 6 images, kept 0.50 of p, area error 0.0100, about 0:00 left",
    ]


def test_lines_become_rarer_as_a_run_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image ends every 10 seconds: from 50 seconds on a fifth of the time so far is longer than `seconds`."""
    caplog.set_level(logging.INFO)
    clock = itertools.count(0.0, 10.0)
    monkeypatch.setattr("inr_xai.callbacks.progress.time.monotonic", lambda: next(clock))
    progress = Progress(seconds=10)
    progress.on_run_start(RunState(RunFolder(tmp_path), Method(), total=100_000))
    for _ in range(1000):
        progress.on_sample(record(), torch.ones(3, 8, 8))
    said = [int(line.split()[0]) for line in lines(caplog)]
    assert said[:9] == [1, 2, 3, 4, 5, 7, 9, 12, 15]
    assert said[-3:] == [830, 890, 950]  # every 600 seconds at last


def test_the_steps_of_the_first_image_tell_the_time_left(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three images of 2 x 10 steps of 4 seconds: a line is due after 10 seconds, and none after the first image."""
    caplog.set_level(logging.INFO)
    clock = itertools.count(100.0, 4.0)
    monkeypatch.setattr("inr_xai.callbacks.progress.time.monotonic", lambda: next(clock))
    progress = Progress(seconds=10)
    progress.on_run_start(RunState(RunFolder(tmp_path), Method(steps=10, explanations=2), total=3))
    with light_trainer({"accelerator": "cpu", "devices": 1}, ()) as trainer:
        for explanation in (1, 2):
            batch = Batch(torch.rand(1, 3, 8, 8), torch.tensor([0]), ["a"])
            method = Method(steps=10, explanations=2, areas=(0.25,), perturbation=Constant())
            module = MaskModule(
                batch, explanation=explanation, classifier=demo(), method=method, donors=None, free=None
            )
            for step in range(10 if explanation == 1 else 2):
                progress.on_train_batch_end(trainer, module, None, step, step)
        progress.on_sample(record(), torch.ones(3, 8, 8))
        progress.on_train_batch_end(trainer, module, None, 5, 5)
    assert lines(caplog) == [
        "0 of 3 images, step 3 of 20 of the first image, about 3:48 left",
        "0 of 3 images, step 6 of 20 of the first image, about 3:36 left",
        "0 of 3 images, step 9 of 20 of the first image, about 3:24 left",
        "0 of 3 images, step 12 of 20 of the first image, about 3:12 left",
        "1 of 3 images, kept 0.50 of p, area error 0.0100, about 1:44 left",
    ]


def test_progress_counts_an_image_that_could_not_be_stored_as_one_that_failed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    progress, state = Progress(seconds=0), RunState(RunFolder(tmp_path), Method(), total=2)
    progress.on_run_start(state)
    progress.on_sample(record("a", preserved=0.5), torch.ones(3, 8, 8))
    progress.on_sample_failed("a", "the name is too long")
    progress.on_sample(record("b"), torch.ones(3, 8, 8))
    pattern = ["1 of 2 images, kept 1.00 of p, area error 0.0100", "2 of 2 images, kept 0.50 of p, area error 0.0100"]
    assert [line.rpartition(", about")[0] for line in lines(caplog)] == pattern


class Lines:
    """What the callback of scores needs of a W&B run while the run goes on."""

    def __init__(self) -> None:
        self.logged: list[tuple[dict[str, Any], dict[str, int]]] = []

    def log(self, metrics: dict[str, Any], **axes: int) -> None:
        """Keeps the values."""
        self.logged.append((metrics, axes))


@pytest.mark.parametrize(("total", "every"), [(3, 1), (1000, 5)])
def test_few_lines_say_how_far_a_run_is(tmp_path: Path, total: int, every: int) -> None:
    scores, state = Scores(), RunState(RunFolder(tmp_path), Method(), total=total, failures={"x": "broken"})
    state.wandb = lines_of_wandb = Lines()  # type: ignore[assignment]
    scores.on_run_start(state)
    for done in range(total):
        state.images_done = done
        scores.on_sample(record(), torch.ones(3, 8, 8))
    logged = lines_of_wandb.logged
    assert [values["run/images"] for values, _ in logged] == list(range(every, total + 1, every))
    assert {values["run/failures"] for values, _ in logged} == {1}
    assert logged[0][1] == {"images_done": every, "steps_done": 0}


@pytest.mark.slow
def test_frames_of_a_fit_that_broke_are_no_frames_of_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first fit of the first image breaks after two of five steps, and the image is fitted again on its own."""
    step, calls = MaskModule.training_step, itertools.count()

    def breaks(module: MaskModule, *arguments: Any) -> Any:
        if next(calls) == 2:
            raise RuntimeError("broken on purpose")
        return step(module, *arguments)

    options = ["data.size=2", "steps=5", "explanations=1", "callbacks=evolution", "callbacks.evolution.every=1"]
    with monkeypatch.context() as patch:
        patch.setattr(MaskModule, "training_step", breaks)
        assert explain(tmp_path / "broken", *options, "callbacks.figures=null", "images_per_fit=2").failures == 0
    explain(tmp_path / "whole", *options, "callbacks.figures=null")
    for name in ("00000-disc", "00001-square"):
        file = Path("figures") / f"{name}.evolution.k1.png"
        assert (tmp_path / "broken" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


@pytest.mark.usefixtures("fresh_wandb")
@pytest.mark.slow
def test_a_run_and_its_continuation_are_one_run_at_wandb(tmp_path: Path) -> None:
    explain(tmp_path, *WANDB, "data.limit=1")
    explain(tmp_path, *WANDB)
    parts = wandb_read.parts(tmp_path)
    assert len(parts) == 2
    ids = {record["run_id"] for part in parts for record in wandb_read.records(part, "run")}
    assert ids == {RunFolder(tmp_path).read_run()["wandb_id"]}
    lines = [line for part in parts for line in wandb_read.history(part) if "run/images" in line]
    assert [(line["images_done"], line["run/images"], line["steps_done"]) for line in lines] == [(1, 1, 2), (2, 2, 4)]
    final = wandb_read.summary(parts[-1])["summary"]
    assert (final["run/images"], final["tables/gallery"]["nrows"]) == (2, 2)
    rows = [row for row in table(tmp_path) if row["area"] == "0.1"]
    loss = wandb_read.table(parts[-1], "charts/loss_table")
    curves = [(int(line["step"]), float(line["loss"])) for line in table(tmp_path, "curves.csv")]
    means = [[step, sum(value for at, value in curves if at == step) / len(rows)] for step in (0, 1)]
    assert [line[:2] for line in loss["data"]] == [[step, pytest.approx(mean)] for step, mean in means]


@pytest.mark.slow
def test_a_sweep_is_one_group_of_runs_at_wandb(tmp_path: Path) -> None:
    tiny = [option for option in TINY if not option.startswith(("steps", "logger", "callbacks.figures"))]
    done = process("-m", *tiny, "explanations=1", "steps=2,3", "seed=0,1", "data.size=2", "out=sweep", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    folders = [tmp_path / "sweep" / str(job) for job in range(4)]
    settings = [RunFolder(folder).read_run()["config"] for folder in folders]
    assert [(config["steps"], config["seed"]) for config in settings] == [(2, 0), (2, 1), (3, 0), (3, 1)]
    ids = set()
    for folder, config in zip(folders, settings, strict=True):
        (part,) = wandb_read.parts(folder)
        (run,) = wandb_read.records(part, "run")[:1]
        assert run["run_group"] == "sweep"
        ids.add(run["run_id"])
        logged = wandb_read.summary(part)["summary"]
        summary = RunFolder(folder).read_summary()
        assert run["display_name"] == f"seed={config['seed']},steps={config['steps']}"
        assert run["job_type"] == "explain"
        names = {"preservation_hard_mean_rel/k1": "headline/preservation", "area_error/k1": "headline/area_error"}
        for key, name in (names | {"images": "run/images"}).items():
            assert logged[name] == pytest.approx(summary[key])
        assert logged["preservation_hard_mean_rel/k1"] == logged["headline/preservation"]
        assert logged["tables/gallery"]["nrows"] == 2
        (files,) = [item for item in wandb_read.records(part, "artifact") if item["type"] == "explanations"]
        assert files["aliases"] == sorted(["latest", run["display_name"]], key=files["aliases"].index)
        lines = wandb_read.history(part)
        for axis, last in (("images_done", 2), ("steps_done", 2 * config["steps"])):
            values = [line[axis] for line in lines if axis in line]
            assert all(before <= after for before, after in pairwise(values))
            assert values[-1] == last
    assert len(ids) == 4

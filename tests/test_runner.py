"""Whole runs: what their folders hold, checked against numbers that are computed anew, and how runs are continued."""

import csv
import io
import itertools
import json
import signal
import subprocess
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import safetensors
import torch
from PIL import Image

import inr_xai
from inr_xai import runner
from inr_xai.classifier.demo_network import MEAN, SIZE, STD, demo_network
from inr_xai.data import Synthetic
from inr_xai.errors import RunFault, UserError
from inr_xai.runs.folder import RunFolder
from inr_xai.runs.masks_coding import decompress_masks
from inr_xai.types import Preprocessing
from tests.helpers import reference
from tests.helpers.runs import (
    SHORT,
    TINY,
    command,
    environment,
    explain,
    files_below,
    masks_of,
    messages,
    same_masks,
    table,
)

AREAS = (0.1, 0.3)
IDS = ["00000-disc", "00001-square", "00002-triangle"]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of the demo classifier: two explanations of two images, with figures."""
    folder = tmp_path_factory.mktemp("demo")
    assert explain(folder, "data.size=2", "seed=3", base=SHORT).failures == 0
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an unbroken run of three images."""
    folder = tmp_path_factory.mktemp("whole")
    explain(folder)
    return folder


def test_the_files_of_a_run(demo: Path) -> None:
    samples = [f"{kind}/{name}" for kind in ("figures", "masks") for name in IDS[:2]]
    suffixes = {"figures": ".png", "masks": ".safetensors"}
    expected = [name + suffixes[name.partition("/")[0]] for name in samples]
    expected += ["curves.csv", "failures.csv", "per_image.csv", "run.json", "summary.json", "index/0-of-1.images"]
    visible = [name for name in files_below(demo) if not name.startswith(".")]
    assert sorted(visible) == sorted(expected)
    assert (demo / "failures.csv").read_text() == "image_id,reason\n"
    for name in IDS[:2]:
        with Image.open(demo / "figures" / f"{name}.png") as figure:
            assert figure.convert("RGB").getextrema() != ((255, 255),) * 3


def test_run_json_says_how_it_was_made(demo: Path) -> None:
    facts = json.loads((demo / "run.json").read_text())
    config = facts["config"]
    assert (config["steps"], config["areas"], config["out"], config["data"]["size"]) == (2, [0.1, 0.3], str(demo), 2)
    assert facts["versions"]["torch"] == version("torch")
    assert (facts["seed"], facts["device"], facts["classifier"]) == (3, "cpu", config["classifier"])
    assert (facts["scoring_pool"], facts["donor_pool"]) == (Synthetic(2).scoring_ids, Synthetic(2).donor_ids)
    seconds = [RunFolder(demo).read(name).seconds for name in IDS[:2]]
    assert facts["seconds"] == pytest.approx(sum(seconds))
    assert min(seconds) > 0
    # Two steps of two areas, a pass for each, as the preservation game makes no others; and one for the start.
    assert facts["classifier_passes"] == {"per_explanation": 4, "per_image": 9}


def test_a_row_per_sample_explanation_and_area(demo: Path) -> None:
    rows = table(demo)
    names = [(row["sample_id"], row["target"], row["explanation"], row["area"]) for row in rows]
    images = [(name, str(target)) for target, name in enumerate(IDS[:2])]
    expected = itertools.product(images, "12", ("0.1", "0.3"))
    assert names == [(*image, k, area) for image, k, area in expected]
    games = [f"{game}_{kind}" for game in ("preservation", "deletion") for kind in ("hard", "soft")]
    scores = {f"{game}_{name}" for game in games for name in ("blur", "grey", "noise", "photo", "mean")}
    assert scores | {"area_error", "grayness", "p_full", "chance"} <= set(rows[0])
    for row in rows:
        assert float(row["area_error"]) < 1e-3


def test_the_summary_is_made_of_the_rows(demo: Path) -> None:
    summary, rows = json.loads((demo / "summary.json").read_text()), table(demo)
    assert (summary["images"], summary["failures"], summary["passes_per_image"]) == (2, 0, 9)
    for column in ("area_error", "grayness", "preservation_hard_mean", "deletion_soft_photo", "chance", "p_full"):
        for k in "12":
            groups = {a: [row for row in rows if (row["explanation"], row["area"]) == (k, str(a))] for a in AREAS}
            means = {a: np.mean([float(row[column]) for row in group]) for a, group in groups.items()}
            full = {a: np.mean([float(row["p_full"]) for row in group]) for a, group in groups.items()}
            for a in AREAS:
                assert summary[f"{column}/k{k}/a{a}"] == pytest.approx(means[a], abs=1e-12)
            assert summary[f"{column}/k{k}"] == pytest.approx(np.mean(list(means.values())), abs=1e-12)
            if column in ("preservation_hard_mean", "deletion_soft_photo", "chance"):
                ratios = {a: means[a] / full[a] for a in AREAS}
                for a in AREAS:
                    assert summary[f"{column}_rel/k{k}/a{a}"] == pytest.approx(ratios[a], rel=1e-12)
                assert summary[f"{column}_rel/k{k}"] == pytest.approx(np.mean(list(ratios.values())), rel=1e-12)
            else:
                assert f"{column}_rel/k{k}" not in summary


def test_the_metric_a_sweep_ranks_by_comes_from_the_summary(tmp_path: Path) -> None:
    outcome = explain(tmp_path, "data.size=1", "sweep_metric=grayness/k2/a0.3")
    assert outcome.folder == tmp_path
    assert outcome.metric == json.loads((tmp_path / "summary.json").read_text())["grayness/k2/a0.3"]


def test_a_masks_file_holds_masks_networks_and_what_rendering_needs(demo: Path) -> None:
    file = demo / "masks" / f"{IDS[1]}.safetensors"
    with safetensors.safe_open(str(file), framework="pt") as opened:
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        meta = json.loads(opened.metadata()["inr_xai"])
    assert tensors["masks.zlib"].dtype == torch.uint8
    masks = decompress_masks(tensors["masks.zlib"], (2, 2, SIZE, SIZE))
    assert torch.equal(masks, inr_xai.load(demo)[IDS[1]].masks)
    assert torch.equal(tensors["areas"], torch.tensor(AREAS))
    assert (tensors["losses"].dtype, tuple(tensors["losses"].shape)) == (torch.float32, (2, 2))
    networks = [{n.removeprefix(f"inr.{k}.") for n in tensors if n.startswith(f"inr.{k}.")} for k in (1, 2)]
    assert networks[0] == networks[1] != set()
    assert len(tensors) == 3 + 2 * len(networks[0])
    assert (meta["format"], meta["masks"]) == ("2", {"shape": [2, 2, SIZE, SIZE]})
    assert (meta["sample_id"], meta["target"], meta["drawing"]["seed"], meta["areas"]) == (IDS[1], 1, 3, [0.1, 0.3])
    assert meta["drawing"]["area_rule"]["class"] == "inr_xai.area:AreaProjection"
    assert {"start": 1.0, "end": 0.03}.items() <= meta["drawing"]["area_rule"]["arguments"].items()
    assert meta["drawing"]["inr"]["arguments"]["gain"] == 5.0
    assert meta["frame"]["original"] == [SIZE, SIZE]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(meta["rows"][0]))
    writer.writerows(meta["rows"])
    stored = list(csv.reader(io.StringIO(text.getvalue())))
    assert stored == [list(row.values()) for row in table(demo) if row["sample_id"] == IDS[1]]


def test_the_curve_of_a_run_never_restarts(demo: Path) -> None:
    curves = table(demo, "curves.csv")
    assert [int(line["steps_done"]) for line in curves] == list(range(8))
    assert [(line["explanation"], line["step"]) for line in curves] == 2 * [
        ("1", "0"),
        ("1", "1"),
        ("2", "0"),
        ("2", "1"),
    ]
    losses = torch.stack([RunFolder(demo).read(name).losses for name in IDS[:2]]).flatten()
    assert [float(line["loss"]) for line in curves] == losses.tolist()


def test_a_run_is_read_back_and_rendered_again(demo: Path) -> None:
    loaded = inr_xai.load(demo)
    assert list(loaded) == IDS[:2]
    for name, (a, area), k in itertools.product(IDS[:2], enumerate(AREAS), (1, 2)):
        stored = loaded[name].masks[k - 1, a].float()
        assert (loaded[name].mask(area, explanation=k) - stored).abs().max() <= 1e-3
    other = loaded[IDS[0]].mask(0.2, size=48)
    assert float(other.double().mean()) == pytest.approx(0.2, abs=1e-3)


def blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    """Returns a Gaussian blur of c x h x w with mirrored borders, one pixel of the kernel at a time."""
    radius = round(4 * sigma)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    for axis in (1, 2):
        widths = [(radius, radius) if i == axis else (0, 0) for i in range(3)]
        padded = np.pad(image, widths, mode="symmetric")
        side = image.shape[axis]
        image = sum(weight * padded.take(range(i, i + side), axis) for i, weight in enumerate(kernel))
    return image


def test_scores_equal_those_computed_by_other_code(demo: Path) -> None:
    preprocessing = Preprocessing((SIZE, SIZE), SIZE, "bilinear", MEAN, STD)
    sample = Synthetic(2).load(IDS[1], preprocessing)
    photo = sample.image.double().numpy()
    baseline = blurred(photo, 20 * SIZE / 224)
    network = demo_network().double()
    mean, std = (np.array(values)[:, None, None] for values in (MEAN, STD))

    def probability(image: np.ndarray) -> float:
        with torch.no_grad():
            return float(network(torch.from_numpy((image - mean) / std)[None]).softmax(1)[0, 1])

    stored = masks_of(demo)[IDS[1]].double().numpy()
    for row in (row for row in table(demo) if row["sample_id"] == IDS[1]):
        k, a = int(row["explanation"]) - 1, AREAS.index(float(row["area"]))
        soft = stored[k, a]
        hard = np.zeros(soft.size)
        hard[np.argsort(soft.ravel())[::-1][: int(AREAS[a] * soft.size + 1e-6)]] = 1
        hard = hard.reshape(soft.shape)
        expected = {
            "p_full": probability(photo),
            "preservation_hard_blur": probability(hard * photo + (1 - hard) * baseline),
            "preservation_soft_blur": probability(soft * photo + (1 - soft) * baseline),
            "deletion_hard_blur": probability((1 - hard) * photo + hard * baseline),
            "deletion_soft_grey": probability((1 - soft) * photo + soft * mean),
            "area_error": abs(soft.mean() - AREAS[a]),
            "grayness": (4 * soft * (1 - soft)).mean(),
            "nesting_violation": reference.nesting_violation(list(stored[k]), AREAS),
        }
        for column, value in expected.items():
            assert float(row[column]) == pytest.approx(value, abs=1e-4), column


def content(folder: Path) -> dict[str, bytes]:
    """Returns all files but run.json, which counts the sessions, and those that hold the seconds of each image."""
    names = [name for name in files_below(folder) if name != "run.json" and not name.startswith(("masks/", "index/"))]
    files = {name: (folder / name).read_bytes() for name in names}
    summary = json.loads(files.pop("summary.json"))
    del summary["seconds_per_image"]
    return files | {"summary.json": json.dumps(summary).encode()}


@pytest.mark.slow
def test_the_same_command_again_does_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first = explain(tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in files_below(tmp_path) if name != "run.json"}
    monkeypatch.setattr(runner, "fit_masks", lambda *_, **__: pytest.fail("a fit was made"))
    caplog.set_level("INFO")
    again = explain(tmp_path)
    assert again == first
    assert f"continuing in {tmp_path}: 3 of 3 images are done and skipped" in messages(caplog.records)
    assert {name: (tmp_path / name).read_bytes() for name in files_below(tmp_path) if name != "run.json"} == before
    assert json.loads((tmp_path / "run.json").read_text())["sessions"] == 2


@pytest.mark.parametrize("where", ["commit", "append_rows", "write_summary"])
@pytest.mark.slow
def test_a_broken_run_is_continued_to_the_files_of_an_unbroken_one(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """The run breaks before an image's masks are written, between its masks and its rows, or before the summary."""
    calls = itertools.count(1)
    method = getattr(RunFolder, where)

    def break_once(folder: RunFolder, *arguments: object) -> None:
        if next(calls) == (1 if where == "write_summary" else 2):
            raise RunFault("broken on purpose")
        method(folder, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, where, break_once)
        with pytest.raises(RunFault, match="on purpose"):
            explain(tmp_path, "image_batch_size=1")
    assert len(masks_of(tmp_path)) == {"commit": 1, "append_rows": 2, "write_summary": 3}[where]
    if where == "append_rows":
        assert {row["sample_id"] for row in table(tmp_path)} == {IDS[0]}
    half_written = tmp_path / "masks" / ".writing-half"
    half_written.write_bytes(b"half a file")
    explain(tmp_path)
    assert not half_written.exists()
    assert same_masks(tmp_path, whole)
    assert content(tmp_path) == content(whole)


@pytest.mark.slow
def test_a_killed_run_is_continued_to_the_files_of_an_unbroken_one(whole: Path, tmp_path: Path) -> None:
    arguments = [*TINY, "callbacks.slow._target_=tests.helpers.runs.Slow", f"out={tmp_path}"]
    with subprocess.Popen(command(*arguments), cwd=tmp_path, env=environment(), stderr=subprocess.DEVNULL) as program:
        try:
            deadline = time.monotonic() + 120
            while not RunFolder(tmp_path).done() and time.monotonic() < deadline and program.poll() is None:
                time.sleep(0.05)
        finally:
            program.send_signal(signal.SIGKILL)
    assert program.returncode == -signal.SIGKILL
    assert list(masks_of(tmp_path)) == IDS[:1]
    assert json.loads((tmp_path / "run.json").read_text())["device"] == "cpu"
    (tmp_path / "inr_xai.log").unlink()
    explain(tmp_path)
    assert same_masks(tmp_path, whole)
    assert content(tmp_path) == content(whole)


@pytest.mark.slow
def test_a_terminated_run_says_so_and_is_continued_to_the_files_of_an_unbroken_one(whole: Path, tmp_path: Path) -> None:
    arguments = [*TINY, "callbacks.slow._target_=tests.helpers.runs.Slow", f"out={tmp_path}"]
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with subprocess.Popen(command(*arguments), cwd=tmp_path, env=environment(), text=True, **streams) as program:
        deadline = time.monotonic() + 120
        while not RunFolder(tmp_path).done() and time.monotonic() < deadline and program.poll() is None:
            time.sleep(0.05)
        program.send_signal(signal.SIGTERM)
        _, printed = program.communicate(timeout=120)
    assert program.returncode == 143
    line = f"interrupted (SIGTERM): 1 of 3 images are done; continue with the same command and out={tmp_path}\n"
    assert printed == line
    assert not list(tmp_path.glob(".working-*"))
    (tmp_path / "inr_xai.log").unlink()
    explain(tmp_path)
    assert same_masks(tmp_path, whole)
    assert content(tmp_path) == content(whole)


def test_another_configuration_is_refused_with_the_keys_that_differ(whole: Path) -> None:
    before = list(files_below(whole)), (whole / "run.json").read_bytes()
    with pytest.raises(
        UserError, match=r"differs in inr\.gain \(was 5\.0, now 3\.0\), steps \(was 2, now 3\); give the"
    ):
        explain(whole, "steps=3", "inr.gain=3.0")
    assert (list(files_below(whole)), (whole / "run.json").read_bytes()) == before


@pytest.mark.slow
def test_what_changes_no_result_may_change(tmp_path: Path, whole: Path) -> None:
    explain(tmp_path, "data.limit=1")
    assert list(masks_of(tmp_path)) == IDS[:1]
    more = [
        "image_batch_size=2",
        "masks_per_forward=3",
        "cuda_graphs=true",
        "callbacks.curves=null",
        "logger=wandb",
        "logger.wandb.mode=disabled",
    ]
    explain(tmp_path, "data.limit=2", *more)
    assert [row["sample_id"] for row in table(tmp_path)] == [name for name in IDS[:2] for _ in range(4)]
    explain(tmp_path)
    assert same_masks(tmp_path, whole)
    assert [int(line["steps_done"]) for line in table(tmp_path, "curves.csv")] == list(range(12))

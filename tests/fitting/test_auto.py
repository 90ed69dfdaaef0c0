"""Runs of `explanations=auto`: rows, files and counters where images differ in how many explanations they have."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import inr_xai
from inr_xai.errors import UserError
from inr_xai.runs.folder import RunFolder
from tests.helpers import wandb_read
from tests.helpers.planted import CORNERS, folder
from tests.helpers.runs import FOLDER, explain, masks_of, said, same_masks, table
from tests.helpers.wandb_fixtures import fresh_wandb  # noqa: F401
from tests.test_runner import content

IDS = list(CORNERS)
AUTO = ["explanations=auto", "stop.share=0.3", "stop.most=3"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Images with one, two and three cues."""
    changed = ["steps=12", "areas=[0.07,0.1]", "classifier.model._target_=tests.helpers.planted.Normalised"]
    root = folder(tmp_path_factory.mktemp("planted"))
    keys = [option.partition("=")[0] for option in changed] + ["callbacks.figures"]
    rest = [option for option in FOLDER if option.partition("=")[0] not in keys]
    return [*rest, *changed, f"data.root={root}", "data.targets=1"]


@pytest.fixture(scope="module")
def auto(tmp_path_factory: pytest.TempPathFactory, base: list[str]) -> Path:
    out = tmp_path_factory.mktemp("auto")
    explain(out, *AUTO, base=base)
    return out


@pytest.fixture(scope="module")
def fixed(tmp_path_factory: pytest.TempPathFactory, base: list[str]) -> Path:
    """The same images with three explanations each."""
    out = tmp_path_factory.mktemp("fixed")
    explain(out, "explanations=3", "callbacks.figures=null", base=base)
    return out


def carried(rows: list[dict[str, str]], game: str) -> float:
    values = [float(row[f"{game}_{name}"]) for row in rows for name in ("noise", "photo")]
    return sum(values) / len(values)


def wanted_counts(fixed: Path) -> dict[str, int]:
    """The rule, applied to the scores of a run that knows none."""
    counts = {}
    for name in IDS:
        counts[name] = 1
        for k in ("2", "3"):
            rows = [row for row in table(fixed) if (row["sample_id"], row["explanation"]) == (name, k)]
            own = carried(rows, "preservation_hard")
            if own < 0.3 * float(rows[0]["p_full"]) or own <= carried(rows, "chance"):
                break
            counts[name] += 1
    return counts


def test_each_image_ends_where_the_rule_says(auto: Path, fixed: Path) -> None:
    counts = wanted_counts(fixed)
    assert counts == {"a-one": 1, "b-two": 2, "c-three": 3}
    assert {name: len(masks) for name, masks in masks_of(auto).items()} == counts
    for name, masks in masks_of(auto).items():
        assert torch.equal(masks, masks_of(fixed)[name][: counts[name]])
    expected = [row for row in table(fixed) if int(row["explanation"]) <= counts[row["sample_id"]]]
    assert table(auto) == expected


def test_the_summary_is_over_the_images_that_have_the_explanation(auto: Path) -> None:
    summary, rows = RunFolder(auto).read_summary(), table(auto)
    assert (summary["images"], summary["explanations/mean"]) == (3, 2.0)
    for k in (1, 2, 3):
        own = [row for row in rows if row["explanation"] == str(k)]
        assert summary[f"images/k{k}"] == len(own) / 2 == 4 - k
        for column in ("preservation_hard_mean", "union_hard_mean", "remaining_hard_mean", "union_share"):
            assert summary[f"{column}/k{k}"] == pytest.approx(np.mean([float(row[column]) for row in own]), abs=1e-12)
        a = [row for row in own if row["area"] == "0.1"]
        ratio = sum(float(row["union_hard_mean"]) for row in a) / sum(float(row["p_full"]) for row in a)
        assert summary[f"union_hard_mean_rel/k{k}/a0.1"] == pytest.approx(ratio)
    fits = 2 + 3 + 3
    assert summary["passes_per_image"] == pytest.approx(12 * 2 * fits / 3)


def test_steps_and_curves_count_what_was_tried(auto: Path) -> None:
    written, counts = RunFolder(auto), {name: len(masks) for name, masks in masks_of(auto).items()}
    before = 0
    for name in IDS:
        record = written.read(name)
        tried = min(3, counts[name] + 1)
        assert record.losses.shape == (tried, 12)
        assert (record.steps_before, record.steps_after) == (before, before + 12 * tried)
        assert record.extra.get("dropped", {}).get("explanation") == (None if counts[name] == 3 else tried)
        before = record.steps_after
    assert [int(line["steps_done"]) for line in table(auto, "curves.csv")] == list(range(before))


def test_a_ragged_run_is_read_back_rendered_and_drawn(auto: Path) -> None:
    run = inr_xai.load(auto)
    assert sorted(len(run[name].masks) for name in run) == [1, 2, 3]
    for name in run:
        explained, count = run[name], len(run[name].masks)
        for k in range(1, count + 1):
            again = explained.mask(0.1, explanation=k)
            assert (again - explained.masks[k - 1, 1].float()).abs().max() <= 1e-3
            assert float(explained.mask(0.2, size=48, explanation=k).double().mean()) == pytest.approx(0.2, abs=1e-3)
        with pytest.raises(UserError, match=f"explanation must lie in 1 to {count}, the number fitted"):
            explained.mask(0.1, explanation=count + 1)
    heights = {}
    for name in run:
        with Image.open(auto / "figures" / f"{name}.png") as figure:
            heights[len(run[name].masks)] = figure.height
    assert heights[1] < heights[2] < heights[3]


@pytest.mark.slow
def test_a_broken_ragged_run_is_continued_as_if_it_had_not_been(
    auto: Path,
    base: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    commit = RunFolder.commit

    def breaks(written: RunFolder, record: object) -> None:
        if written.done():
            raise RuntimeError("broken on purpose")
        commit(written, record)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "commit", breaks)
        with pytest.raises(RuntimeError, match="on purpose"):
            explain(tmp_path, *AUTO, base=base)
    assert list(masks_of(tmp_path)) == IDS[:1]
    caplog.set_level("INFO")
    explain(tmp_path, *AUTO, base=base)
    assert same_masks(tmp_path, auto)
    assert content(tmp_path) == content(auto)
    (printed,) = (text for text in said(caplog.records) if "explanation  images  area" in text)
    assert [line.split()[:3] for line in printed.strip().splitlines()[1::3]] == [
        [str(k), str(4 - k), "0.07"] for k in (1, 2, 3)
    ]


def test_each_masks_file_is_opened_once_at_the_end(
    auto: Path, base: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    read = RunFolder._open

    def counting(written: RunFolder, sample_id: str, **options: object) -> object:
        opened.append(sample_id)
        return read(written, sample_id, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(RunFolder, "_open", counting)
    explain(auto, *AUTO, base=base)
    assert opened == IDS * 2  # once at the start of the sitting, once at its end


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_wandb")
def test_a_ragged_run_at_wandb(tmp_path: Path, auto: Path, base: list[str]) -> None:
    explain(tmp_path, *AUTO, "logger=wandb", base=base)
    (part,) = wandb_read.parts(tmp_path)
    final, own = wandb_read.summary(part)["summary"], json.loads((auto / "summary.json").read_text())
    for key in ("explanations/mean", "images/k3", "union_hard_mean_rel/k2", "remaining_hard_photo/k3/a0.1"):
        assert final[key] == pytest.approx(own[key])
    assert final["per_image"]["nrows"] == 2 * (1 + 2 + 3)
    lines, curves = wandb_read.history(part), table(auto, "curves.csv")
    for k in ("1", "2", "3"):
        logged = [(line["steps_done"], line[f"loss/k{k}"]) for line in lines if f"loss/k{k}" in line]
        stored = [(int(line["steps_done"]), float(line["loss"])) for line in curves if line["explanation"] == k]
        assert [step for step, _ in logged] == [step for step, _ in stored]
        assert [loss for _, loss in logged] == pytest.approx([loss for _, loss in stored], rel=1e-6)

"""Runs with `explanations=auto`: rows, files and counters when images have different numbers of explanations."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import inr_xai
from inr_xai.errors import RunFault, UserError
from inr_xai.runs.folder import RunFolder
from inr_xai.runs.masks_file import read_record
from tests.helpers import wandb_read
from tests.helpers.planted import CORNERS, folder
from tests.helpers.runs import FOLDER, explain, masks_of, messages, same_masks, table
from tests.helpers.wandb_fixtures import fresh_wandb  # noqa: F401
from tests.test_runner import content

IDS = list(CORNERS)
AUTO = ["explanations=auto", "stop.share=0.3", "stop.most=3"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Images with one, two and three cues."""
    options = [
        "+preset=pyramid",
        "steps=12",
        "areas=[0.07,0.1]",
        "classifier.model._target_=tests.helpers.planted.Normalised",
    ]
    root = folder(tmp_path_factory.mktemp("planted"))
    keys = [option.partition("=")[0] for option in options] + ["callbacks.figures"]
    rest = [option for option in FOLDER if option.partition("=")[0] not in keys]
    return [*rest, *options, f"data.root={root}", "data.targets=1"]


@pytest.fixture(scope="module")
def auto(tmp_path_factory: pytest.TempPathFactory, base: list[str]) -> Path:
    out = tmp_path_factory.mktemp("auto")
    explain(out, *AUTO, base=base)
    return out


@pytest.fixture(scope="module")
def fixed(tmp_path_factory: pytest.TempPathFactory, base: list[str]) -> Path:
    """Explains the images of `auto` with exactly three explanations each."""
    out = tmp_path_factory.mktemp("fixed")
    explain(out, "explanations=3", "callbacks.figures=null", base=base)
    return out


def mean_unseen(rows: list[dict[str, str]], game: str) -> float:
    """Returns the mean score over the rows and the two baselines that no fit uses."""
    values = [float(row[f"{game}_{name}"]) for row in rows for name in ("noise", "photo")]
    return sum(values) / len(values)


def expected_counts(fixed: Path) -> dict[str, int]:
    """Applies the rule to the scores of a run without it."""
    counts = {}
    for name in IDS:
        counts[name] = 1
        for k in ("2", "3"):
            rows = [row for row in table(fixed) if (row["sample_id"], row["explanation"]) == (name, k)]
            preservation = mean_unseen(rows, "preservation_hard")
            if preservation < 0.3 * float(rows[0]["p_full"]) or preservation <= mean_unseen(rows, "chance"):
                break
            counts[name] += 1
    return counts


@pytest.mark.slow
def test_each_image_ends_where_the_rule_says(auto: Path, fixed: Path) -> None:
    counts = expected_counts(fixed)
    assert counts == {"a-one": 1, "b-two": 2, "c-three": 3}
    assert {name: len(masks) for name, masks in masks_of(auto).items()} == counts
    for name, masks in masks_of(auto).items():
        assert torch.equal(masks, masks_of(fixed)[name][: counts[name]])
    expected = [row for row in table(fixed) if int(row["explanation"]) <= counts[row["sample_id"]]]
    assert table(auto) == expected


@pytest.mark.slow
def test_the_summary_averages_the_images_that_have_an_explanation(auto: Path) -> None:
    summary, rows = RunFolder(auto).read_summary(), table(auto)
    assert (summary["images"], summary["explanations/mean"]) == (3, 2.0)
    for k in (1, 2, 3):
        k_rows = [row for row in rows if row["explanation"] == str(k)]
        assert summary[f"images/k{k}"] == len(k_rows) / 2 == 4 - k
        for column in ("preservation_hard_mean", "union_hard_mean", "remaining_hard_mean", "union_share"):
            assert summary[f"{column}/k{k}"] == pytest.approx(
                np.mean([float(row[column]) for row in k_rows]), abs=1e-12
            )
        area_rows = [row for row in k_rows if row["area"] == "0.1"]
        ratio = sum(float(row["union_hard_mean"]) for row in area_rows) / sum(float(row["p_full"]) for row in area_rows)
        assert summary[f"union_hard_mean_rel/k{k}/a0.1"] == pytest.approx(ratio)
    fits = 2 + 3 + 3
    assert summary["passes_per_image"] == pytest.approx(12 * 2 * fits / 3)


@pytest.mark.slow
def test_steps_and_curves_count_dropped_explanations_too(auto: Path) -> None:
    run_folder, counts = RunFolder(auto), {name: len(masks) for name, masks in masks_of(auto).items()}
    before = 0
    for name in IDS:
        record = run_folder.read(name)
        fits = min(3, counts[name] + 1)
        assert record.losses.shape == (fits, 12)
        assert (record.steps_before, record.steps_after) == (before, before + 12 * fits)
        assert record.extra.get("dropped", {}).get("explanation") == (None if counts[name] == 3 else fits)
        before = record.steps_after
    assert [int(line["steps_done"]) for line in table(auto, "curves.csv")] == list(range(before))


@pytest.mark.slow
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
    sizes = set()
    for name in run:
        with Image.open(auto / "figures" / f"{name}.png") as figure:
            sizes.add(figure.size)
    assert len(sizes) == 3


@pytest.mark.slow
def test_a_ragged_run_that_broke_is_continued_to_the_same_results(
    auto: Path,
    base: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    commit = RunFolder.commit

    def breaks(run_folder: RunFolder, record: object) -> None:
        if run_folder.done():
            raise RunFault("broken on purpose")
        commit(run_folder, record)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "commit", breaks)
        with pytest.raises(RunFault, match="on purpose"):
            explain(tmp_path, *AUTO, base=base)
    assert list(masks_of(tmp_path)) == IDS[:1]
    caplog.set_level("INFO")
    explain(tmp_path, *AUTO, base=base)
    assert same_masks(tmp_path, auto)
    assert content(tmp_path) == content(auto)
    (summary,) = (text for text in messages(caplog.records) if "explanation  images  area" in text)
    assert [line.split()[:3] for line in summary.strip().splitlines()[1::3]] == [
        [str(k), str(4 - k), "0.07"] for k in (1, 2, 3)
    ]


@pytest.mark.slow
def test_no_masks_file_is_opened_by_a_run_that_has_its_index(
    auto: Path, base: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []
    read = "inr_xai.runs.masks_file.read_record"
    monkeypatch.setattr(read, lambda place: opened.append(place.file) or read_record(place))
    before = {name: (auto / name).read_bytes() for name in ("per_image.csv", "curves.csv", "summary.json")}
    explain(auto, *AUTO, base=base)
    assert opened == []
    shutil.rmtree(auto / "index")
    explain(auto, *AUTO, base=base)
    assert [file.stem for file in opened] == IDS
    assert {name: (auto / name).read_bytes() for name in before} == before


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_wandb")
def test_a_ragged_run_at_wandb(tmp_path: Path, auto: Path, base: list[str]) -> None:
    explain(tmp_path, *AUTO, "logger=wandb", base=base)
    (part,) = wandb_read.parts(tmp_path)
    final, expected = wandb_read.summary(part)["summary"], json.loads((auto / "summary.json").read_text())
    for key, stored in {
        "explanation_2/remaining": "remaining_hard_mean_rel/k2",
        "explanation_3/preservation": "preservation_hard_mean_rel/k3",
        "headline/deletion": "deletion_hard_mean_rel/k1",
        "run/passes_per_image": "passes_per_image",
    }.items():
        assert final[key] == pytest.approx(expected[stored])
    gallery = wandb_read.table(part, "tables/gallery")
    numbers = [gallery["columns"].index(f"preservation {k}") for k in (1, 2, 3)]
    assert sorted(sum(row[place] is not None for place in numbers) for row in gallery["data"]) == [1, 2, 3]

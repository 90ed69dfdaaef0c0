"""A whole run of the demo on a GPU: exact areas, disjoint masks, its files, W&B, evaluation, audit, rendering."""

from pathlib import Path

import pytest
import torch

import inr_xai
from inr_xai.evaluate.results import Results
from inr_xai.masks import hard_masks, pixel_counts
from tests.helpers.runs import explain, table
from tests.helpers.wandb_fixtures import fresh_wandb  # noqa: F401
from tests.helpers.wandb_read import history, parts, summary

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("default")]

AREAS, EXPLANATIONS, IMAGES = (0.05, 0.1, 0.2), 2, 2
OPTIONS = [
    f"data.size={IMAGES}",
    f"areas=[{','.join(map(str, AREAS))}]",
    f"explanations={EXPLANATIONS}",
    "steps=10",
    "logger.wandb.mode=offline",
    "evaluate=[sparseness,area_error,insertion_auc]",
    "audit={area: 0.1, control: 1}",
]


@pytest.mark.usefixtures("fresh_wandb")
def test_a_run_of_the_demo(tmp_path: Path, device: torch.device) -> None:
    out = tmp_path / "run"
    accelerator = "gpu" if device.type == "cuda" else "cpu"
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    outcome = explain(out, *OPTIONS, f"trainer.accelerator={accelerator}", base=[])
    assert outcome.failures == outcome.unmeasured == 0
    if device.type == "cuda":
        assert torch.cuda.max_memory_allocated(device) > 2**20

    run = inr_xai.load(out)
    names = list(run)
    assert len(names) == IMAGES
    rows = [(row["sample_id"], int(row["explanation"]), float(row["area"])) for row in table(out)]
    assert rows == [(name, k, area) for name in names for k in range(1, EXPLANATIONS + 1) for area in AREAS]
    assert all(0 <= float(row["preservation_hard_mean"]) <= 1 for row in table(out))
    assert table(out, "failures.csv") == []

    areas = torch.tensor(AREAS)
    for name in names:
        explained = run[name]
        masks = explained.masks
        assert (masks.double().mean((-2, -1)) - areas).abs().max() < 1e-3
        generators = [torch.Generator() for _ in masks]
        hard = hard_masks(masks, areas, generators=generators)
        assert hard.sum((-2, -1)).tolist() == [pixel_counts(areas, masks[0, 0].numel())] * EXPLANATIONS
        assert not (hard[0] & hard[1]).any()
        # Weights from the GPU, drawn on the processor.
        for k in range(1, EXPLANATIONS + 1):
            drawn = torch.stack([explained.mask(area, explanation=k) for area in AREAS])
            assert (drawn - masks[k - 1].float()).abs().max() < 1e-3

    explained, measured_too = parts(out)
    for folder in (explained, measured_too):
        assert summary(folder)["state"] == "finished"
        assert summary(folder)["summary"]["run/images"] == IMAGES
    assert sum("run/images" in line for line in history(explained)) == IMAGES

    (found,) = (out / "evaluation").glob("masks.csv")
    measured = Results(found).rows
    assert len(measured) == IMAGES
    assert not any(row["failed"] for row in measured.values())
    assert f"- images: {IMAGES}" in (out / "audit" / "report.md").read_text()

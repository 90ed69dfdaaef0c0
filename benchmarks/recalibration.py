"""Fits a temperature for masked images of each area on labelled photos, and scores a run's masks with it.

    python benchmarks/recalibration.py data.size=64                                      the demo
    python benchmarks/recalibration.py --write temperatures.json data=image_folder data.root=PATH classifier=timm ...
    python benchmarks/recalibration.py --read temperatures.json --run RUN data.root=PATH

The first two forms fit on every other photo, print the cross-entropy of the labels on the photos between, and write
{area: temperature}. The photos should not be those of the run. The third prints how much the hard masks of a run keep
(mean over the four scoring baselines, mean over images), by the plain probabilities and by the recalibrated ones.
Options are those of a run; with --run they change those of the run.
"""

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from omegaconf import DictConfig
from torch import Tensor

from inr_xai.compare.comparison import DEFAULTS
from inr_xai.compare.report import format_markdown
from inr_xai.config import composed, exit_status
from inr_xai.errors import UserError
from inr_xai.fitting.trainers import device_of
from inr_xai.instantiate import build_data_and_classifier, make_photo_pool, plain, stored_configuration
from inr_xai.masks import hard_masks
from inr_xai.metrics.statistics.bootstrap import interval_columns, mean_interval
from inr_xai.runner import sample_plan
from inr_xai.runs.files import read_json, write_json
from inr_xai.runs.load import load
from inr_xai.scoring.baselines import scoring_baselines
from inr_xai.scoring.masked_model import MaskedModel
from inr_xai.scoring.recalibration import (
    fit_temperature,
    label_entropy,
    masked_logits,
    require_softmax,
    tempered,
)
from inr_xai.seeding import generator
from inr_xai.types import Row, Targets


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="options of a run, such as data.root=PATH areas=[0.1,0.3]")
    parser.add_argument("--masks", type=int, default=4, help="random masks of each area and photo (%(default)s)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="JSON of the fitted temperatures")
    parser.add_argument("--run", type=Path, help="a finished run whose masks are scored with --read")
    parser.add_argument("--read", type=Path, metavar="FILE", help="JSON of temperatures that were fitted before")
    args = parser.parse_intermixed_args(arguments)
    if (args.run is None) != (args.read is None):
        parser.error("--run and --read go together: a run, and the temperatures of its areas")

    def work() -> int:
        if args.run is not None:
            rows = score_run(args.run, read_temperatures(args.read), args.overrides)
        else:
            rows = fit(composed(*DEFAULTS, *args.overrides), args.masks)
        print(format_markdown(rows))
        if args.write is not None:
            write_json(args.write, {"temperatures": {repr(row["area"]): row["temperature"] for row in rows}})
        return 0

    return exit_status(work)


def fit(cfg: DictConfig, masks: int) -> list[Row]:
    """Returns a row for each area: its temperature, and the cross-entropy of the labels without and with it.

    The photos at even places in the order of their ids are fitted, and the others are held out. Raises UserError if
    there are fewer than two photos with a label, or the classifier's head is no softmax.
    """
    data, classifier = build_data_and_classifier(cfg)
    require_softmax(classifier)
    device, pool = device_of(plain(cfg.trainer)), make_photo_pool(data.scoring_ids, data, classifier)
    logits, labels = [], []
    for sample_id in sample_plan(data):
        sample = data.load(sample_id, classifier.preprocessing)
        if sample.target is None:
            continue
        found = masked_logits(
            classifier,
            sample.image.to(device),
            areas=cfg.areas,
            sample_id=sample_id,
            seed=cfg.seed,
            photos=pool.following(sample_id).to(device),
            masks=masks,
            at_once=cfg.masks_per_forward,
        )
        logits.append(found.cpu())
        labels.append(sample.target)
    if len(labels) < 2:
        raise UserError(f"{len(labels)} photos have a label, and a fit and its check need two; give data with labels")
    return rows_of_fit(torch.stack(logits), torch.tensor(labels), cfg.areas)


def rows_of_fit(logits: Float[Tensor, "b a e n"], labels: Targets, areas: Sequence[float]) -> list[Row]:
    """Returns the rows of `fit` from the logits of all photos, areas and masked copies."""
    fitted, held_out = (labels[first::2].repeat_interleave(logits.shape[2]) for first in (0, 1))
    rows: list[Row] = []
    for place, area in enumerate(areas):
        of_fitted, of_held_out = (logits[first::2, place].flatten(0, 1) for first in (0, 1))
        temperature = fit_temperature(of_fitted, fitted)
        rows.append(
            {
                "area": area,
                "temperature": temperature,
                "held_out": len(labels) // 2,
                "plain": label_entropy(of_held_out, held_out, 1.0),
                "recalibrated": label_entropy(of_held_out, held_out, temperature),
            }
        )
    return rows


@torch.no_grad()
def score_run(folder: Path, temperatures: Mapping[float, float], overrides: Sequence[str]) -> list[Row]:
    """Returns a row for each area of a run: preservation of explanation 1, plain and recalibrated."""
    run = load(folder)
    cfg = stored_configuration(run.config, overrides)
    if missing := [area for area in cfg.areas if area not in temperatures]:
        raise UserError(f"there is no temperature of area {missing[0]:g}; fit with areas={list(cfg.areas)}")
    data, classifier = build_data_and_classifier(cfg)
    device, pool = device_of(plain(cfg.trainer)), make_photo_pool(run.info["scoring_pool"], data, classifier)
    each = [tempered(classifier, temperatures[area]) for area in cfg.areas]
    kept = []
    for sample_id in run:
        image = data.load(sample_id, classifier.preprocessing).image[None].to(device)
        colour, photos = torch.tensor(classifier.colour_mean), pool.following(sample_id)[None].to(device)
        baselines = scoring_baselines(image, [sample_id], seed=cfg.seed, colour_mean=colour, photos=photos)
        areas, ties = torch.tensor(cfg.areas, dtype=torch.float64), [generator(cfg.seed, sample_id, "ties")]
        hard = hard_masks(run[sample_id].masks[:1].to(device), areas, generators=ties)
        target = torch.tensor([run[sample_id].target], device=device)
        options = {"baselines": baselines, "masks_per_forward": cfg.masks_per_forward}
        plainly = preservation(MaskedModel(classifier, image, target, **options), hard)
        models = [MaskedModel(of_area, image, target, **options) for of_area in each]
        recalibrated = [preservation(model, hard[:, [place]]) for place, model in enumerate(models)]
        kept.append(torch.stack([plainly, torch.cat(recalibrated)]).cpu())
    return [
        {"area": area, "images": len(kept), "temperature": temperatures[area]}
        | interval_columns("plain", mean_interval(torch.stack(kept)[:, 0, place]))
        | interval_columns("recalibrated", mean_interval(torch.stack(kept)[:, 1, place]))
        for place, area in enumerate(cfg.areas)
    ]


def preservation(model: MaskedModel, masks: Bool[Tensor, "1 a h w"]) -> Float[Tensor, " a"]:
    """Returns p_t of the kept part of one image, the mean over the baselines."""
    with model.classifier.frozen(model.images.device, model.images.dtype):
        return torch.stack(list(model.means(masks).values())).mean(0)[0]


def read_temperatures(file: Path) -> dict[float, float]:
    """Returns area -> temperature of a file that --write wrote. Raises UserError if it holds something else."""
    content = read_json(file, {"temperatures": {str: float}}, "fit it again with --write")
    return {float(area): value for area, value in content["temperatures"].items()}


if __name__ == "__main__":
    sys.exit(main())

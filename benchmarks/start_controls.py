"""Whether a start makes masks prettier than the classifier deserves: randomised classifiers, and classes not shown.

    python benchmarks/start_controls.py steps=20 data.size=4                       the demo
    python benchmarks/start_controls.py --starts none,gradient --layers 5 steps=25 data.limit=6 data=image_folder \\
        data.root=PATH classifier=torchvision classifier.name=squeezenet1_0 classifier.checkpoint=FILE

For each start it fits the same images and prints one row. mprt: the rank correlation of heatmaps with those of a
classifier whose layers are randomised, cascading from the top, the mean over some layers (lower is better). true and
wrong: the probability of the class that the classifier sees, and of one that the image does not show, under their own
hard masks, with noise and photos around them. In brackets are 95 % bootstrap intervals, and `more` is the paired
difference to the first start. All other options are those of a run.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from omegaconf import DictConfig
from torch import Tensor

from inr_xai.classifier.targets import TargetRule
from inr_xai.columns import UNSEEN
from inr_xai.compare.comparison import DEFAULTS
from inr_xai.compare.methods.ours import MaskFitter
from inr_xai.compare.report import format_markdown
from inr_xai.config import composed, exit_status
from inr_xai.evaluate.by_refitting import refit
from inr_xai.fitting.trainers import device_of
from inr_xai.instantiate import build_data_and_classifier, build_method, make_photo_pool, plain
from inr_xai.metrics.robustness.randomisation import mprt, randomisable_layers
from inr_xai.metrics.statistics.bootstrap import interval_columns, mean_interval, paired_difference
from inr_xai.runner import sample_plan
from inr_xai.scoring.scores import score_masks
from inr_xai.types import Row

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Controls:
    """What is measured of each image: similarity under randomised layers, and probabilities under hard masks."""

    mprt: Tensor
    true: Tensor
    wrong: Tensor


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="options of a run, such as data.root=PATH steps=50")
    parser.add_argument("--starts", default="none,gradient", help="choices of the group start, the reference first")
    parser.add_argument("--layers", type=int, default=5, help="layers that are randomised, evenly spaced")
    args = parser.parse_intermixed_args(arguments)

    def work() -> int:
        measured = {
            start: measure(composed(*DEFAULTS, *args.overrides, f"start={start}"), args.layers)
            for start in args.starts.split(",")
        }
        print(format_markdown(rows_of(measured)))
        return 0

    return exit_status(work)


def measure(cfg: DictConfig, layers: int) -> Controls:
    """Fits the images of a configuration for the class that they show and for another, and randomises the classifier.

    Args:
        layers: how many layers are randomised before another fit, the top one first.
    """
    (data, classifier), method = build_data_and_classifier(cfg), build_method(cfg)
    device = device_of(plain(cfg.trainer))
    scoring, donors = (make_photo_pool(ids, data, classifier) for ids in (data.scoring_ids, data.donor_ids))
    fitter = MaskFitter(method, classifier, device=device, donors=donors, trainer=plain(cfg.trainer))
    explain_with = refit(classifier, method, donors if method.perturbation.needs_donors else None)
    names = randomisable_layers(classifier.model)
    names = [names[place * len(names) // layers] for place in range(layers)]
    values: dict[str, list[float]] = {"mprt": [], "predicted": [], "wrong": []}
    for sample_id in sample_plan(data):
        image = data.load(sample_id, classifier.preprocessing).image.to(device)
        for targets in ("predicted", "wrong"):
            target = TargetRule(targets, cfg.seed).choose(classifier, image, None, sample_id)
            fitted, _ = fitter.fit(image, target, sample_id)
            scores = score_masks(
                classifier,
                image[None],
                torch.tensor([target]),
                fitted.masks[:, 0],
                areas=method.areas,
                sample_ids=[sample_id],
                seed=cfg.seed,
                photos=scoring.following(sample_id)[None].to(device),
            )
            seen = torch.stack([scores.columns[f"preservation_hard_{baseline}"] for baseline in UNSEEN])
            values[targets].append(float(seen.mean()))
            if targets == "predicted":
                similar = mprt(explain_with, classifier.model, image[None], torch.tensor([target]), layers=names)
                values["mprt"].append(float(torch.stack(list(similar.values())).mean()))
        log.info("%s: %s", sample_id, {name: round(found[-1], 3) for name, found in values.items()})
    return Controls(*[torch.tensor(values[name]) for name in ("mprt", "predicted", "wrong")])


def rows_of(measured: dict[str, Controls]) -> list[Row]:
    """Returns a row for each start, with the paired differences to the first."""
    first = next(iter(measured.values()))
    rows = []
    for start, controls in measured.items():
        row: Row = {"start": start, "images": len(controls.true)}
        for name in ("mprt", "true", "wrong"):
            values: Tensor = getattr(controls, name)
            row |= interval_columns(name, mean_interval(values))
            row |= interval_columns(f"{name}_more", paired_difference(values, getattr(first, name)))
        rows.append(row)
    return rows


if __name__ == "__main__":
    sys.exit(main())

"""Metrics of a finished run, or of another tool's maps of its images, without fitting again.

    python -m inr_xai.evaluate RUN                                    every metric that the data set allows
    python -m inr_xai.evaluate RUN --metrics pointing_game,road       these
    python -m inr_xai.evaluate RUN --maps FOLDER --name gradcam       of <image_id>.npy or .safetensors files
    python -m inr_xai.evaluate RUN data.root=PATH                     the images have moved

Values per image go to RUN/evaluation/<name>.csv, tables beside it; what is measured already is not measured again,
unless the maps, or the options of data and classifier, have changed.
"""

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor, nn

from inr_xai.assembly import build, build_method, photo_pool, plain
from inr_xai.classifier import FrozenClassifier
from inr_xai.config import exit_status
from inr_xai.errors import UserError
from inr_xai.evaluation.measures import choose
from inr_xai.evaluation.rows import Results
from inr_xai.evaluation.run import Bench, directions, evaluate, require_marks
from inr_xai.evaluation.sources import FolderSource, RunSource, Source
from inr_xai.evaluation.table import make_table
from inr_xai.evaluation.texts import latex, markdown
from inr_xai.files import write_bytes
from inr_xai.fit import fit_masks
from inr_xai.importance import importance_maps
from inr_xai.method import Method
from inr_xai.metrics.explain import ExplainWith
from inr_xai.photos import PhotoPool
from inr_xai.render import Run, load
from inr_xai.results import FREE_KEYS, flatten
from inr_xai.trainers import device_of
from inr_xai.types import ImageData, Images, Targets

OWN = "masks"
"""Name of the results of a run's own explanations."""
FREE = (*FREE_KEYS, "data.targets", "data.every")
"""Options that change no value of an image: where things lie, and which images and classes were explained."""
log = logging.getLogger(__name__)


def evaluate_run(
    run: Run,
    bench: Bench,
    folder: Path,
    *,
    metrics: Sequence[str] | None = None,
    maps: Path | None = None,
    name: str = OWN,
    config: Mapping[str, Any] | None = None,
) -> int:
    """Measures a run's explanations, or the maps of a folder, and writes values and tables; how many images failed.

    Args:
        bench: of the run's data, classifier and method (`make_bench`).
        folder: where `<name>.csv`, `<name>.md` and `<name>.tex` go.
        metrics: names; None for all that fit nothing anew.
        maps: of another tool; None for the run's own.
        config: what the bench was made of; None for the run's own configuration.

    Raises:
        UserError: a metric that does not exist or cannot be had here, no maps, or maps under the run's own name.
    """
    if maps is not None and name == OWN:
        raise UserError(
            f"the maps {str(maps)!r} would be stored as {OWN!r}, which is the name of the run's own results; "
            "give --name NAME, another one"
        )
    source: Source = RunSource(run) if maps is None else FolderSource(maps, run)
    if isinstance(source, FolderSource) and source.missing:
        log.warning("%d of the run's %d images have no map in %s", len(source.missing), len(run), maps)
    measures = choose(metrics, masks=source.has_masks, fits=maps is None)
    if metrics is not None:
        require_marks(bench.data, bench.classifier, source.ids, metrics)
    file = folder / f"{name}.csv"
    facts = facts_of(run.info["config"] if config is None else config)
    failures = evaluate(source, replace(bench, facts=facts), measures, file)
    results = Results(file)
    if others := results.rows.keys() - set(source.ids):
        log.warning("%s keeps %d images of earlier that have no explanation here", file, len(others))
    if results.columns:
        table = make_table({name: results}, directions())
        write_bytes(file.with_suffix(".md"), markdown(table).encode())
        write_bytes(file.with_suffix(".tex"), latex(table).encode())
        log.info("\n%s", markdown(table))
    return failures


def facts_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The options of data and classifier that change what is made or measured of an image, as plain values."""
    flat = flatten({group: config[group] for group in ("data", "classifier")})
    return {
        key: value for key, value in flat.items() if not any(key == free or key.startswith(f"{free}.") for free in FREE)
    }


def make_bench(
    data: ImageData, classifier: FrozenClassifier, method: Method, *, device: torch.device, donors: PhotoPool | None
) -> Bench:
    """What a run's explanations are measured with: its own parts. Donors are read once a metric fits anew."""
    return Bench(
        data,
        classifier,
        device,
        seed=method.seed,
        masks_per_forward=method.masks_per_forward,
        explain_with=refit(classifier, method, donors),
    )


def bench_of(run: Run, cfg: DictConfig) -> Bench:
    """The bench that a configuration of the run describes."""
    data, classifier, method = build(cfg.data), build(cfg.classifier), build_method(cfg)
    donors = photo_pool(run.info["donor_pool"], data, classifier) if method.perturbation.needs_donors else None
    return make_bench(data, classifier, method, device=device_of(plain(cfg.trainer)), donors=donors)


def refit(classifier: FrozenClassifier, method: Method, donors: PhotoPool | None) -> ExplainWith:
    """The run's method for another model in the classifier's place: its heatmap of every image."""

    def explain(model: nn.Module, images: Images, targets: Targets) -> Float[Tensor, "b h w"]:
        other = classifier.of(model)
        ids = [str(place) for place in range(len(images))]  # alike for like places: the fit's own noise stays out
        photos = None if donors is None else donors.all()
        fitted = fit_masks(images, targets, ids, other, method, donors=photos)
        if fitted.failures:
            raise UserError(next(iter(fitted.failures.values())))
        return importance_maps(fitted, method, ids, (images.shape[-2], images.shape[-1])).to(images)

    return explain


def configuration(run: Run, overrides: Sequence[str]) -> DictConfig:
    """The run's configuration with some values changed. Raises UserError for a key that it does not have."""
    cfg = OmegaConf.create(run.info["config"])
    OmegaConf.set_struct(cfg, True)
    for override in overrides:
        key, separator, value = override.partition("=")
        if not separator:
            raise UserError(f"{override!r} is no option; give KEY=VALUE, such as data.root=PATH")
        parsed = OmegaConf.from_dotlist([f"value={value}"]).value
        try:
            OmegaConf.update(cfg, key, parsed)
        except (OmegaConfBaseException, ValueError) as error:  # of a place in a list, such as areas.x, a ValueError
            raise UserError(f"{override} names no option of the run; its run.json lists them") from error
    return cfg


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("overrides", nargs="*", help="options of the run to change, such as data.root=PATH")
    parser.add_argument("--metrics", help="names with commas between; default: all that fit nothing anew")
    parser.add_argument("--maps", type=Path, help="folder of another tool's maps, <image_id>.npy or .safetensors")
    parser.add_argument("--name", help="of the results (the maps' folder, or masks)")
    args = parser.parse_intermixed_args(arguments)

    def work() -> int:
        run = load(args.run)
        cfg = configuration(run, args.overrides)
        return evaluate_run(
            run,
            bench_of(run, cfg),
            args.run / "evaluation",
            metrics=args.metrics.split(",") if args.metrics else None,
            maps=args.maps,
            name=args.name or (OWN if args.maps is None else args.maps.resolve().name),
            config=plain(cfg),
        )

    return exit_status(work)


if __name__ == "__main__":
    sys.exit(main())

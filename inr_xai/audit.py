"""What a classifier leans on: the audit of a finished run with several disjoint explanations of each image.

    python -m inr_xai.audit RUN                             the report, printed and written to RUN/audit
    python -m inr_xai.audit RUN RUN2 --area 0.1             of two runs that differ in their seed, at one area
    python -m inr_xai.audit RUN --groups FILE.csv           with the user's own groups of classes (columns class, group)
    python -m inr_xai.audit RUN data.root=PATH              the images have moved

The wrong-target control, without which nothing is claimed, is fitted once, into RUN/audit/control.
"""

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import DictConfig

from inr_xai.assembly import build, photo_pool, plain
from inr_xai.auditing.control import bound, control_configuration
from inr_xai.auditing.figure import draw_audit
from inr_xai.auditing.groups import groups_of
from inr_xai.auditing.reading import Reading, Taken, grown
from inr_xai.auditing.report import Judged, group_csv, group_rows, image_row, markdown
from inr_xai.auditing.run import Bench, regions_of, take
from inr_xai.auditing.verdict import Thresholds, judge
from inr_xai.config import exit_status
from inr_xai.errors import UserError
from inr_xai.evaluate import configuration
from inr_xai.files import format_csv, write_bytes
from inr_xai.render import Run, load
from inr_xai.trainers import device_of

AREA = 0.1
CONTROL = 20
"""Images of the wrong-target control; a 95 % quantile needs as many."""
FOLDER = "audit"
log = logging.getLogger(__name__)

Explain = Callable[[DictConfig], object]
"""Runs a configuration: `inr_xai.runner.run`."""


@dataclass(frozen=True)
class Asked:
    """How to audit.

    Args:
        area: one that was fitted.
        control: images of the wrong-target control.
        figures: whether to draw each image.
        groups: a CSV of the user's; see `groups_of`.
    """

    area: float = AREA
    control: int = CONTROL
    figures: bool = True
    groups: Path | None = None
    thresholds: Thresholds = field(default_factory=Thresholds)


def audit_runs(runs: Sequence[Run], cfg: DictConfig, folder: Path, asked: Asked, *, explain: Explain) -> int:
    """Audits the images that all runs have, and writes the report, its tables and figures; how many failed.

    Args:
        runs: of one configuration but for its seed.
        cfg: of the first.
        folder: where the report goes.
        explain: fits the control.

    Raises:
        UserError: runs without a common image, an area that was not fitted, fewer than two explanations.
    """
    ids = common(runs, cfg, asked)
    data, classifier, device = build(cfg.data), build(cfg.classifier), device_of(plain(cfg.trainer))
    scoring = photo_pool(runs[0].info["scoring_pool"], data, classifier)
    bench = Bench(data, classifier, scoring, device, seed=cfg.seed, masks_per_forward=cfg.masks_per_forward)
    limit = control_bound(cfg, folder, asked, bench, explain=explain)
    judged, failures = [], 0
    groups: dict[int, str] = {}
    for position, sample_id in enumerate(ids):
        log.info("image %d of %d, %s", position + 1, len(ids), sample_id)
        try:
            taken = take(runs, sample_id, bench, area=asked.area, cache=folder / "plays")
        except (UserError, OSError) as error:
            log.warning("%s failed: %s", sample_id, error)
            failures += 1
            continue
        groups = groups or groups_of(data.class_names, classifier.num_classes or 0, asked.groups)
        one = judgement(runs, sample_id, taken, asked, limit, names=data.class_names, groups=groups)
        judged.append(one)
        if asked.figures:
            write_bytes(folder / "figures" / f"{sample_id}.png", figure_of(runs[0], one, bench, asked))
    if judged:
        write_report(judged, folder, asked, runs, limit)
    return failures


def common(runs: Sequence[Run], cfg: DictConfig, asked: Asked) -> list[str]:
    """The images that every run has."""
    if asked.area not in cfg.areas:
        raise UserError(f"area {asked.area:g} was not fitted; the run has {', '.join(f'{one:g}' for one in cfg.areas)}")
    if cfg.explanations == 1:
        raise UserError("an audit needs explanations=2 or more (or auto) of each image; this run has one")
    if cfg.exclusion.mode != "exclude":
        raise UserError("an audit needs disjoint explanations; run with exclusion.mode=exclude")
    ids = sorted(set.intersection(*(set(run) for run in runs)))
    if not ids:
        raise UserError("no image is in all of these runs; audit finished runs of the same images")
    return ids


def control_bound(cfg: DictConfig, folder: Path, asked: Asked, bench: Bench, *, explain: Explain) -> float:
    """What an image's explanations must exceed; fits the control where it is not there."""
    path = folder / "control"
    explain(control_configuration(cfg, images=asked.control, out=path))
    control = load(path)
    found: list[Taken] = []
    for sample_id in list(control)[: asked.control]:
        found.append(take([control], sample_id, bench, area=asked.area, cache=folder / "plays" / "control"))
    if not found:
        raise UserError(f"no image of the wrong-target control could be fitted; see {path / 'failures.csv'}")
    return bound(found)


def judgement(
    runs: Sequence[Run],
    sample_id: str,
    taken: Taken,
    asked: Asked,
    limit: float,
    *,
    names: Sequence[str] | None,
    groups: dict[int, str],
) -> Judged:
    """An image with what is said of it."""
    first = runs[0][sample_id]
    reading = Reading(taken, seed=0)
    chance = [
        float(row["chance"]) for row in first.rows if abs(float(row["area"]) - asked.area) < 1e-9
    ]  # one for each explanation, in their order
    return Judged(
        sample_id,
        first.target,
        names[first.target] if names else str(first.target),
        groups.get(first.target, "other"),
        reading,
        judge(reading, control=limit, thresholds=asked.thresholds),
        chance,
    )


def figure_of(run: Run, one: Judged, bench: Bench, asked: Asked) -> bytes:
    """The picture of an image, with the regions of the first run."""
    sample = bench.data.load(one.sample_id, bench.classifier.preprocessing)
    regions = regions_of(run[one.sample_id], asked.area, seed=bench.seed)[: one.reading.regions]
    truth = None if sample.segmentation is None else grown(sample.segmentation)
    return draw_audit(one, sample.image, regions, truth=truth)


def write_report(judged: Sequence[Judged], folder: Path, asked: Asked, runs: Sequence[Run], limit: float) -> None:
    """The files of the report, which is printed as well."""
    rows = [image_row(one) for one in judged]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    write_bytes(folder / "per_image.csv", format_csv(rows, columns).encode())
    groups = group_rows(judged)
    flat = group_csv(groups)
    write_bytes(
        folder / "groups.csv", format_csv(flat, list(dict.fromkeys(name for row in flat for name in row))).encode()
    )
    facts = {
        "runs": len(runs),
        "area": f"{asked.area:g}",
        "images": len(judged),
        "wrong-target control": f"{asked.control} images; more than {limit:.3f} must be carried for a claim",
    }
    text = markdown(judged, groups, facts=facts)
    write_bytes(folder / "report.md", text.encode())
    log.info("\n%s\neverything is in %s", text, folder)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; the exit status."""
    from inr_xai.runner import run as explain  # late: the runner ends a run with an audit of its own

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "runs", nargs="+", help="folders of finished runs; then options to change, such as data.root=PATH"
    )
    parser.add_argument("--area", type=float, default=AREA, help="of the regions, one that was fitted (%(default)s)")
    parser.add_argument("--control", type=int, default=CONTROL, metavar="N", help="images of the control (%(default)s)")
    parser.add_argument("--groups", type=Path, help="CSV with the columns class, group")
    parser.add_argument("--no-figures", action="store_true", help="draw nothing")
    args = parser.parse_intermixed_args(arguments)
    overrides = [one for one in args.runs if "=" in one]
    paths = [Path(one) for one in args.runs if "=" not in one]
    asked = Asked(args.area, args.control, not args.no_figures, args.groups)

    def work() -> int:
        if not paths:
            raise UserError("name the folder of a finished run")
        runs = [load(path) for path in paths]
        return audit_runs(runs, configuration(runs[0], overrides), paths[0] / FOLDER, asked, explain=explain)

    return exit_status(work)


if __name__ == "__main__":
    sys.exit(main())

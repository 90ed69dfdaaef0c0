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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import DictConfig

from inr_xai.assembly import build, photo_pool, plain
from inr_xai.auditing.control import bound, control_configuration
from inr_xai.auditing.figure import draw_audit
from inr_xai.auditing.groups import groups_of, named
from inr_xai.auditing.reading import Reading, Taken
from inr_xai.auditing.report import Judged, group_csv, group_rows, image_row, markdown
from inr_xai.auditing.run import Bench, object_of, regions_of, take
from inr_xai.auditing.verdict import Thresholds, judge
from inr_xai.config import exit_status
from inr_xai.errors import UserError
from inr_xai.evaluate import configuration
from inr_xai.files import format_csv, write_bytes
from inr_xai.render import Explained, Run, load
from inr_xai.results import differences
from inr_xai.trainers import device_of

AREA = 0.1
CONTROL = 20
"""Images of the wrong-target control; a 95 % quantile needs as many."""
FOLDER = "audit"
OWN = ("seed ", "name ", "data.every ")
"""What runs of one audit may differ in."""
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
        UserError: runs without a common image or of different data, an area that was not fitted, fewer than two
            explanations, groups of classes that do not exist.
    """
    ids = common(runs, asked)
    data, classifier, device = build(cfg.data), build(cfg.classifier), device_of(plain(cfg.trainer))
    groups = groups_of(data.class_names, classifier.count_classes(), asked.groups)
    scoring = photo_pool(runs[0].info["scoring_pool"], data, classifier)
    bench = Bench(data, classifier, scoring, device, seed=cfg.seed, masks_per_forward=cfg.masks_per_forward)
    control = control_takes(cfg, folder, asked, bench, explain=explain)
    limit = bound(control)
    judged: list[Judged] = []
    failures = 0
    for position, sample_id in enumerate(ids):
        log.info("image %d of %d, %s", position + 1, len(ids), sample_id)
        try:
            taken = take(runs, sample_id, bench, area=asked.area, cache=folder / "plays")
            found = [run[sample_id] for run in runs]
            one = judgement(found, taken, asked, limit=limit, names=data.class_names, groups=groups)
            if asked.figures:
                draw(runs[0], one, bench, asked, folder / "figures")
            judged.append(one)
        except (UserError, OSError) as error:
            log.warning("%s failed: %s", sample_id, error)
            failures += 1
    if not judged:
        raise UserError(f"none of {len(ids)} images could be audited; the log says why of each")
    write_report(
        judged,
        folder,
        facts={
            "runs": len(runs),
            "area": f"{asked.area:g}",
            "images": f"{len(judged)}" + (f", and {failures} that failed (see the log)" if failures else ""),
            "wrong-target control": f"{len(control)} images; more than {limit:.3f} must be carried for a claim",
        },
    )
    return failures


def common(runs: Sequence[Run], asked: Asked) -> list[str]:
    """The images that every run has, where the runs are such as can be audited."""
    if asked.control < 1:
        raise UserError(f"control={asked.control} must be a number of images, at least 1")
    first = runs[0].info["config"]
    for run in runs:
        config = run.info["config"]
        if asked.area not in config["areas"]:
            listed = ", ".join(f"{one:g}" for one in config["areas"])
            raise UserError(f"area {asked.area:g} was not fitted; the run has {listed}")
        if config["explanations"] == 1:
            raise UserError("an audit needs explanations=2 or more (or auto) of each image; this run has one")
        if config["exclusion"]["mode"] != "exclude":
            raise UserError("an audit needs disjoint explanations; run with exclusion.mode=exclude")
        if changed := [line for line in differences(first, config) if not line.startswith(OWN)]:
            raise UserError(f"these runs differ in {', '.join(changed)}; audit runs that differ in their seed alone")
    seeds = [run.info["config"]["seed"] for run in runs]
    if len(set(seeds)) < len(seeds):
        raise UserError(f"two of these runs have one seed ({', '.join(map(str, seeds))}); a fit counts once")
    ids = sorted(set.intersection(*(set(run) for run in runs)))
    if not ids:
        raise UserError("no image is in all of these runs; audit finished runs of the same images")
    return ids


def control_takes(cfg: DictConfig, folder: Path, asked: Asked, bench: Bench, *, explain: Explain) -> list[Taken]:
    """The images of the control, which is fitted where it is not there."""
    # Over all the data: in sorted order the first images may be of one class.
    every = max(1, len(bench.data.ids) // max(asked.control, CONTROL))
    path = folder / ("control" if every == 1 else f"control_every_{every}")
    explain(control_configuration(cfg, images=asked.control, out=path, every=every))
    control = load(path)
    there = set(control)  # more than is asked for, where an audit with a larger control went before
    found: list[Taken] = []
    for sample_id in [one for one in bench.data.ids[::every][: asked.control] if one in there]:
        try:
            found.append(take([control], sample_id, bench, area=asked.area, cache=folder / "plays" / "control"))
        except (UserError, OSError) as error:
            log.warning("the control does without %s: %s", sample_id, error)
    if not found:
        raise UserError(f"the wrong-target control has no image; {path / 'failures.csv'} and the log say why")
    return found


def judgement(
    found: Sequence[Explained],
    taken: Taken,
    asked: Asked,
    *,
    limit: float,
    names: Sequence[str] | None,
    groups: dict[int, str],
) -> Judged:
    """An image with what is said of it."""
    reading = Reading(taken, seed=0)
    chances = [
        [float(row["chance"]) for row in one.rows if abs(float(row["area"]) - asked.area) < 1e-9] for one in found
    ]  # of each fit one for each explanation, in their order
    return Judged(
        found[0].record.sample_id,
        found[0].target,
        named(names, found[0].target),
        groups.get(found[0].target, "other"),
        reading,
        judge(reading, control=limit, thresholds=asked.thresholds),
        [sum(own) / len(own) for own in zip(*(one[: reading.regions] for one in chances), strict=True)],
    )


def draw(run: Run, one: Judged, bench: Bench, asked: Asked, folder: Path) -> None:
    """Writes the figure of an image, with the regions of the first run."""
    sample = bench.data.load(one.sample_id, bench.classifier.preprocessing)
    regions = regions_of(run[one.sample_id], asked.area, seed=bench.seed)[: one.reading.regions]
    truth = object_of(sample)
    write_bytes(folder / f"{one.sample_id}.png", draw_audit(one, sample.image, regions, truth=truth))


def write_report(judged: Sequence[Judged], folder: Path, *, facts: Mapping[str, object]) -> None:
    """The files of the report, which is printed as well."""
    rows = [image_row(one) for one in judged]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    write_bytes(folder / "per_image.csv", format_csv(rows, columns).encode())
    groups = group_rows(judged)
    flat = group_csv(groups)
    write_bytes(
        folder / "groups.csv", format_csv(flat, list(dict.fromkeys(name for row in flat for name in row))).encode()
    )
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
    overrides = [one for one in args.runs if "=" in one and not Path(one).is_dir()]
    paths = [Path(one) for one in args.runs if one not in overrides]
    asked = Asked(args.area, args.control, not args.no_figures, args.groups)

    def work() -> int:
        if not paths:
            raise UserError("name the folder of a finished run")
        runs = [load(path) for path in paths]
        cfg = configuration(runs[0], overrides)
        if changed := differences(runs[0].info["config"], plain(cfg)):
            raise UserError(f"an audit is of the run as it was; leave out what changes {', '.join(changed)}")
        return audit_runs(runs, cfg, paths[0] / FOLDER, asked, explain=explain)

    return exit_status(work)


if __name__ == "__main__":
    sys.exit(main())

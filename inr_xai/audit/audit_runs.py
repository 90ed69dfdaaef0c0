"""The audit of finished runs: the control, the games of each image, what is said of it, and the report.

Nothing is claimed without the wrong-target control, which is fitted once, into `control` of the audit's folder.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import DictConfig

from inr_xai.audit.control import bound, control_configuration
from inr_xai.audit.estimates import AuditedImage, Estimates
from inr_xai.audit.figure import draw_audit
from inr_xai.audit.groups import groups_of, named
from inr_xai.audit.measure import AuditContext, measure_image, object_of, regions_of
from inr_xai.audit.report import ImageReport, group_csv, group_rows, image_row, markdown
from inr_xai.audit.verdict import Thresholds, judge
from inr_xai.errors import UserError
from inr_xai.fitting.mask_module import device_of
from inr_xai.instantiate import instantiate, photo_pool, plain
from inr_xai.runner import explain
from inr_xai.runs.files import format_csv, write_bytes
from inr_xai.runs.folder import differences
from inr_xai.runs.load import Run, load
from inr_xai.runs.loop import each_image
from inr_xai.types import Row

AREA = 0.1
CONTROL = 20
"""Images of the wrong-target control; a 95 % quantile needs as many."""
FOLDER = "audit"
OWN = ("seed ", "name ", "data.every ")
"""What runs of one audit may differ in."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AuditOptions:
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


def audit_runs(runs: Sequence[Run], cfg: DictConfig, folder: Path, options: AuditOptions) -> int:
    """Audits the images that all runs have, and writes the report, its tables and figures; how many failed.

    Args:
        runs: of one configuration but for its seed.
        cfg: of the first.
        folder: where the report goes.

    Raises:
        UserError: runs without a common image or of different data, an area that was not fitted, fewer than two
            explanations, groups of classes that do not exist.
    """
    ids = require_auditable(runs, options)
    data, classifier, device = instantiate(cfg.data), instantiate(cfg.classifier), device_of(plain(cfg.trainer))
    groups = groups_of(data.class_names, classifier.count_classes(), options.groups)
    scoring = photo_pool(runs[0].info["scoring_pool"], data, classifier)
    context = AuditContext(data, classifier, scoring, device, seed=cfg.seed, masks_per_forward=cfg.masks_per_forward)
    control = audited_control(cfg, folder, options, context)
    limit = bound(control)
    audit = Audit(runs, context, folder, options, limit=limit, groups=groups)
    failures = each_image(ids, audit.add_image, note=lambda sample_id, reason: None)  # the log says why
    if not audit.reports:
        raise UserError(f"none of {len(ids)} images could be audited; the log says why of each")
    write_report(
        audit.reports,
        folder,
        facts={
            "runs": len(runs),
            "area": f"{options.area:g}",
            "images": f"{len(audit.reports)}" + (f", and {failures} that failed (see the log)" if failures else ""),
            "wrong-target control": f"{len(control)} images; more than {limit:.3f} must be carried for a claim",
        },
    )
    return failures


def require_auditable(runs: Sequence[Run], options: AuditOptions) -> list[str]:
    """The images that every run has. Raises UserError where the runs are not such as can be audited."""
    if options.control < 1:
        raise UserError(f"control={options.control} must be a number of images, at least 1")
    first = runs[0].info["config"]
    for run in runs:
        config = run.info["config"]
        if options.area not in config["areas"]:
            listed = ", ".join(f"{one:g}" for one in config["areas"])
            raise UserError(f"area {options.area:g} was not fitted; the run has {listed}")
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


def audited_control(cfg: DictConfig, folder: Path, options: AuditOptions, context: AuditContext) -> list[AuditedImage]:
    """The images of the control, which is fitted where it is not there."""
    # Over all the data: in sorted order the first images may be of one class.
    every = max(1, len(context.data.ids) // max(options.control, CONTROL))
    path = folder / ("control" if every == 1 else f"control_every_{every}")
    explain(control_configuration(cfg, images=options.control, out=path, every=every))
    control = load(path)
    fitted = set(control)  # more than is asked for, where an audit with a larger control went before
    ids = [sample_id for sample_id in context.data.ids[::every][: options.control] if sample_id in fitted]
    images: list[AuditedImage] = []

    def add(sample_id: str, place: str) -> int:
        cache = folder / "plays" / "control"
        images.append(measure_image([control], sample_id, context, area=options.area, cache=cache))
        return 0

    each_image(ids, add, note=lambda sample_id, reason: log.warning("the control does without %s", sample_id))
    if not images:
        raise UserError(f"the wrong-target control has no image; {path / 'failures.csv'} and the log say why")
    return images


class Audit:
    """The audit of one image after another.

    Args:
        limit: what the control's explanations reach (`bound`).
        groups: class index -> its group.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        context: AuditContext,
        folder: Path,
        options: AuditOptions,
        *,
        limit: float,
        groups: Mapping[int, str],
    ):
        self._runs, self._context, self._folder, self._options = runs, context, folder, options
        self._limit, self._groups = limit, groups
        self.reports: list[ImageReport] = []

    def add_image(self, sample_id: str, place: str) -> int:
        """Measures and judges an image, and draws it where asked; no failures."""
        log.info("%s", place)
        cache = self._folder / "plays"
        image = measure_image(self._runs, sample_id, self._context, area=self._options.area, cache=cache)
        report = self._report(sample_id, image)
        if self._options.figures:
            self._draw(report)
        self.reports.append(report)
        return 0

    def _report(self, sample_id: str, image: AuditedImage) -> ImageReport:
        """An image with what is said of it."""
        estimates, fits = Estimates(image, seed=0), [run[sample_id] for run in self._runs]
        chances = [
            [float(row["chance"]) for row in fit.rows if abs(float(row["area"]) - self._options.area) < 1e-9]
            for fit in fits
        ]  # of each fit one for each explanation, in their order
        target = fits[0].target
        return ImageReport(
            fits[0].record.sample_id,
            target,
            named(self._context.data.class_names, target),
            self._groups.get(target, "other"),
            estimates,
            judge(estimates, control=self._limit, thresholds=self._options.thresholds),
            [sum(values) / len(values) for values in zip(*(row[: estimates.regions] for row in chances), strict=True)],
        )

    def _draw(self, report: ImageReport) -> None:
        """Writes the figure of an image, with the regions of the first run."""
        sample = self._context.data.load(report.sample_id, self._context.classifier.preprocessing)
        explained = self._runs[0][report.sample_id]
        regions = regions_of(explained, self._options.area, seed=self._context.seed)[: report.estimates.regions]
        figure = draw_audit(report, sample.image, regions, truth=object_of(sample))
        write_bytes(self._folder / "figures" / f"{report.sample_id}.png", figure)


def write_report(reports: Sequence[ImageReport], folder: Path, *, facts: Mapping[str, object]) -> None:
    """The files of the report, which is printed as well."""
    groups = group_rows(reports)
    for name, rows in (("per_image.csv", [image_row(report) for report in reports]), ("groups.csv", group_csv(groups))):
        write_bytes(folder / name, format_csv(rows, columns_of(rows)).encode())
    text = markdown(reports, groups, facts=facts)
    write_bytes(folder / "report.md", text.encode())
    log.info("\n%s\neverything is in %s", text, folder)


def columns_of(rows: Sequence[Row]) -> list[str]:
    """Every column that some row has, in the order in which they appear."""
    return list(dict.fromkeys(name for row in rows for name in row))

"""The audit of finished runs: it fits the control, plays the games of each image, judges them and writes the report.

Nothing is claimed without the wrong-target control. It is fitted once, into the folder `control` of the audit.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import DictConfig

from inr_xai.audit.control import control_limit, measure_control
from inr_xai.audit.estimates import AuditedImage, Estimates
from inr_xai.audit.figure import draw_audit
from inr_xai.audit.groups import class_groups
from inr_xai.audit.measure import AuditContext, hard_regions, measure_image, object_with_seam
from inr_xai.audit.report import ImageReport, flatten_groups, format_report, group_rows, image_row
from inr_xai.audit.verdict import Thresholds, judge
from inr_xai.classifier.probe import examine_alone
from inr_xai.data.labels import class_label
from inr_xai.data.names import id_file
from inr_xai.errors import UserError
from inr_xai.fitting.trainers import device_of
from inr_xai.instantiate import build_data_and_classifier, make_photo_pool, plain
from inr_xai.limits import check_audit, require_probabilities
from inr_xai.runs.files import all_columns, format_csv, write_bytes
from inr_xai.runs.folder import differences
from inr_xai.runs.load import Run
from inr_xai.runs.loop import each_image

AREA = 0.1
"""The area whose regions are audited by default."""
CONTROL_IMAGES = 20
"""Images of the wrong-target control by default; a 95 % quantile needs as many."""
FOLDER = "audit"
"""Folder of the audit within the first run's."""
GAMES_FOLDER = "plays"
"""Folder of the stored games within the audit's; finished audits have it under this name."""
MAY_DIFFER = ("seed ", "name ", "data.every ")
"""Options in which the runs of one audit may differ, as `differences` writes them."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AuditOptions:
    """The options of an audit.

    Args:
        area: the area of the regions that are audited, one of the areas fitted.
        control: the number of images of the wrong-target control.
        figures: whether to draw each image.
        groups: a CSV of the user's with groups of classes; see `class_groups`.
        thresholds: the limits between one verdict and the next.
    """

    area: float = AREA
    control: int = CONTROL_IMAGES
    figures: bool = True
    groups: Path | None = None
    thresholds: Thresholds = field(default_factory=Thresholds)


def audit_runs(runs: Sequence[Run], cfg: DictConfig, folder: Path, options: AuditOptions) -> int:
    """Audits the images that all runs have, writes the report with its tables and figures, and returns how many failed.

    Args:
        runs: finished runs of one configuration, which may differ in the seed.
        cfg: the configuration of the first run.
        folder: the folder of the audit, to which the report goes.

    Raises:
        UserError: the runs have no common image or different data, the area was not fitted, an image has fewer than two
            explanations, or the groups name classes that do not exist.
    """
    sample_ids = require_auditable(runs, options)
    (data, classifier), device = build_data_and_classifier(cfg), device_of(plain(cfg.trainer))
    require_probabilities(classifier.head, "an audit")
    examine_alone(classifier, device)
    groups = class_groups(classifier.class_names, classifier.count_classes(), options.groups)
    scoring = make_photo_pool(runs[0].info["scoring_pool"], data, classifier)
    context = AuditContext(data, classifier, scoring, device, seed=cfg.seed, masks_per_forward=cfg.masks_per_forward)
    # Every n-th image, so that the control is spread over the data: in sorted order the first may be of one class.
    every = max(1, len(data.ids) // max(options.control, CONTROL_IMAGES))
    control = measure_control(
        cfg,
        context,
        area=options.area,
        images=options.control,
        every=every,
        out=folder / ("control" if every == 1 else f"control_every_{every}"),
        cache=folder / GAMES_FOLDER / "control",
    )
    limit = control_limit(control)
    auditor = Auditor(runs, context, folder, options, limit=limit, groups=groups)
    failures = each_image(sample_ids, auditor.add_image, note=lambda sample_id, reason: None)  # the log has the reason
    if not auditor.reports:
        raise UserError(f"none of {len(sample_ids)} images could be audited; the log says why of each")
    write_report(
        auditor.reports,
        folder,
        facts={
            "runs": len(runs),
            "area": f"{options.area:g}",
            "images": f"{len(auditor.reports)}" + (f", and {failures} that failed (see the log)" if failures else ""),
            "wrong-target control": f"{len(control)} images; more than {limit:.3f} must be carried for a claim",
        },
    )
    return failures


def require_auditable(runs: Sequence[Run], options: AuditOptions) -> list[str]:
    """Returns the ids of the images that every run has. Raises UserError if the runs cannot be audited together."""
    first = runs[0].config
    for run in runs:
        config = run.config
        required = {
            "areas": config["areas"],
            "explanations": config["explanations"],
            "mode": config["exclusion"]["mode"],
        }
        require_probabilities(config.get("classifier", {}).get("head"), "an audit")
        check_audit(options.area, options.control, **required)
        if changed := [line for line in differences(first, config) if not line.startswith(MAY_DIFFER)]:
            raise UserError(f"these runs differ in {', '.join(changed)}; audit runs that differ in their seed alone")
    seeds = [run.config["seed"] for run in runs]
    if len(set(seeds)) < len(seeds):
        raise UserError(f"two of these runs have one seed ({', '.join(map(str, seeds))}); a fit counts once")
    sample_ids = sorted(set.intersection(*(set(run) for run in runs)))
    if not sample_ids:
        raise UserError("no image is in all of these runs; audit finished runs of the same images")
    return sample_ids


class Auditor:
    """Audits one image after another, and collects their reports.

    Args:
        folder: the folder of the audit, to which stored games and figures go.
        limit: the contribution that the explanations of an image must exceed (`control_limit`).
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
        """Measures, judges and (if the options say so) draws an image; returns 0, the number of failures."""
        log.info("%s", place)
        cache = self._folder / GAMES_FOLDER
        image = measure_image(self._runs, sample_id, self._context, area=self._options.area, cache=cache)
        report = self._make_report(sample_id, image)
        if self._options.figures:
            self._draw(report)
        self.reports.append(report)
        return 0

    def _make_report(self, sample_id: str, image: AuditedImage) -> ImageReport:
        """Returns the report of an image: its estimates and its verdict."""
        estimates, fits = Estimates(image, seed=0), [run[sample_id] for run in self._runs]
        chances = [
            [float(row["chance"]) for row in fit.rows if abs(float(row["area"]) - self._options.area) < 1e-9]
            for fit in fits
        ]  # for each fit, one for each explanation in their order
        target = fits[0].target
        return ImageReport(
            fits[0].record.sample_id,
            target,
            class_label(self._context.classifier.class_names, target),
            self._groups.get(target, "other"),
            estimates,
            judge(estimates, control=self._limit, thresholds=self._options.thresholds),
            [sum(values) / len(values) for values in zip(*(row[: estimates.regions] for row in chances), strict=True)],
        )

    def _draw(self, report: ImageReport) -> None:
        """Writes the figure of an image, with the regions of the first run."""
        sample = self._context.data.load(report.sample_id, self._context.classifier.preprocessing)
        explained = self._runs[0][report.sample_id]
        regions = hard_regions(explained, self._options.area, seed=self._context.seed)[: report.estimates.regions]
        figure = draw_audit(report, sample.image, regions, truth=object_with_seam(sample))
        write_bytes(id_file(self._folder / "figures", report.sample_id, ".png"), figure)


def write_report(reports: Sequence[ImageReport], folder: Path, *, facts: Mapping[str, object]) -> None:
    """Writes the files of the report, and logs its text.

    Args:
        facts: name -> what the report says of the audit as a whole.
    """
    groups = group_rows(reports)
    tables = {"per_image.csv": [image_row(report) for report in reports], "groups.csv": flatten_groups(groups)}
    for name, rows in tables.items():
        write_bytes(folder / name, format_csv(rows, all_columns(rows)).encode())
    text = format_report(reports, groups, facts=facts)
    write_bytes(folder / "report.md", text.encode())
    log.info("\n%s\neverything is in %s", text, folder)

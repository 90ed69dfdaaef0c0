"""A run's results at W&B, all from the files of its folder: keys, charts, histograms, tables and sets of files.

They are logged when the run ends, and again when it has been evaluated or audited.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from glob import escape
from pathlib import Path
from typing import Any

from inr_xai.loggers import keys
from inr_xai.loggers.charts import AREA_COLUMNS, LOSS_COLUMNS, lines_against_area, lines_of_losses
from inr_xai.loggers.files import FileSet
from inr_xai.loggers.gallery import Load, gallery_images, gallery_table
from inr_xai.loggers.measured import AUDITED, OWN, audit_keys, evaluation_keys, gallery_cells
from inr_xai.loggers.opening import open_wandb
from inr_xai.loggers.settings import WandbSettings
from inr_xai.loggers.wandb_run import WandbRun
from inr_xai.runs.folder import RunFolder
from inr_xai.seeding import sha256
from inr_xai.types import Row

EVALUATION, AUDIT, EXPLANATIONS = "evaluation", "audit", "explanations"
"""The sets of files, by their kind."""
FEW_FILES = ("run.json", "summary.json", "per_image.csv", "failures.csv")
MOST_SIGNS = 64
"""Of a name in the id of a run, which W&B takes up to 128 signs long."""
JOB_TYPES = {EVALUATION: "evaluate", AUDIT: "audit"}


def log_results(wandb: WandbRun, folder: RunFolder, rows: Collection[Row], load: Load | None) -> None:
    """Logs all that W&B shows of a run's explanations, except for the losses.

    Args:
        rows: the scores of the run, those of an image one after another.
        load: returns an image of the run; None if its images are not here.
    """
    config, summary = folder.read_run()["config"], folder.read_summary()
    images = gallery_images(rows, config["areas"])
    more = gallery_cells(folder.path)
    shown = wandb.settings.images
    columns, lines = gallery_table(images, folder, load, seed=config["seed"], pictures=shown, more=more)
    if lines:
        wandb.log_table(keys.GALLERY, columns, lines)
    points = lines_against_area(summary, config["areas"])
    if points:
        wandb.log_lines(keys.AGAINST_AREA, AREA_COLUMNS, points, title="Scores against area, parts of p")
    wandb.log_histograms(_histograms(rows), images_done=len(images))
    if failures := folder.read_failures():
        wandb.log_table(keys.FAILURES, ["image", "reason"], [list(item) for item in failures.items()])
    wandb.summary(
        keys.summary_keys(summary, config["sweep_metric"])
        | evaluation_keys(folder.path / OWN)
        | audit_keys(folder.path / AUDITED)
    )


def log_losses(wandb: WandbRun, folder: RunFolder) -> None:
    """Logs the losses by step as one chart, with a line for each explanation."""
    if points := lines_of_losses(folder.path / "curves.csv"):
        wandb.log_lines(keys.LOSS, LOSS_COLUMNS, points, title="Loss by step, mean over images")


def log_explanations(wandb: WandbRun, folder: RunFolder, digests: Mapping[str, str]) -> None:
    """Logs the masks files and the tables of a run.

    Args:
        digests: those of the classifier and of the data, which the metadata names.
    """
    names = [*FEW_FILES, *(name for name, _ in folder.images.files())]
    log_files(wandb, EXPLANATIONS, {name: folder.path / name for name in names}, digests)


def log_files(wandb: WandbRun, kind: str, files: Mapping[str, Path], digests: Mapping[str, str]) -> None:
    """Logs a set of files, of which some may be missing; a job of a sweep is named by its options."""
    if not any(file.is_file() for file in files.values()):
        return
    wandb.log_files(FileSet(kind, files, {"digests": dict(digests)}, [wandb.settings.name or ""]))


def log_measurements(
    kinds: Sequence[str],
    settings: WandbSettings,
    folder: RunFolder,
    rows: Collection[Row],
    load: Load | None,
    *,
    digests: Mapping[str, str],
    shard: tuple[int, int],
) -> None:
    """Logs what was measured of a run's explanations into its W&B run, which is continued.

    Args:
        kinds: what was measured: EVALUATION, AUDIT or both, and EXPLANATIONS if no other W&B run has them.
        rows, load: as in `log_results`.
        shard: the shard whose W&B run is continued.
    """
    facts = folder.read_run()
    wandb = open_wandb(
        settings,
        save_dir=folder.path,
        run_id=facts["wandb_id"],
        name=facts["config"]["name"],
        config=wandb_config(facts["config"], digests),
        shard=shard,
        tags=tags_of(facts["config"]),
        before=called_before(facts),
    )
    if wandb is None:
        return
    try:
        log_results(wandb, folder, rows, load)
        log_losses(wandb, folder)
        for kind in kinds:
            if kind == EXPLANATIONS:
                log_explanations(wandb, folder, digests)
            else:
                log_files(wandb, kind, _tables(folder.path / kind), digests)
    finally:
        wandb.finish()


def log_beside(
    kind: str,
    name: str,
    settings: WandbSettings,
    folder: RunFolder,
    *,
    digests: Mapping[str, str],
    stem: str = OWN.stem,
) -> None:
    """Logs what was measured of something else than a run's own explanations, as a W&B run in the group of the run.

    Args:
        kind: EVALUATION, of another tool's maps of the run's images, or AUDIT, of several runs.
        name: names the results at W&B, and with the run the W&B run.
        stem: the name of the files of an evaluation, without their endings.
    """
    facts = folder.read_run()
    config, run_id = facts["config"], facts["wandb_id"]
    wandb = open_wandb(
        settings.beside(called_before(facts)[1] or f"{config['name']}-{run_id}", name),
        save_dir=folder.path,
        run_id=f"{run_id}-{kind}-{id_part(name)}",
        name=name,
        config=wandb_config(config, digests),
        job_type=JOB_TYPES[kind],
        tags=tags_of(config),
    )
    if wandb is None:
        return
    try:
        if kind == EVALUATION:
            wandb.summary(evaluation_keys(folder.path / kind / f"{stem}.csv"))
        else:
            wandb.summary(audit_keys(folder.path / AUDITED))
        log_files(wandb, kind, _tables(folder.path / kind, stem if kind == EVALUATION else None), digests)
    finally:
        wandb.finish()


def called_before(facts: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Returns W&B's name and group of the run, as run.json holds them: later sessions may not have the variables."""
    return facts.get("wandb_name"), facts.get("wandb_group")


def wandb_config(config: Mapping[str, Any], digests: Mapping[str, str]) -> dict[str, Any]:
    """Returns the configuration that W&B gets of a run, with the digests of what it explains."""
    return {**config, "digests": dict(digests)}


def tags_of(config: Mapping[str, Any]) -> list[str]:
    """Returns what W&B's runs are tagged with: the classifier and the data set.

    >>> tags_of({"classifier": {"_target_": "inr_xai.classifier.timm_model", "name": "vit"}, "data": {}})
    ['vit']
    """
    nodes = (config.get("classifier") or {}, config.get("data") or {})
    names = (str(node.get("name") or "") or str(node.get("_target_") or "").rpartition(".")[2] for node in nodes)
    return [name for name in names if name]


def id_part(name: str) -> str:
    """Returns a name with the signs alone that W&B allows in the id of a run; a changed one ends with its hash.

    >>> id_part("gradcam"), id_part("layer 4, a")
    ('gradcam', 'layer-4-a-d9f07b')
    """
    allowed = re.sub(r"[^A-Za-z0-9_.=+-]+", "-", name)[:MOST_SIGNS].strip("-")
    return name if allowed == name else f"{allowed}-{sha256(name.encode()).hexdigest()[:6]}"


def _tables(folder: Path, stem: str | None = None) -> dict[str, Path]:
    """Returns the tables and reports in a folder, by their names; those of one stem, or all."""
    pattern = "*" if stem is None else escape(stem)
    files = [file for suffix in ("csv", "md", "tex") for file in sorted(folder.glob(f"{pattern}.{suffix}"))]
    return {file.name: file for file in files}


def _histograms(rows: Collection[Row]) -> dict[str, list[float]]:
    """Returns the values of explanation 1, one for each image and area, by the key of their histogram."""
    values: dict[str, list[float]] = {f"histograms/{column}": [] for column in keys.HISTOGRAMS}
    for row in rows:
        if int(row["explanation"]) == 1:
            for column in keys.HISTOGRAMS:
                if row.get(column) is not None:
                    values[f"histograms/{column}"].append(float(row[column]))
    return values

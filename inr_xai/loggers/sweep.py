"""A multirun at W&B: a run of its own with the table of its jobs, their bars and the lines of parallel coordinates."""

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image as PillowImage

from inr_xai.columns import P_FULL, less_is_better
from inr_xai.loggers.keys import SWEEP_BARS, SWEEP_PARALLEL, SWEEP_TABLE
from inr_xai.loggers.opening import open_wandb
from inr_xai.loggers.settings import WandbSettings
from inr_xai.loggers.wandb_run import WandbRun
from inr_xai.metrics.statistics.bootstrap import Interval, mean_interval, ratio_of_means
from inr_xai.types import Cell

if TYPE_CHECKING:
    from matplotlib.figure import Figure

JOB_TYPE = "sweep"
DPI = 110
SCORES = ("deletion_hard_mean_rel/k1", "grayness/k1", "seconds_per_image")
"""Columns of the table that have an axis among the parallel coordinates, beside the options and the metric."""


def log_sweep(
    columns: Mapping[str, Sequence[Cell]],
    settings: WandbSettings,
    *,
    options: Sequence[str],
    folders: Sequence[Path],
    metric: str | None,
    best: int | None,
    folder: Path,
    run_id: str,
) -> None:
    """Logs the jobs of a multirun to a W&B run, which is continued if it is there already.

    The best job and its value go to the run's summary.

    Args:
        columns: the table, name -> a cell for each job; "job" is the first.
        settings: the W&B settings of the jobs, group included.
        options: the columns that are options in which the jobs differ.
        folders: the run folder of each job.
        metric: the key of summary.json by which the jobs are ranked; None if it is unknown.
        best: the place of the best job; None if no two jobs have a value.
        folder: the multirun's folder; W&B makes its folder `wandb` there.
    """
    name = folder.resolve().name
    run = open_wandb(
        settings.beside(name),
        save_dir=folder,
        run_id=run_id,
        name=name,
        config={"sweep_metric": metric, "jobs": len(folders), "options": list(options)},
        job_type=JOB_TYPE,
    )
    if run is None:
        return
    try:
        _log_jobs(run, columns, options, folders, metric, best)
    finally:
        run.finish()


def _log_jobs(
    run: WandbRun,
    columns: Mapping[str, Sequence[Cell]],
    options: Sequence[str],
    folders: Sequence[Path],
    metric: str | None,
    best: int | None,
) -> None:
    """Logs what `log_sweep` says, to an open run."""
    intervals = [None if metric is None else metric_interval(job / "per_image.csv", metric) for job in folders]
    ends = {} if metric is None else {f"{metric} {end}": [_end(i, end) for i in intervals] for end in ("low", "high")}
    table = {**columns, **ends}
    run.log_table(SWEEP_TABLE, list(table), list(zip(*table.values(), strict=True)))
    if metric is not None and metric in columns:
        if best is not None:
            run.summary({"best/job": columns["job"][best], f"best/{metric}": columns[metric][best]})
        run.log_charts(SWEEP_BARS, {metric: _bars(columns, options, metric, intervals, best)})
        run.log_charts(SWEEP_PARALLEL, {"options and scores of each job": _parallel(columns, options, metric, best)})


def metric_interval(file: Path, metric: str) -> Interval | None:
    """Returns a key of summary.json, with its bootstrap interval over images, from the scores of a run.

    Args:
        file: per_image.csv of the run.
        metric: `<column>/k<k>`, the mean over areas, or `<column>/k<k>/a<area>`.

    Returns:
        None if the file is not there, or the key is no mean of its scores.
    """
    match = re.fullmatch(r"(\w+?)(_rel)?/k(\d+)(?:/a(.+))?", metric)
    if match is None or not file.is_file():
        return None
    column, relative, k, area = match.groups()
    values: dict[str, list[tuple[float, float]]] = {}
    with file.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            if row.get("explanation") == k and (area is None or f"{float(row['area']):g}" == area):
                pair = (float(row.get(column) or "nan"), float(row.get(P_FULL) or "nan"))
                values.setdefault(row["sample_id"], []).append(pair)
    means = torch.tensor([np.mean(pairs, axis=0).tolist() for pairs in values.values()], dtype=torch.float64)
    finite = means[means.isfinite().all(1)] if len(means) else means
    if not len(finite) or (relative and bool((finite[:, 1] < 0).any())):
        return None
    return ratio_of_means(finite[:, 0], finite[:, 1]) if relative else mean_interval(finite[:, 0])


def _end(interval: Interval | None, end: str) -> float | None:
    value = math.nan if interval is None else interval.low if end == "low" else interval.high
    return value if math.isfinite(value) else None


def _bars(
    columns: Mapping[str, Sequence[Cell]],
    options: Sequence[str],
    metric: str,
    intervals: Sequence[Interval | None],
    best: int | None,
) -> np.ndarray:
    """Returns the bar chart of the jobs that have a value."""
    from inr_xai.figures.jobs import draw_bars  # late: it brings matplotlib

    places = _shown(columns[metric], metric)
    names = [", ".join(f"{option}={columns[option][place]}" for option in options) for place in places]
    values = []
    for place in places:
        interval = intervals[place]
        ends = (math.nan, math.nan) if interval is None else (interval.low, interval.high)
        values.append((_number(columns[metric][place]), *ends))
    named = [name or f"job {columns['job'][place]}" for name, place in zip(names, places, strict=True)]
    return _pixels(draw_bars(named, values, metric=metric, best=places.index(best) if best in places else None))


def _parallel(
    columns: Mapping[str, Sequence[Cell]], options: Sequence[str], metric: str, best: int | None
) -> np.ndarray:
    """Returns the chart with an axis for each option and score that differs between the jobs."""
    from inr_xai.figures.jobs import draw_parallel

    places = _shown(columns[metric], metric)
    names = [*options, *(name for name in SCORES if name in columns and name != metric), metric]
    chosen = {name: [columns[name][place] for place in places] for name in names}
    return _pixels(draw_parallel(chosen, colour_by=metric, best=places.index(best) if best in places else None))


def _shown(values: Sequence[Cell], metric: str) -> list[int]:
    """Returns the places of the jobs that are drawn, in their order: those with a value, the best ones of many."""
    from inr_xai.figures.jobs import MOST_JOBS

    known = [place for place, value in enumerate(values) if math.isfinite(_number(value))]
    ranked = sorted(known, key=lambda place: _number(values[place]), reverse=not less_is_better(metric))
    return sorted(ranked[:MOST_JOBS])


def _number(value: Cell) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _pixels(figure: "Figure") -> np.ndarray:
    """Returns a figure as a picture, h x w x 3 of 8 bits."""
    from inr_xai.figures import figure_bytes

    picture = PillowImage.open(io.BytesIO(figure_bytes(figure, dpi=DPI)))
    return np.asarray(picture.convert("RGB"))

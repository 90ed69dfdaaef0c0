"""What a dashboard shows: its sections in the order of the questions that they answer, as panels of wandb-workspaces.

Every name of a value, table or chart comes from `inr_xai.loggers.keys`, so that no panel stays empty for a misspelling.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from inr_xai.dashboards.packages import reports
from inr_xai.loggers import keys
from inr_xai.loggers.charts import AREA_COLUMNS, LOSS_COLUMNS

MOST_EXPLANATIONS = 5
"""Explanations with bars of their own; those that a run does not have leave no gap."""
MOST_RUNS = 100
"""Runs in a bar chart."""
WIDE = 24
"""The columns of a report's grid, and so the width of a panel that has a row of its own."""
TITLES = {
    "preservation": "Preservation (more is better)",
    "unseen_preservation": "Preservation, unseen fillings (more is better)",
    "deletion": "Deletion (less is better)",
    "chance": "Chance (random regions)",
    "area_error": "Area error (less is better)",
    "carries": "Share that carries more than chance",
    "remaining": "Remaining (less is better)",
    "share_of_object": "Share of the object alone",
    "concentrated": "Images with concentrated evidence",
    "no_claim": "Images of which nothing is claimed",
}
"""Last part of a name -> the title of its panel."""
SYSTEM = {
    "CPU, in percent": ("system/cpu",),
    "Memory of the process, in MB": ("system/proc.memory.rssMB",),
    "First GPU, in percent": ("system/gpu.0.gpu", "system/gpu.0.memory"),
}
"""Title -> what W&B itself measures of the machine."""
TIME = "RelativeTime(Process)"


@dataclass(frozen=True)
class Section:
    """One section of a dashboard.

    Args:
        text: what can be read off it.
        panels: panels of wandb-workspaces.
        open: whether the workspace shows it unfolded.
    """

    name: str
    text: str
    panels: list[Any]
    open: bool = True


def sections(metric: str, options: Sequence[str]) -> list[Section]:
    """Returns the sections of a dashboard.

    Args:
        metric: the key that `sweep_metric` names, by which the runs of a sweep are compared.
        options: keys of a run's configuration that differ between the runs of a sweep, such as inr.gain.
    """
    wr = reports()
    headline = [f"headline/{name}" for name in (*keys.HEADLINE, "carries")]
    return [
        Section(
            "Headline",
            "How good the masks are: explanation 1, means over areas and images, as parts of the class's probability p "
            "in the whole image. Preservation is what the kept pixels restore, deletion what is left without them, "
            "chance what random regions of the same area restore. A mask says something only if preservation is well "
            "above chance, also behind fillings that no fit has seen.",
            [
                *(_bars(key) for key in headline),
                wr.ScatterPlot(
                    title="What it costs",
                    x=wr.SummaryMetric("run/seconds_per_image"),
                    y=wr.SummaryMetric("headline/preservation"),
                ),
            ],
        ),
        Section(
            "Against area",
            "What a mask restores as it may keep more of the image, a line for each explanation; then each explanation "
            "beside the others. Remaining is what is left of the class without this and all earlier explanations.",
            [
                _lines(keys.AGAINST_AREA, AREA_COLUMNS, "Scores against area, parts of p"),
                *(_bars_of_explanations(name) for name in keys.EXPLANATION),
            ],
        ),
        Section(
            "Gallery",
            "Every image with its masks, worst first, and the images that failed.",
            [wr.WeavePanelSummaryTable(table_name=name, layout=_wide(14)) for name in (keys.GALLERY, keys.FAILURES)],
        ),
        Section(
            "Loss",
            "Whether the fits have come to an end: the mean loss of all images at each step.",
            [_lines(keys.LOSS, LOSS_COLUMNS, "Loss by step, mean over images")],
            open=False,
        ),
        Section(
            "Sweep",
            f"What an option changed: each line is a run, from its options to {metric}; then which options go with it. "
            "The table and the pictures are those of a multirun, with bootstrap intervals over images.",
            [
                wr.ParallelCoordinatesPlot(
                    title="Options and outcome",
                    columns=[
                        *(wr.ParallelCoordinatesPlotColumn(wr.Config(option)) for option in options),
                        wr.ParallelCoordinatesPlotColumn(wr.SummaryMetric("run/seconds_per_image")),
                        wr.ParallelCoordinatesPlotColumn(wr.SummaryMetric(metric)),
                    ],
                    layout=_wide(10),
                ),
                wr.ParameterImportancePlot(with_respect_to=metric, layout=wr.Layout(w=WIDE // 2, h=10)),
                wr.RunComparer(diff_only="split", layout=wr.Layout(w=WIDE // 2, h=10)),
                wr.WeavePanelSummaryTable(table_name=keys.SWEEP_TABLE, layout=_wide(10)),
                wr.MediaBrowser(
                    title="A multirun", media_keys=[keys.SWEEP_BARS, keys.SWEEP_PARALLEL], layout=_wide(12)
                ),
            ],
        ),
        Section(
            "Audit",
            "What the classifier leans on, for runs that were audited. Nothing is claimed of an image whose "
            "explanations do not reach more than those of a class that it does not show.",
            [_bars(f"audit/{name}") for name in keys.AUDIT],
        ),
        Section(
            "Evaluation",
            "The metrics of inr-xai evaluate, explanation 1, for runs that were evaluated.",
            [_bars(f"evaluation/{name}") for name in keys.EVALUATION],
            open=False,
        ),
        Section(
            "System",
            "What a run cost, and how busy the machine was.",
            [
                *(_bars(f"run/{name}") for name in keys.RUN),
                *(wr.LinePlot(title=title, x=TIME, y=list(names)) for title, names in SYSTEM.items()),
            ],
            open=False,
        ),
    ]


def _bars(key: str) -> Any:
    """Returns a chart of a value of the summary, a bar for each run."""
    name = key.partition("/")[2]
    title = TITLES.get(name, name.replace("_", " ").capitalize())
    return reports().BarPlot(title=title, metrics=[key], orientation="h", max_runs_to_show=MOST_RUNS)


def _bars_of_explanations(name: str) -> Any:
    """Returns a chart of a value of every explanation, a bar for each explanation of each run."""
    metrics = {f"explanation_{k}/{name}": f"explanation {k}" for k in range(1, MOST_EXPLANATIONS + 1)}
    title = f"{TITLES[name].partition(':')[0].partition(' (')[0]}, by explanation"
    return reports().BarPlot(title=title, metrics=list(metrics), line_titles=metrics, max_runs_to_show=MOST_RUNS)


def _lines(key: str, columns: Sequence[str], title: str) -> Any:
    """Returns a chart of lines that a run has logged as a whole; W&B keeps its points in a table of its own.

    Args:
        columns: of that table: the x axis, the values and the line's name.
    """
    step, value, line = columns[:3]
    return reports().CustomChart(
        query={"summaryTable": {"tableKey": f"{key}_table"}},
        chart_name="wandb/lineseries/v0",
        chart_fields={"step": step, "lineVal": value, "lineKey": line},
        chart_strings={"title": title, "xname": step},
        layout=_wide(10),
    )


def _wide(height: int) -> Any:
    """Returns the place of a panel that has a row of a report to itself."""
    return reports().Layout(w=WIDE, h=height)

"""A project's workspace and the report of a sweep, built without a network, and their content as JSON.

The same arguments give the same JSON: the ids that wandb-workspaces draws at random are derived from the names.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from inr_xai.dashboards.packages import reports, workspaces
from inr_xai.dashboards.sections import MOST_RUNS, Section, sections
from inr_xai.errors import UserError
from inr_xai.seeding import sha256

NAME = "inr_xai"
"""What the saved workspace is called."""
ID_LENGTH = 11
"""The length of W&B's own names of views."""
METRIC = "preservation_hard_mean_rel/k1"
OPTIONS = ("inr.gain", "decay", "total_variation", "area_rule.end")
"""What conf/wandb_sweep.yaml and sweep=optuna_search vary."""


@dataclass(frozen=True)
class Place:
    """Where a dashboard belongs, and which runs it is about.

    Args:
        project, entity: W&B's names; an empty entity is that of the account that saves it.
        group: the group of a sweep's runs, which a report shows alone; empty for all runs of the project.
    """

    project: str
    entity: str = ""
    group: str = ""


@dataclass(frozen=True)
class Dashboard:
    """A workspace and, if it was asked for, a report, as objects of wandb-workspaces.

    Args:
        place: where it belongs.
    """

    place: Place
    workspace: Any
    report: Any = None

    def content(self) -> dict[str, Any]:
        """Returns what W&B would be sent: "workspace" and, if there is one, "report"."""
        # wandb-workspaces has no public way to its JSON; `save` does the same.
        parts = {"workspace": self.workspace, "report": self.report}
        return {
            name: part._to_model().model_dump(mode="json", by_alias=True, exclude_none=True)
            for name, part in parts.items()
            if part is not None
        }


def build(place: Place, *, report: bool = False, metric: str = METRIC, options: Sequence[str] = OPTIONS) -> Dashboard:
    """Builds the dashboard of a project.

    Args:
        report: whether to build a report too.
        metric: the key of the summary by which the runs of a sweep are compared.
        options: keys of a run's configuration, which the chart of a sweep shows.

    Raises:
        UserError: wandb-workspaces is not installed, or the name of the group cannot stand in a filter.
    """
    shown = sections(metric, options)
    _name_panels(shown, place)
    return Dashboard(place, _workspace(place, shown), _report(place, shown, metric) if report else None)


def _workspace(place: Place, shown: Iterable[Section]) -> Any:
    """Returns the workspace, which shows all runs of the project, the best first."""
    ws = workspaces()
    pinned = [f"summary:{key}" for key in ("headline/preservation", "headline/chance", "headline/carries")]
    workspace = ws.Workspace(
        entity=place.entity,
        project=place.project,
        name=NAME,
        sections=[
            ws.Section(name=section.name, panels=[_text(section, place), *section.panels], is_open=section.open)
            for section in shown
        ],
        settings=ws.WorkspaceSettings(max_runs=MOST_RUNS, group_by_prefix="first"),
        runset_settings=ws.RunsetSettings(
            pinned_columns=["run:displayName", "run:group", "run:jobType", *pinned],
            order=[ws.Ordering(ws.Summary("headline/preservation"), ascending=False)],
        ),
        auto_generate_panels=False,
    )
    workspace._internal_name = f"nw-{_id('workspace', place)}-v"
    workspace._internal_runset_id = _id("runs", place)
    return workspace


def _report(place: Place, shown: Iterable[Section], metric: str) -> Any:
    """Returns the report of a sweep, or of all runs: the sections with what can be read off them."""
    wr = reports()
    subject = f"the sweep {place.group}" if place.group else f"all runs of {place.project}"
    blocks: list[Any] = [
        wr.P(f"Masks of {subject}, compared by {metric}. The charts follow the runs: new ones appear by themselves."),
        wr.TableOfContents(),
    ]
    for section in shown:
        runs = wr.Runset(
            name=place.group or "All runs",
            filters=_filter(place.group),
            order=[wr.OrderBy(wr.SummaryMetric("headline/preservation"), ascending=False)],
        )
        runs._id = _id("runs", place, section.name)
        blocks += [wr.H2(section.name), wr.P(section.text), wr.PanelGrid(runsets=[runs], panels=section.panels)]
    title = f"{place.group or place.project}: explanations"
    return wr.Report(entity=place.entity, project=place.project, title=title[:128], blocks=blocks, width="fluid")


def _text(section: Section, place: Place) -> Any:
    """Returns the panel that says what can be read off a section, which a report says between its panels."""
    panel = reports().MarkdownPanel(markdown=section.text)
    panel._id = _id("text", place, section.name)
    return panel


def _filter(group: str) -> str:
    """Returns the filter of a report's runs, in the language of wandb-workspaces."""
    if any(sign in group for sign in "'\"\\\n"):
        raise UserError(f"--report {group!r}: a filter of W&B's takes no quotes and no backslash; rename the group")
    return f"Metric('Group') == '{group}'" if group else ""


def _name_panels(shown: Iterable[Section], place: Place) -> None:
    """Gives each panel an id that follows from its place."""
    for section in shown:
        for number, panel in enumerate(section.panels):
            panel._id = _id("panel", place, section.name, str(number))


def _id(kind: str, place: Place, *names: str) -> str:
    """Returns an id of letters and digits that follows from what it is for."""
    return sha256("/".join((kind, place.entity, place.project, *names)).encode()).hexdigest()[:ID_LENGTH]

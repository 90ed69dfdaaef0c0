"""Saves a dashboard at W&B, if its server answers; W&B is asked in a thread, so that a silent network costs little."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from inr_xai.dashboards.build import Dashboard
from inr_xai.dashboards.lineage import link_inputs
from inr_xai.errors import RunFault, error_text
from inr_xai.loggers import environment, service
from inr_xai.loggers.background import Background
from inr_xai.loggers.reachable import server_check
from inr_xai.loggers.settings import MODES

SAVE_SECONDS, LINK_SECONDS = 120.0, 120.0
"""So long, in seconds, W&B may take for the workspace with the report, and for the links of the runs."""


@dataclass
class Saved:
    """What W&B has taken.

    Args:
        urls: where the workspace, and then the report, can be seen.
        linked: the ids of the runs that are linked with an input.
        unlinked: why not all of them are; None if they are.
    """

    urls: list[str] = field(default_factory=list)
    linked: set[str] = field(default_factory=set)
    unlinked: str | None = None


@contextmanager
def asking_wandb() -> Iterator[None]:
    """A context in which W&B's process may be started, which ends with it."""
    try:
        yield
    finally:
        if "wandb" in sys.modules:
            service.leave()


def offline_reason() -> str | None:
    """Returns why nothing can be saved at W&B now, as the end of a sentence that begins with W&B; None if it can."""
    mode = os.environ.get("WANDB_MODE", "online").strip()
    if MODES.get(mode, "online") != "online":
        return f"is switched off by WANDB_MODE={mode}"
    refused = service.set_up()
    if refused:
        return f"cannot read {', '.join(sorted(refused))}"
    return server_check()()


def default_entity() -> str:
    """Returns the entity of the account whose API key is used. Raises RunFault if W&B does not say it."""
    found: list[str | None] = []

    def ask() -> None:
        import wandb

        found.append(wandb.Api().default_entity)

    if (reason := _ask_wandb(ask)) is not None:
        raise RunFault(f"W&B did not say whose API key this is ({reason})")
    if not found[0]:
        raise RunFault("W&B has no default entity for this API key; give --entity NAME")
    return found[0]


def save(dashboard: Dashboard) -> Saved:
    """Saves the workspace, in place of the one that an earlier call has saved, then the report, then links the inputs.

    Links that fail, or take too long with many runs, cost nothing else: a later call makes the rest.

    Raises RunFault if W&B refuses the workspace or the report, or does not end in time; what it has taken is there.
    """
    saved = Saved()
    reason = _ask_wandb(lambda: _save_workspace(dashboard, saved), lambda: _save_report(dashboard, saved))
    if reason is not None:
        raise RunFault(f"W&B did not take everything ({reason})")
    saved.unlinked = _ask_wandb(lambda: _link(dashboard, saved), seconds=LINK_SECONDS)
    return saved


def _ask_wandb(*questions: Callable[[], object], seconds: float = SAVE_SECONDS) -> str | None:
    """Makes calls that need W&B's server, and returns why they did not all end well in time; None if they did."""
    failures: list[Exception] = []
    with environment.hidden():
        background = Background(failures.append)
        for question in questions:
            background.call(question)
        in_time = background.close(seconds=seconds)
    if failures:
        return error_text(failures[0])
    return None if in_time else f"no answer within {seconds:g} s"


def _save_workspace(dashboard: Dashboard, saved: Saved) -> None:
    """Saves the workspace under its own name; the id of a view that is there already keeps it from being doubled."""
    from wandb_workspaces.workspaces.internal import _internal_name_to_url_query_str, get_view_dict

    workspace, place = dashboard.workspace, dashboard.place
    name = _internal_name_to_url_query_str(workspace._internal_name)
    with suppress(ValueError):  # none was saved yet
        workspace._internal_id = get_view_dict(place.entity, place.project, name)["id"]
    saved.urls.append(workspace.save().url)


def _save_report(dashboard: Dashboard, saved: Saved) -> None:
    if dashboard.report is not None:
        saved.urls.append(dashboard.report.save().url)


def _link(dashboard: Dashboard, saved: Saved) -> None:
    import wandb

    for run_id in link_inputs(wandb.Api(), dashboard.place.entity, dashboard.place.project):
        saved.linked.add(run_id)

"""The optional package wandb-workspaces: its modules, or a sentence that says how to install it."""

from types import ModuleType

from inr_xai.errors import UserError


def workspaces() -> ModuleType:
    """Returns the module of saved workspaces. Raises UserError if the package cannot be imported."""
    return _modules()[0]


def reports() -> ModuleType:
    """Returns the module of reports and of panels. Raises UserError if the package cannot be imported."""
    return _modules()[1]


def _modules() -> tuple[ModuleType, ModuleType]:
    try:
        import wandb_workspaces.reports.v2
        import wandb_workspaces.workspaces
    except ImportError as error:
        raise UserError(
            "inr-xai dashboard needs the package wandb-workspaces, which cannot be imported; "
            "pip install 'inr-xai[dashboards]'"
        ) from error
    return wandb_workspaces.workspaces, wandb_workspaces.reports.v2

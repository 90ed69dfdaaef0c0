"""Dashboards at W&B: a saved workspace of a project and a report of a sweep, of the names that runs log.

Nothing is imported here: wandb-workspaces, of which they are built, is an optional package.
"""

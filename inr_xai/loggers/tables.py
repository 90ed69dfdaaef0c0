"""Tables at W&B, such as those of a comparison of methods: they have a W&B run of their own."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from inr_xai.loggers.opening import open_wandb
from inr_xai.loggers.settings import WandbSettings
from inr_xai.seeding import sha256


def log_tables(
    tables: Mapping[str, Sequence[Mapping[str, Any]]],
    settings: WandbSettings,
    *,
    folder: str | Path,
    name: str,
    figures: Sequence[Path] = (),
) -> None:
    """Logs tables and figures to the W&B run of a set of photos, which is continued if it is there already.

    Args:
        tables: name -> the rows of the table; a key that a row lacks becomes an empty cell.
        folder: W&B makes its folder `wandb` there.
        name: the name of the set of photos, which names the W&B run.
        figures: image files.
    """
    run_id = sha256(name.encode()).hexdigest()[:8]
    run = open_wandb(settings, save_dir=folder, run_id=run_id, name=name, config={"set": name}, job_type="compare")
    if run is None:
        return
    try:
        for table, rows in tables.items():
            columns = {key: _uniform([row.get(key) for row in rows]) for row in rows for key in row}
            run.log_table(f"tables/{table}", list(columns), list(zip(*columns.values(), strict=True)))
        if figures:
            run.log_charts("charts/comparison", {figure.stem: figure for figure in figures})
    finally:
        run.finish()


def _uniform(values: Sequence[Any]) -> list[Any]:
    """Returns a column in one type, as W&B needs it: among numbers, NaN and text become None."""
    if not any(isinstance(value, float) for value in values):
        return list(values)
    return [value if isinstance(value, int | float) and value == value else None for value in values]

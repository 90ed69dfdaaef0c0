"""Tables at W&B, such as those of a comparison of methods: a run of its own, with one W&B table each."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from inr_xai.loggers.wandb_run import WandbSettings, open_wandb
from inr_xai.seeding import sha256


def log_tables(
    tables: Mapping[str, Sequence[Mapping[str, Any]]],
    settings: WandbSettings,
    *,
    folder: str | Path,
    name: str,
    figures: Sequence[Path] = (),
) -> None:
    """Logs each table, its lines given as dictionaries, and the figures; continues the run of the same name.

    Args:
        folder: W&B makes its folder `wandb` there.
        name: of the set of photos.
    """
    run_id = sha256(name.encode()).hexdigest()[:8]
    run = open_wandb(settings, save_dir=folder, run_id=run_id, name=name, config={"set": name}, job_type="compare")
    if run is None:
        return
    for table, lines in tables.items():
        columns = {key: _column([line.get(key) for line in lines]) for line in lines for key in line}
        run.log_table(table, list(columns), list(zip(*columns.values(), strict=True)))
    if figures:
        run.log_images("comparison", {figure.stem: figure for figure in figures})
    run.finish()


def _column(values: Sequence[Any]) -> list[Any]:
    """A column as W&B takes it: of one type, None where there is no number (text may say why there is none)."""
    if not any(isinstance(value, float) for value in values):
        return list(values)
    return [value if isinstance(value, int | float) and value == value else None for value in values]

"""The table of a multirun's jobs at W&B: a run of its own, in the group of the jobs' runs."""

from pathlib import Path

from inr_xai.callbacks.wandb_run import WandbSettings, open_wandb
from inr_xai.sweeps import Comparison


def log_sweep(comparison: Comparison, settings: WandbSettings, *, folder: str | Path, run_id: str) -> None:
    """Logs the table "sweep", and the best job with its value to the summary; continues the run `run_id`.

    Args:
        settings: those of the jobs, group included.
        folder: of the multirun; W&B makes its folder `wandb` there.
    """
    config = {"sweep_metric": comparison.metric, "jobs": len(comparison.rows)}
    name = Path(folder).resolve().name
    run = open_wandb(settings, save_dir=folder, run_id=run_id, name=name, config=config, job_type="sweep")
    if run is None:
        return
    run.log_table("sweep", comparison.columns, comparison.rows)
    if comparison.best is not None and comparison.metric is not None:
        best = dict(zip(comparison.columns, comparison.rows[comparison.best], strict=True))
        run.summary({"best/job": best["job"], f"best/{comparison.metric}": best[comparison.metric]})
    run.finish()

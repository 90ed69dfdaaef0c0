"""The evaluation of a run: which explanations and metrics, and the files of values and tables that it leaves."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from inr_xai.errors import UserError
from inr_xai.evaluate.loop import Evaluation, EvaluationContext, require_marks
from inr_xai.evaluate.paper_table import make_table
from inr_xai.evaluate.registry import choose, directions
from inr_xai.evaluate.results import OWN, Results
from inr_xai.evaluate.sources import FolderSource, RunSource, Source
from inr_xai.evaluate.table_text import latex, markdown
from inr_xai.runs.files import write_bytes
from inr_xai.runs.folder import facts_of
from inr_xai.runs.load import Run
from inr_xai.runs.loop import each_image

log = logging.getLogger(__name__)


def evaluate_run(
    run: Run,
    context: EvaluationContext,
    folder: Path,
    *,
    metrics: Sequence[str] | None = None,
    maps: Path | None = None,
    name: str = OWN,
    config: Mapping[str, Any] | None = None,
) -> int:
    """Measures a run's explanations or the maps of a folder, writes values and tables, returns how many images failed.

    An image counts as failed if one of its metrics failed. A value that is there is not measured again, unless the
    explanation, or the options of data and classifier, have changed since.

    Args:
        context: the run's data, classifier and method (`EvaluationContext.of`).
        folder: the folder of `<name>.csv`, `<name>.md` and `<name>.tex`.
        metrics: names of metrics; None for all that fit nothing anew.
        maps: folder of another tool's maps; None for the run's own explanations.
        config: the configuration from which the context was made; None for that of the run.

    Raises:
        UserError: a metric does not exist or cannot be computed here, there are no maps, or maps have the name of the
            run's own results.
    """
    if maps is not None and name == OWN:
        raise UserError(
            f"the maps {str(maps)!r} would be stored as {OWN!r}, which is the name of the run's own results; "
            "give --name NAME, another one"
        )
    source: Source = RunSource(run) if maps is None else FolderSource(maps, run)
    if isinstance(source, FolderSource) and source.missing:
        log.warning("%d of the run's %d images have no map in %s", len(source.missing), len(run), maps)
    chosen = choose(metrics, masks=source.has_masks, fits=maps is None, head=context.classifier.head)
    if metrics is not None:
        require_marks(context.data, context.classifier, source.ids, metrics)
    facts = [facts_of(run.info["config"] if config is None else config)]
    if facts[0] == facts_of(run.info["config"]):
        facts.append(facts_of(run.stored_config))  # an earlier version may have named data and classifier otherwise
    file = folder / f"{name}.csv"
    results = Results(file)
    evaluation = Evaluation(source, context, chosen, results, facts)
    try:
        # The classifier is frozen once around all scores, so that none of them moves it.
        with context.classifier.frozen(context.device, torch.float32):
            failures = each_image(source.ids, evaluation.measure_image, note=evaluation.note_failure)
    finally:
        results.tidy()
    if others := results.rows.keys() - set(source.ids):
        log.warning("%s keeps %d images of earlier that have no explanation here", file, len(others))
    if results.columns:
        log.info("\n%s", write_results_tables(results))
    return failures


def write_results_tables(results: Results) -> str:
    """Writes the tables of a method's results beside them, as Markdown and LaTeX, and returns the former."""
    table = make_table({results.file.stem: results}, directions())
    write_bytes(results.file.with_suffix(".md"), markdown(table).encode())
    write_bytes(results.file.with_suffix(".tex"), latex(table).encode())
    return markdown(table)

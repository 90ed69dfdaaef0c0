"""A finished run's explanations, or another tool's maps of its images, measured without fitting again.

Values per image go to a CSV, tables beside it; what is measured already is not measured again, unless the maps, or the
options of data and classifier, have changed.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from inr_xai.errors import UserError
from inr_xai.evaluate.loop import EvaluationContext, directions, evaluate, require_marks
from inr_xai.evaluate.paper_table import make_table
from inr_xai.evaluate.registry import choose
from inr_xai.evaluate.results import Results
from inr_xai.evaluate.sources import FolderSource, RunSource, Source
from inr_xai.evaluate.table_text import latex, markdown
from inr_xai.runs.files import write_bytes
from inr_xai.runs.folder import flatten, is_free
from inr_xai.runs.load import Run

OWN = "masks"
"""Name of the results of a run's own explanations."""
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
    """Measures a run's explanations, or the maps of a folder, and writes values and tables; how many images failed.

    Args:
        context: the run's data, classifier and method (`EvaluationContext.of`).
        folder: where `<name>.csv`, `<name>.md` and `<name>.tex` go.
        metrics: names; None for all that fit nothing anew.
        maps: of another tool; None for the run's own.
        config: what the context was made of; None for the run's own configuration.

    Raises:
        UserError: a metric that does not exist or cannot be had here, no maps, or maps under the run's own name.
    """
    if maps is not None and name == OWN:
        raise UserError(
            f"the maps {str(maps)!r} would be stored as {OWN!r}, which is the name of the run's own results; "
            "give --name NAME, another one"
        )
    source: Source = RunSource(run) if maps is None else FolderSource(maps, run)
    if isinstance(source, FolderSource) and source.missing:
        log.warning("%d of the run's %d images have no map in %s", len(source.missing), len(run), maps)
    chosen = choose(metrics, masks=source.has_masks, fits=maps is None)
    if metrics is not None:
        require_marks(context.data, context.classifier, source.ids, metrics)
    file = folder / f"{name}.csv"
    facts = facts_of(run.info["config"] if config is None else config)
    failures = evaluate(source, replace(context, facts=facts), chosen, file)
    results = Results(file)
    if others := results.rows.keys() - set(source.ids):
        log.warning("%s keeps %d images of earlier that have no explanation here", file, len(others))
    if results.columns:
        table = make_table({name: results}, directions())
        write_bytes(file.with_suffix(".md"), markdown(table).encode())
        write_bytes(file.with_suffix(".tex"), latex(table).encode())
        log.info("\n%s", markdown(table))
    return failures


def facts_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The options of data and classifier that change what is made or measured of an image, as plain values."""
    flat = flatten({group: config[group] for group in ("data", "classifier")})
    chosen = ("data.targets", "data.every")  # which images and classes were explained
    return {key: value for key, value in flat.items() if not is_free(key, *chosen)}

"""The Markdown report of the step's benchmark, made of what its JSON file holds."""

from collections.abc import Mapping, Sequence
from typing import Any

from inr_xai.runs.files import markdown_table
from inr_xai.types import Row

STEP_NOTE = (
    "A step is forward, backward, optimiser and Lightning's loop, all images in one stack (a CPU fits stacks of one "
    "image by default). Passes: the classifier's own forward and backward on the same tensors, in the same precision "
    "and memory layout, timed in turn with the steps. Times: median, in brackets the minimum. The quotient: median of"
    " the pairs, in brackets that of the minima and that of the sums, since some steps draw noise for several. "
    "Operators: what PyTorch's dispatcher is given in a step; ours: mean over steps, in brackets the most; views are "
    "those of them that leave the device nothing to do. Reads: how often the host waits for a value of a tensor in a "
    "step. Memory: of a fit beyond what was held before it. Photos a second: one explanation of {areas} areas in "
    "{steps} steps; ~ is computed from the time of a step."
)
PEERS_NOTE = (
    "One image, single precision. Passes: a forward and backward of one image counts 1. The last column is the time of "
    "a pass over the classifier's own, in a batch of {areas}. TorchRay's time is computed from that of a few steps."
)
STATES = {True: "on", False: "off", None: "the classifier's own"}
"""The value of an option -> its words."""
STARTUP_NOTE = "A fresh process that fits the demo's classifier; then the seconds of our imports by package."
EXPONENTS_NOTE = (
    "The slope of log(time) over log(size): of a step and of the classifier's passes in it; for explanations of the "
    "whole fit. {model}, one image of {side} x {side} and {areas} areas unless they are what grows."
)


def format_report(found: Mapping[str, Any]) -> str:
    """Returns the report of a run of the benchmark."""
    facts = {"areas": len(found["method"]["areas"]), "steps": found["method"]["steps"]} | found["of_exponents"]
    parts = [
        f"# {found['device']}",
        f"PyTorch {found['torch']}, threads: {found['threads']}, precision: {found['precision']}, "
        + ", ".join(f"{name}: {STATES[value]}" for name, value in found["options"].items()),
    ]
    for title, note, table in (
        ("Steps", STEP_NOTE, step_table(found["cells"])),
        ("Other methods", PEERS_NOTE, peer_table(found["peers"])),
        ("Start", STARTUP_NOTE, startup_tables(found["startup"])),
        ("Exponents", EXPONENTS_NOTE, exponent_table(found["exponents"])),
    ):
        if table:
            parts += [f"## {title}", note.format(**facts), table.rstrip()]
    if found["left_out"]:
        parts.append("Left out:\n\n" + "\n".join(f"- {sentence}" for sentence in found["left_out"]))
    return "\n\n".join(parts) + "\n"


def step_table(cells: Sequence[Row]) -> str:
    """Returns the table of steps, empty without cells."""
    head = (
        *("classifier", "weights", "images", "step, ms", "passes, ms", "step / passes"),
        *("operators of the classifier", "ours", "views of ours", "reads", "memory, MiB", "photos / s"),
    )
    rows = [
        (
            *(cell["model"], cell["weights"], str(cell["images"])),
            f"{cell['step_ms']:.1f} ({cell['step_least_ms']:.1f})",
            f"{cell['passes_ms']:.1f} ({cell['passes_least_ms']:.1f})",
            f"{cell['ratio']:.3f} ({cell['ratio_least']:.3f}, {cell['ratio_all']:.3f})",
            *(str(cell["classifier_operators"]), f"{cell['our_operators']} ({cell['our_most_operators']})"),
            *(str(cell["our_views"]), f"{cell['reads']:.2g}"),
            f"{cell['memory_mib']:.0f}",
            f"{'' if cell['whole_fit'] else '~'}{cell['photos_per_second']:.3g}",
        )
        for cell in cells
    ]
    return markdown_table(head, rows) if rows else ""


def peer_table(peers: Sequence[Row]) -> str:
    """Returns the table of other methods, empty without rows."""
    head = ("classifier", "method", "passes", "seconds a photo", "a pass / the classifier's")
    rows = [
        (row["model"], row["method"], f"{row['passes']:g}", f"{row['seconds']:.3g}", f"{row['ratio']:.3f}")
        for row in peers
    ]
    return markdown_table(head, rows) if rows else ""


def startup_tables(startup: Mapping[str, Sequence[Row]]) -> str:
    """Returns the tables of the start, empty if it was not measured."""
    if not startup:
        return ""
    tables = []
    for key, head in (("phases", "phase"), ("packages", "package")):
        rows = [(row[head], f"{row['seconds']:.2f}") for row in startup[key]]
        tables.append(markdown_table((head, "seconds"), rows))
    return "\n".join(tables)


def exponent_table(exponents: Sequence[Row]) -> str:
    """Returns the table of exponents, empty without rows."""
    head = ("what grows", "sizes", "milliseconds", "exponent", "of the classifier's passes")
    rows = [
        (
            row["of"],
            ", ".join(map(str, row["sizes"])),
            ", ".join(f"{1000 * value:.1f}" for value in row["seconds"]),
            f"{row['exponent']:.2f}",
            "-" if row["classifier_exponent"] is None else f"{row['classifier_exponent']:.2f}",
        )
        for row in exponents
    ]
    return markdown_table(head, rows) if rows else ""

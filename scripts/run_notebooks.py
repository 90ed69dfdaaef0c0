"""Executes the notebooks of examples/ in a temporary folder, and writes them back with their outputs.

python scripts/run_notebooks.py                  all of them
python scripts/run_notebooks.py --check          executes them, and writes nothing
python scripts/run_notebooks.py FILE --out DIR   one of them, written to another folder
"""

import argparse
import json
import logging
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
MOST_BYTES = 400_000
"""The largest size of a notebook with its outputs."""
CELL_SECONDS = 600
"""The longest that a cell may take."""
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
"""What a notebook says of its kernel: nothing of the machine that executed it."""
PICTURES = {"image/png", "image/jpeg"}
PLACE = re.compile(r"(?<![\w.:/])/(?:home|root|tmp|usr|opt|work|mnt|Users)/|[A-Z]:\\\\Users")
"""A path of some machine."""
log = logging.getLogger("run_notebooks")


def main() -> int:
    """Executes notebooks, and returns how many failed."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="*", type=Path, help="files; by default all of examples/")
    parser.add_argument("--check", action="store_true", help="only execute, and write nothing")
    parser.add_argument("--out", type=Path, help="the folder to write to, by default that of each notebook")
    args = parser.parse_args()
    failures = 0
    for path in args.notebooks or sorted(EXAMPLES.glob("*.ipynb")):
        started = time.monotonic()
        try:
            notebook = executed(path)
        except CellExecutionError as error:
            log.error("%s: a cell failed\n%s", path.name, error)
            failures += 1
            continue
        text = nbformat.writes(notebook) + "\n"
        complaints = list(faults(json.loads(text)))
        failures += bool(complaints)
        log.info("%s: %.0f s, %d kB", path.name, time.monotonic() - started, len(text.encode()) / 1000)
        for complaint in complaints:
            log.error("%s: %s", path.name, complaint)
        if not args.check:
            ((args.out or path.parent) / path.name).write_text(text, encoding="utf-8")
    return failures


def executed(path: Path) -> nbformat.NotebookNode:
    """Returns a notebook with the outputs of a new kernel of this interpreter. Raises CellExecutionError."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        cell.metadata.clear()
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook,
            timeout=CELL_SECONDS,
            kernel_name="python3",
            resources={"metadata": {"path": folder}},
            record_timing=False,
            coalesce_streams=True,
        )
        client.execute(env=kernel_environment())
    notebook.metadata = nbformat.from_dict(METADATA)
    return notebook


def kernel_environment() -> dict[str, str]:
    """Returns the environment of a kernel: it imports this checkout, and says nothing of packages for widgets."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    # A text in place of a widget for a bar is no fault; tqdm warns of it when some library imports it.
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONWARNINGS": "ignore:IProgress not found"}


def faults(notebook: Mapping[str, Any]) -> Iterator[str]:
    """Yields what is wrong with a stored notebook, a sentence each."""
    size = len(nbformat.writes(nbformat.from_dict(notebook)).encode())
    if size > MOST_BYTES:
        yield f"it has {size} bytes, and must have {MOST_BYTES} at most; draw fewer pictures, or with fewer dots"
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    counts = [cell["execution_count"] for cell in code]
    if counts != list(range(1, len(code) + 1)):
        yield f"its cells were executed as {counts}; execute it from the top to the bottom"
    for number, output in ((cell["execution_count"], output) for cell in code for output in cell["outputs"]):
        if output["output_type"] == "error":
            yield f"cell {number} failed: {output['ename']}: {output['evalue']}"
        if output.get("name") == "stderr":
            yield f"cell {number} writes to standard error: {''.join(output['text'])[:200]!r}"
        for kind, text in texts(output).items():
            if place := PLACE.search(text):
                yield f"cell {number} shows a path of this machine: {text[place.start() : place.start() + 60]!r}"
            if kind == "text/plain" and text.startswith("<Figure") and not PICTURES & output["data"].keys():
                yield f"cell {number} shows {text} in place of a picture"


def texts(output: Mapping[str, Any]) -> dict[str, str]:
    """Returns the texts of an output by their kind, without the pictures that they hold."""
    found = {"text": output["text"]} if "text" in output else dict(output.get("data", {}))
    joined = {kind: "".join(value) for kind, value in found.items() if kind.startswith("text")}
    return {kind: re.sub(r"base64,[\w+/=]*", "base64,", text) for kind, text in joined.items()}


if __name__ == "__main__":
    sys.exit(main())

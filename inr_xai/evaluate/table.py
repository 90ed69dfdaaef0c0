"""Makes one table of several methods from the results of `inr-xai evaluate`, as Markdown and as LaTeX.

    inr-xai table ours=RUN gradcam=RUN/evaluation/gradcam.csv --metrics pointing_game,insertion_auc
    inr-xai table RUN/evaluation/*.csv --out paper
    inr-xai table RUN OTHER_RUN                                     two runs, which are named by their folders

Methods are compared on the images that all of them have. The paired test compares each method with the first one.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from inr_xai.config import exit_status
from inr_xai.errors import UserError
from inr_xai.evaluate.paper_table import make_table
from inr_xai.evaluate.registry import directions
from inr_xai.evaluate.results import OWN, Results, read_results
from inr_xai.evaluate.table_text import latex, markdown
from inr_xai.runs.files import write_bytes


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line, and returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="inr-xai table", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", nargs="+", metavar="[NAME=]PATH", help="a run, or a CSV of its folder evaluation/")
    parser.add_argument("--metrics", help="names with commas between, in this order; default: all")
    parser.add_argument("--out", type=Path, help="writes OUT.md and OUT.tex")
    parser.add_argument("--latex", action="store_true", help="print LaTeX instead of Markdown")
    args = parser.parse_args(arguments)
    return exit_status(lambda: print_table(args))


def print_table(args: argparse.Namespace) -> int:
    """Prints the table, writes it if `args.out` is given, and returns 0."""
    methods: dict[str, Results] = {}
    for text in args.results:
        name, results = named(text)
        if name in methods:
            raise UserError(
                f"{str(methods[name].file)!r} and {str(results.file)!r} would both be called {name!r}; give NAME=PATH"
            )
        methods[name] = results
    table = make_table(methods, directions(), args.metrics.split(",") if args.metrics else None)
    if args.out is not None:
        out = args.out.with_suffix("") if args.out.suffix in (".md", ".tex") else args.out
        write_bytes(Path(f"{out}.md"), markdown(table).encode())
        write_bytes(Path(f"{out}.tex"), latex(table).encode())
    sys.stdout.write(latex(table) if args.latex else markdown(table))
    return 0


def named(text: str) -> tuple[str, Results]:
    """Returns the results of NAME=PATH or PATH, with the name that is given, or else that of `name_of`.

    A text that is the path of a file or folder is a path, even if there is = in it.
    """
    name, separator, rest = text.partition("=")
    given = bool(separator) and not Path(text).exists()
    path = Path(rest if given else text)
    file = path / "evaluation" / f"{OWN}.csv" if path.is_dir() else path
    return name if given else name_of(file), read_results(file)


def name_of(file: Path) -> str:
    """Returns the name of a CSV, or that of the run if these are a run's own results.

    >>> name_of(Path("runs/blur/evaluation/masks.csv")), name_of(Path("runs/blur/evaluation/gradcam.csv"))
    ('blur', 'gradcam')
    """
    of_run = file.stem == OWN and file.resolve().parent.name == "evaluation"
    return file.resolve().parent.parent.name if of_run else file.stem


if __name__ == "__main__":
    sys.exit(main())

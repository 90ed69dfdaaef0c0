"""One table of several methods, from the results of `python -m inr_xai.evaluate`, as Markdown and as LaTeX.

    python scripts/table.py ours=RUN gradcam=RUN/evaluation/gradcam.csv --metrics pointing_game,insertion_auc
    python scripts/table.py RUN/evaluation/*.csv --out paper

Methods are compared on the images that all of them have; the first one is what the paired test compares with.
"""

import argparse
import sys
from pathlib import Path

from inr_xai.config import exit_status
from inr_xai.evaluate import OWN
from inr_xai.evaluation.rows import Results, read_results
from inr_xai.evaluation.run import directions
from inr_xai.evaluation.table import make_table
from inr_xai.evaluation.texts import latex, markdown
from inr_xai.files import write_bytes


def main() -> int:
    """Prints the table; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+", metavar="[NAME=]PATH", help="a run, or a CSV of its folder evaluation/")
    parser.add_argument("--metrics", help="names with commas between, in this order; default: all")
    parser.add_argument("--out", type=Path, help="writes OUT.md and OUT.tex")
    parser.add_argument("--latex", action="store_true", help="print LaTeX instead of Markdown")
    args = parser.parse_args()
    return exit_status(lambda: print_table(args))


def print_table(args: argparse.Namespace) -> int:
    """Prints the table and writes it where asked; no failures."""
    methods = dict(named(text) for text in args.results)
    table = make_table(methods, directions(), args.metrics.split(",") if args.metrics else None)
    if args.out is not None:
        write_bytes(args.out.with_suffix(".md"), markdown(table).encode())
        write_bytes(args.out.with_suffix(".tex"), latex(table).encode())
    sys.stdout.write(latex(table) if args.latex else markdown(table))
    return 0


def named(text: str) -> tuple[str, Results]:
    """Results with their name: the one given, else that of the CSV, or of the run's folder."""
    name, separator, rest = text.partition("=")
    path = Path(rest if separator else text)
    file = path / "evaluation" / f"{OWN}.csv" if path.is_dir() else path
    own = path.name if path.is_dir() else path.stem
    return name if separator else own, read_results(file)


if __name__ == "__main__":
    sys.exit(main())

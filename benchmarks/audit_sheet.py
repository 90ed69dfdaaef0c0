"""The images of an audited run whose second explanation carries the most, on one sheet.

    python scripts/audit_sheet.py RUN              20 images, RUN/audit/sheet.png
    python scripts/audit_sheet.py RUN --count 8 --by shapley_2

An image's figures are those of the audit. Images of which nothing may be claimed are left out.
"""

import argparse
import csv
import io
import math
from pathlib import Path

from PIL import Image

from inr_xai.config import exit_status
from inr_xai.errors import UserError
from inr_xai.runs.files import write_bytes

ADVICE = "audit it first: python -m inr_xai.audit RUN"


def main() -> int:
    """Draws the sheet; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of an audited run")
    parser.add_argument("--count", type=int, default=20, help="images on the sheet (%(default)s)")
    parser.add_argument("--by", default="alone_2", help="column of per_image.csv, relative to p_full (%(default)s)")
    parser.add_argument("--columns", type=int, default=2, help="of the sheet (%(default)s)")
    args = parser.parse_args()
    return exit_status(lambda: draw(args.run / "audit", args.count, args.by, args.columns))


def draw(folder: Path, count: int, by: str, columns: int) -> int:
    """Writes sheet.png and prints which images it shows."""
    for option, value in (("--count", count), ("--columns", columns)):
        if value < 1:
            raise UserError(f"{option} {value} makes no sheet; give a whole number from 1")
    ranked = chosen(folder, count, by)
    pictures = [picture(folder / "figures" / f"{name}.png") for name, _ in ranked]
    width, height = (max(one.size[side] for one in pictures) for side in (0, 1))
    sheet = Image.new("RGB", (columns * width, math.ceil(len(pictures) / columns) * height), "white")
    for place, one in enumerate(pictures):
        sheet.paste(one, (place % columns * width, place // columns * height))
    stream = io.BytesIO()
    sheet.save(stream, format="PNG")
    write_bytes(folder / "sheet.png", stream.getvalue())
    for name, value in ranked:
        print(f"{value:.2f}  {name}")
    print(f"the sheet is {folder / 'sheet.png'}")
    return 0


def picture(file: Path) -> Image.Image:
    """A figure of the audit. Raises UserError where it was not drawn, or is damaged."""
    try:
        with Image.open(file) as opened:
            return opened.convert("RGB")
    except OSError as error:
        why = "cannot be read" if file.exists() else "does not exist"
        raise UserError(
            f"the figure {file} {why}; draw it: python -m inr_xai.audit RUN, without --no-figures"
        ) from error


def chosen(folder: Path, count: int, by: str) -> list[tuple[str, float]]:
    """The ids with the largest values, relative to p_full."""
    file = folder / "per_image.csv"
    if not file.is_file():
        raise UserError(f"{file} does not exist; {ADVICE}")
    rows = [row for row in csv.DictReader(file.read_text().splitlines()) if row["admitted"] == "1"]
    if not rows:
        raise UserError(f"{file} has no image of which anything may be claimed")
    if by not in rows[0]:
        raise UserError(f"--by names {by!r}, which {file} does not have; its columns are {', '.join(rows[0])}")
    try:
        values = [(row["sample_id"], relative(float(row[by]), float(row["p_full"]))) for row in rows if row[by]]
    except ValueError as error:
        raise UserError(
            f"--by names {by!r}, a column of {file} that holds words; give one of numbers, such as --by alone_1"
        ) from error
    known = [(name, value) for name, value in values if math.isfinite(value)]
    if not known:
        raise UserError(
            f"{file} has no value of {by} for any image of which something may be claimed; give another column, such "
            "as --by alone_1"
        )
    return sorted(known, key=lambda one: -one[1])[:count]


def relative(value: float, whole: float) -> float:
    """NaN where the image's own probability is 0."""
    return value / whole if whole else math.nan


if __name__ == "__main__":
    raise SystemExit(main())

"""The images of an audited run whose second explanation carries the most, on one sheet.

    python benchmarks/audit_sheet.py RUN              20 images, RUN/audit/sheet.png
    python benchmarks/audit_sheet.py RUN --count 8 --by shapley_2

The sheet shows the figures of the audit. Images of which nothing may be claimed are left out.
"""

import argparse
import csv
import io
import math
from pathlib import Path

from PIL import Image

from inr_xai.config import exit_status
from inr_xai.data.names import id_file
from inr_xai.errors import UserError
from inr_xai.runs.files import write_bytes

ADVICE = "audit it first: inr-xai audit RUN"


def main() -> int:
    """Draws the sheet, and returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of an audited run")
    parser.add_argument("--count", type=int, default=20, help="number of images on the sheet (%(default)s)")
    parser.add_argument("--by", default="alone_2", help="column of per_image.csv, relative to p_full (%(default)s)")
    parser.add_argument("--columns", type=int, default=2, help="columns of the sheet (%(default)s)")
    args = parser.parse_args()
    return exit_status(lambda: draw_sheet(args.run / "audit", args.count, args.by, args.columns))


def draw_sheet(folder: Path, count: int, by: str, columns: int) -> int:
    """Writes sheet.png into the audit's folder, prints which images it shows, and returns 0, the number of failures."""
    for option, number in (("--count", count), ("--columns", columns)):
        if number < 1:
            raise UserError(f"{option} {number} makes no sheet; give a whole number from 1")
    ranked = rank_images(folder, count, by)
    figures = [open_figure(id_file(folder / "figures", sample_id, ".png")) for sample_id, _ in ranked]
    width, height = (max(figure.size[side] for figure in figures) for side in (0, 1))
    sheet = Image.new("RGB", (columns * width, math.ceil(len(figures) / columns) * height), "white")
    for place, figure in enumerate(figures):
        sheet.paste(figure, (place % columns * width, place // columns * height))
    stream = io.BytesIO()
    sheet.save(stream, format="PNG")
    write_bytes(folder / "sheet.png", stream.getvalue())
    for sample_id, value in ranked:
        print(f"{value:.2f}  {sample_id}")
    print(f"the sheet is {folder / 'sheet.png'}")
    return 0


def open_figure(file: Path) -> Image.Image:
    """Returns a figure of the audit. Raises UserError if it was not drawn, or is damaged."""
    try:
        with Image.open(file) as image:
            return image.convert("RGB")
    except OSError as error:
        reason = "cannot be read" if file.exists() else "does not exist"
        raise UserError(f"the figure {file} {reason}; draw it: inr-xai audit RUN, without --no-figures") from error


def rank_images(folder: Path, count: int, by: str) -> list[tuple[str, float]]:
    """Returns the admitted images with the largest values relative to p_full, as pairs of id and relative value.

    Args:
        folder: the folder of the audit.
        count: the largest number of images.
        by: a column of per_image.csv.

    Raises:
        UserError: the run is not audited, or the column has no numbers.
    """
    file = folder / "per_image.csv"
    if not file.is_file():
        raise UserError(f"{file} does not exist; {ADVICE}")
    rows = [row for row in csv.DictReader(file.read_text().splitlines()) if row["admitted"] == "1"]
    if not rows:
        raise UserError(f"{file} has no image of which anything may be claimed")
    if by not in rows[0]:
        raise UserError(f"--by names {by!r}, which {file} does not have; its columns are {', '.join(rows[0])}")
    try:
        cells = [(row["sample_id"], float(row[by]), float(row["p_full"])) for row in rows if row[by]]
    except ValueError as error:
        raise UserError(
            f"--by names {by!r}, a column of {file} that holds words; give one of numbers, such as --by alone_1"
        ) from error
    values = [(sample_id, value / whole) for sample_id, value, whole in cells if whole and math.isfinite(value / whole)]
    if not values:
        raise UserError(
            f"{file} has no value of {by} for any image of which something may be claimed; give another column, such "
            "as --by alone_1"
        )
    return sorted(values, key=lambda pair: -pair[1])[:count]


if __name__ == "__main__":
    raise SystemExit(main())

"""The interventions on some photos, to look at: a row for each photo. Do not publish it if the photos are not yours.

    python benchmarks/audit_photos_sheet.py SHEET.png data=image_folder data.root=PHOTOS data.segmentations=MASKS \\
        classifier=timm classifier.name=NAME classifier.checkpoint=FILE
    python benchmarks/audit_photos_sheet.py SHEET.png --first 6 --count 6 ...      other photos

Only photos with even numbers are shown: nothing is chosen by looking at those that are reported.
"""

import argparse
import io
from collections.abc import Sequence
from pathlib import Path

import torch
from audit_photos import EVEN, in_split, read_photos
from photo_swaps import Variants, swaps_of
from PIL import Image
from torch import Tensor

from inr_xai.config import composed, exit_status
from inr_xai.errors import UserError
from inr_xai.runs.files import write_bytes

EACH = 3
"""How many images of an intervention are shown."""
GAP = 4
"""White pixels between two images."""


def main() -> int:
    """Draws the sheet, and returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="the sheet, a PNG")
    parser.add_argument("overrides", nargs="*", help="options of a run: the data and the classifier")
    parser.add_argument("--first", type=int, default=0, help="how many photos are passed over (%(default)s)")
    parser.add_argument("--count", type=int, default=4, help="how many photos are shown (%(default)s)")
    args = parser.parse_intermixed_args()

    def work() -> int:
        photos, _ = read_photos(composed(*args.overrides))
        chosen = [name for name in photos.cuts if in_split(name, EVEN)][args.first :][: args.count]
        if not chosen:
            raise UserError("no photo is left for the sheet; give a smaller --first, and a --count of 1 or more")
        rows = [cells(swaps_of(photos, name).variants()) for name in chosen]
        stream = io.BytesIO()
        sheet(rows).save(stream, format="PNG")
        write_bytes(args.file, stream.getvalue())
        for name in chosen:
            print(name)
        return 0

    return exit_status(work)


def cells(variants: Variants) -> list[Tensor]:
    """Returns the images of a row: up to EACH of every intervention, in their order."""
    return [image for images in variants.values() for image in images[:EACH]]


def sheet(rows: Sequence[Sequence[Tensor]]) -> Image.Image:
    """Returns rows of images as one picture."""
    height, width = rows[0][0].shape[1:]
    picture = Image.new("RGB", (len(rows[0]) * (width + GAP), len(rows) * (height + GAP)), "white")
    for down, row in enumerate(rows):
        for across, image in enumerate(row):
            values = (image.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
            picture.paste(Image.fromarray(values), (across * (width + GAP), down * (height + GAP)))
    return picture


if __name__ == "__main__":
    raise SystemExit(main())

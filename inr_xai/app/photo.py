"""The photo of a question: read with limits of its own, since anybody may drop a file; and drawn scenes as examples."""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from inr_xai.data.files import safe_name
from inr_xai.data.image_file import opened_image
from inr_xai.data.scenes.shapes_in_context import ShapesInContext
from inr_xai.data.scenes.synthetic import Synthetic
from inr_xai.data.transform import read_image, to_input
from inr_xai.errors import UserError, error_text
from inr_xai.figures.pixels import eight_bits, pixels_of
from inr_xai.types import Image as InputImage
from inr_xai.types import Preprocessing

MOST_BYTES = 32 * 2**20
"""Of a file that is dropped."""
MOST_PIXELS = 50_000_000
"""Of a photo."""
EXAMPLES = 4
"""Drawn scenes of each kind."""


@dataclass(frozen=True)
class DroppedPhoto:
    """A photo that was read.

    Args:
        picture: upright, in RGB.
        name: the file's name without its suffix, from which the random draws of its masks derive.
    """

    picture: Image.Image
    name: str

    def input_of(self, preprocessing: Preprocessing) -> InputImage:
        """Returns the classifier's input before normalisation, values in [0, 1]."""
        return to_input(self.picture, preprocessing)[0]


def read_photo(path: str | Path | None) -> DroppedPhoto:
    """Returns the photo in a file.

    Raises:
        UserError: no file is given, it is too large, or it is no photo that can be read.
    """
    if path is None:
        raise UserError("there is no photo yet; drop one, or take an example")
    file = Path(path)
    name = safe_name(file.stem)
    try:
        size = file.stat().st_size
        if size > MOST_BYTES:
            raise ValueError(f"it has {size / 2**20:.0f} MB, and at most {MOST_BYTES >> 20} MB are read")
        with opened_image(file, reducible=True) as (_, (height, width)):
            if height * width > MOST_PIXELS:
                raise ValueError(f"it has {height} x {width} pixels, and at most {MOST_PIXELS:,} are read")
        return DroppedPhoto(read_image(file), name)
    except Exception as error:  # Pillow raises anything for a broken file
        cause = error.__cause__ if isinstance(error, UserError) and error.__cause__ else error
        reason = "" if isinstance(cause, OSError) and cause.filename else f" ({error_text(cause)})"
        raise UserError(f"{safe_name(file.name)} cannot be read as a photo{reason}; drop another one") from error


def draw_examples(folder: Path) -> list[tuple[Path, str]]:
    """Draws scenes of both kinds into a folder, as PNG, and returns each file with what it shows."""
    examples = []
    for data, side in ((Synthetic(size=EXAMPLES), 96), (ShapesInContext("both", size=EXAMPLES), 128)):
        unchanged = Preprocessing((side, side), side, "bilinear", (0.5,) * 3, (0.5,) * 3)
        for sample_id, kind in zip(data.ids, data.class_names, strict=False):
            sample = data.load(sample_id, unchanged)
            name = f"{'scene' if isinstance(data, Synthetic) else 'context'}-{sample_id}"
            Image.fromarray(eight_bits(pixels_of(sample.image))).save(folder / f"{name}.png")
            examples.append((folder / f"{name}.png", kind))
    return examples

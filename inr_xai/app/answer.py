"""What the page shows of an explanation when it has ended, and the files that can be taken along."""

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float
from PIL import Image
from torch import Tensor

from inr_xai.explanation.explanation import Explanation
from inr_xai.figures import save_figure
from inr_xai.figures.pixels import eight_bits
from inr_xai.report import page_of

DOWNLOADS = {
    "masks.zip": "Masks (PNG)",
    "safetensors": "Masks (safetensors)",
    "png": "Figure (PNG)",
    "pdf": "Figure (PDF)",
}
"""The suffix of each file, and what it is."""

LONGEST = 120
"""Bytes of a name in the names of files, which may have 255 with all that is added."""


@dataclass(frozen=True)
class PageAnswer:
    """An explanation that has ended.

    Args:
        said: what it found, in a sentence.
        page: a page of its own, HTML that needs no other file.
        files: by the suffixes of DOWNLOADS.
        explanations: how many it has.
    """

    said: str
    page: str
    files: dict[str, Path]
    explanations: int


def answer_of(explanation: Explanation, folder: Path) -> PageAnswer:
    """Writes the files of an explanation into a folder, and returns what the page shows."""
    stem = explanation.name.replace("/", "_").encode(errors="replace")[:LONGEST].decode(errors="ignore")
    files = {suffix: folder / f"{stem}.{suffix}" for suffix in DOWNLOADS}
    files["masks.zip"].write_bytes(masks_as_pictures(explanation))
    explanation.save(files["safetensors"])
    figure = explanation.plot()
    for suffix in ("png", "pdf"):
        save_figure(figure, files[suffix])
    return PageAnswer(repr(explanation), page_of([explanation]), files, len(explanation.masks))


def masks_as_pictures(explanation: Explanation) -> bytes:
    """Returns a ZIP file of a grey picture for each mask, white where it keeps a pixel, and of the input itself."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for k, of_areas in enumerate(explanation.masks, start=1):
            for area, mask in zip(explanation.areas, of_areas, strict=True):
                archive.writestr(f"{explanation.name}/k{k}_a{area:g}.png", _png(mask[None].float()))
        if explanation.image is not None:
            archive.writestr(f"{explanation.name}/input.png", _png(explanation.image))
    return stream.getvalue()


def _png(image: Float[Tensor, "c h w"]) -> bytes:
    """Returns an image with values in [0, 1] as a file; one channel is grey."""
    pixels = eight_bits(image.permute(1, 2, 0).squeeze(2).numpy())
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()

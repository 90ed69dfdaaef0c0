"""Opens image files: which formats are read, and how large a file may be, so that none costs more than itself.

A file is refused before its pixels are decoded if they would take more memory than `MEMORY`, or too long. What is read
of it beside the pixels (EXIF, profiles, texts) is bounded as well. No other program is started: Pillow is given the
formats by name, and PostScript is none of them.
"""

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from io import BufferedReader
from os import PathLike, fstat

import numpy as np
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from inr_xai.data.files import open_regular

KINDS = "jpg|jpeg|jpe|jfif|png|apng|bmp|dib|gif|tif|tiff|webp|avif|ppm|pgm|pbm|pnm|tga|jp2"
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "DIB", "TIFF", "WEBP", "AVIF", "PPM", "JPEG2000", "TGA")
"""Pillow's names of the formats of KINDS; a file of any of them may have any of the suffixes."""
MEMORY = 272 * 2**20
"""Bytes that an image may take while it is decoded and becomes RGB: 71 million pixels of a photo."""
BESIDE = 16 * 2**20
"""Bytes that are read of a file beside its pixels."""
PIECES = 2**18
"""Pieces in which these bytes are read; a header of single bytes would take minutes."""
STRIP = 2**20
"""Pixels of a strip, in which an image is converted."""
WHOLE = 64 * 2**20
"""Bytes of a WebP or an AVIF, which are read as a whole."""
SLOW = 2**20
"""Pixels of an image that Pillow decodes in Python: plain PPM, PPM of 16 bits, BMP with run lengths."""
SCANS = 2**30
"""Pixels of a progressive JPEG, times its scans; a photo has about ten of them."""
RASTER = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2, "I;16N": 2}
"""Mode of Pillow -> bytes of a pixel in memory; 4 for all others."""
DECODER = {"WEBP": 14.0, "AVIF": 12.0}
"""Format -> bytes that the decoder takes for a pixel beside the raster, as measured."""
UNITS = (0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8)
"""Bytes of a value of each type in an EXIF directory."""


class _MeteredFile(BufferedReader):
    """A file of which only so many bytes, in so many pieces, can be read until `allow` sets other limits."""

    left, pieces = BESIDE, PIECES

    def allow(self, left: int, pieces: int) -> None:
        """Sets how many bytes can be read from now on, and in how many pieces."""
        self.left, self.pieces = left, pieces

    def read(self, size: int | None = -1, /) -> bytes:
        """Reads as `BufferedReader` does. Raises ValueError if more is read than allowed."""
        piece = super().read(size if size is not None and 0 <= size <= self.left else self.left + 1)
        self.left -= len(piece)
        self.pieces -= 1
        if self.left < 0 or self.pieces < 0:
            raise ValueError(f"the file has more than {BESIDE >> 20} MB beside its pixels; save the picture anew")
        if piece.startswith(b"Exif\0\0"):
            _require_small_directory(piece[6:])
        return piece


@contextmanager
def opened_image(
    path: str | PathLike[str], *, reducible: bool = False, copies: int = 0
) -> Iterator[tuple[ImageFile.ImageFile, tuple[int, int]]]:
    """Opens an image file, and yields it before its pixels are decoded, and its (height, width) as stored.

    Args:
        reducible: a JPEG too large for the memory is yielded so that it is decoded at a half, a quarter or an eighth
            of its size; the size beside it stays that of the file.
        copies: bytes for each pixel that the caller needs beside the decoded image.

    Raises:
        ValueError: the file is too large; the sentence says by how much.
        Exception: anything else, if the file is broken.
    """
    with _MeteredFile(open_regular(path)) as stream, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = stream.peek(12)[:12]
        whole = start[8:] == b"WEBP" or start[4:8] == b"ftyp"
        stream.allow(WHOLE if whole else BESIDE, stream.pieces)
        with _identified(stream) as image:
            height, width = size = image.height, image.width
            beside = WHOLE - stream.left if whole else 3 * (BESIDE - stream.left)
            beside += copies * height * width
            _require_quick(image, stream)
            _reduce(image, beside=beside, file=fstat(stream.fileno()).st_size, most=8 if reducible else 1)
            stream.allow(8 * height * width + BESIDE, height * width + PIECES)
            yield image, size


@cache
def known_formats() -> tuple[str, ...]:
    """Returns the formats of FORMATS that the installed Pillow reads."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def is_turned(image: Image.Image) -> bool:
    """Returns whether EXIF turns or mirrors the image, as far as it was read; a PNG may have it after its pixels."""
    exif = image.info.get("exif")
    if image.format == "PNG" and exif is None:
        return False
    if isinstance(exif, bytes):
        _require_small_directory(exif.removeprefix(b"Exif\0\0"))
    return image.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9)


def has_deep_colours(image: ImageFile.ImageFile) -> bool:
    """Returns whether an image, not yet decoded, has colours of 16 bits, of which Pillow keeps the upper 8."""
    coder, _, _, details = image.tile[0] if image.tile else ("", (), 0, "")
    deep = ";16" in str(details) or (coder == "ppm" and isinstance(details, tuple) and details[1] > 255)
    return deep and image.mode in ("RGB", "RGBA", "LA")


def require_bright(image: Image.Image) -> None:
    """Raises ValueError if colours that had 16 bits use no more than 12 of them, so that only a trace is left."""
    top = 0
    for _, strip in row_strips(image):
        colours = np.asarray(strip)[..., : 1 if image.mode == "LA" else 3]
        top = max(top, int(colours.max()))
    if 0 < top <= 15:
        raise ValueError(
            f"its colours of 16 bits are at most {256 * top + 255} of 65535 and would be almost black; store them with "
            "8 bits, or scaled to 65535"
        )


def row_strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Yields strips of about a million pixels, for little memory: the first row of each, and a copy of its pixels."""
    rows = max(1, STRIP // image.width)
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def require_room(image: ImageFile.ImageFile) -> None:
    """Raises ValueError if a decoded image is too large to turn it, as a PNG may ask for after its pixels."""
    needed = needed_bytes(image)
    if needed > MEMORY:
        raise _too_large(image, needed)


def needed_bytes(image: ImageFile.ImageFile, *, shrink: int = 1, file: int = 0) -> int:
    """Returns about how much memory the image takes while it is decoded, turned and converted to RGB.

    Args:
        shrink: the pixels are decoded at this part of their height and width.
        file: bytes of the file, if its reader may map it into memory.
    """
    raster = RASTER.get(image.mode, 4)
    converted = 0 if image.mode == "RGB" and not image.has_transparency_data else 4
    turned = raster if is_turned(image) else 0
    pixels = image.width * image.height
    kept = -(-image.width // shrink) * -(-image.height // shrink)
    return int(max(raster * kept + _decoder_bytes(image, pixels, file), (raster + max(turned, converted)) * kept))


def _identified(stream: _MeteredFile) -> ImageFile.ImageFile:
    try:
        return Image.open(stream, formats=known_formats())
    except Image.DecompressionBombError:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise ValueError(f"it has more than {most:,} pixels, the most that are read; give a smaller copy") from None
    except UnidentifiedImageError:
        raise ValueError("it is none of the formats that are read, or its beginning is broken") from None


def _require_quick(image: ImageFile.ImageFile, stream: _MeteredFile) -> None:
    """Raises ValueError for an image whose decoding would take minutes."""
    pixels = image.width * image.height
    if pixels > SLOW and any(tile[0] in Image.DECODERS for tile in image.tile):
        raise ValueError(
            f"it has {image.height} x {image.width} pixels, and of a plain, 16-bit or run-length file of this format "
            f"at most {SLOW:,} are read; save it as PNG"
        )
    if image.info.get("progressive"):
        place = stream.tell()
        stream.seek(0)
        scans = sum(block.count(b"\xff\xda") for block in iter(lambda: BufferedReader.read(stream, 2**20), b""))
        stream.seek(place)
        if scans * pixels > max(SCANS, 16 * pixels):
            raise ValueError(f"it is a progressive JPEG of {scans} scans; save it anew")


def _reduce(image: ImageFile.ImageFile, *, beside: int, file: int, most: int) -> None:
    """Has a JPEG decoded smaller as far as the memory asks for it. Raises ValueError if it is too large anyway."""
    is_jpeg = image.format in ("JPEG", "MPO")
    for shrink in (1, 2, 4, 8):
        needed = beside + needed_bytes(image, shrink=shrink, file=file)
        if needed <= MEMORY:
            if shrink > 1:
                image.draft(None, (image.width // shrink, image.height // shrink))
            return
        if not is_jpeg or shrink == most:
            break
    raise _too_large(image, needed)


def _too_large(image: Image.Image, needed: int) -> ValueError:
    return ValueError(
        f"it has {image.height} x {image.width} pixels, whose decoding would take {needed >> 20} MB of memory, more "
        f"than {MEMORY >> 20}; give a smaller copy"
    )


def _decoder_bytes(image: ImageFile.ImageFile, pixels: int, file: int) -> float:
    """Returns the memory of the decoder beside the raster."""
    if image.info.get("progressive"):  # two bytes for each coefficient of each component
        most = max(h * v for _, h, v, _ in image.layer)  # type: ignore[attr-defined]
        return 2 * pixels * sum(h * v for _, h, v, _ in image.layer) / max(most, 1)  # type: ignore[attr-defined]
    if image.format == "JPEG2000":
        return 5.3 * len(image.getbands()) * pixels
    if image.format == "TIFF":
        return _tiff_bytes(image, pixels, file)
    return DECODER.get(image.format or "", 0.0) * pixels


def _tiff_bytes(image: ImageFile.ImageFile, pixels: int, file: int) -> float:
    """Returns the memory of a strip or tile and its copy, and of the file, which the reader maps."""
    if image.tile and image.tile[0][0] == "raw":
        return 0.0
    tags = image.tag_v2  # type: ignore[attr-defined]
    bits = tags.get(258) or (1,)
    depth = max(1, sum(bits) / 8) if isinstance(bits, tuple) else max(1, bits / 8)
    across, down = tags.get(322), tags.get(323)
    rows = min(int(tags.get(278) or image.height), image.height)
    strip = across * down if across and down else rows * image.width
    return 2 * depth * strip + min(file, depth * pixels)


def _require_small_directory(block: bytes) -> None:
    """Raises ValueError if the entries of an EXIF directory claim more bytes than a file may have beside its pixels."""
    order = "<" if block[:2] == b"II" else ">"
    try:
        (offset,) = struct.unpack_from(order + "L", block, 4)
        (count,) = struct.unpack_from(order + "H", block, offset)
        entries = [struct.unpack_from(order + "HHL", block, offset + 2 + 12 * place) for place in range(count)]
    except struct.error:
        if len(block) > 2**15:  # the directory may be in a later part
            raise ValueError("its EXIF directory is not at the beginning; save the picture without EXIF") from None
        return
    if sum(length * UNITS[kind] for _, kind, length in entries if kind < len(UNITS)) > BESIDE:
        raise ValueError("its EXIF claims more bytes than any camera writes; save the picture without EXIF")

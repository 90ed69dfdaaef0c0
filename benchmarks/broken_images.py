"""Image files of 38 kinds and broken copies of them, the same ones for the same seed.

Bytes are flipped, cut off, inserted, repeated and exchanged between kinds, and numbers of headers become extreme. The
checksums of every second broken PNG are right again, or its reader would look no further.
"""

import io
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

SIDES = (40, 53)  # height and width of the whole images
EXTREME = tuple(
    struct.pack(order + "I", value)
    for order in "<>"
    for value in (0, 1, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
)
"""Numbers that a reader of headers may not expect."""
PNG_START = b"\x89PNG\r\n\x1a\n"


def mutated_images(folder: Path, count: int, seed: int) -> Iterator[Path]:
    """Writes broken images one after another and yields the file of each: <number>-<kind>-<mutation>.<suffix>.

    The kinds take turns. A file is written when it is asked for; the caller may delete it before the next.

    Args:
        folder: where to write; it is made if it does not exist.
        count: number of files.
        seed: seed of all draws.
    """
    folder.mkdir(parents=True, exist_ok=True)
    draw, kinds, mutations = random.Random(seed), list(whole_images().items()), list(MUTATIONS.items())
    for number in range(count):
        name, (suffix, content) = kinds[number % len(kinds)]
        mutation, change = draw.choice(mutations)
        broken = content
        for _ in range(draw.choice((1, 1, 2, 4))):
            broken = change(broken, draw)
        if broken.startswith(PNG_START) and draw.random() < 0.5:
            broken = with_checksums(broken)
        path = folder / f"{number:05d}-{name}-{mutation}.{suffix}"
        path.write_bytes(broken)
        yield path


@cache
def whole_images() -> dict[str, tuple[str, bytes]]:
    """Returns kind -> the suffix and the content of a small image that can be read."""
    return {name: (suffix, write()) for name, (suffix, write) in KINDS.items()}


def _flipped(content: bytes, draw: random.Random) -> bytes:
    """Returns the content with 1 to 8 other bytes, of which half are within the first 100."""
    changed = bytearray(content)
    for _ in range(draw.randint(1, 8) if content else 0):
        reach = min(100, len(changed)) if draw.random() < 0.5 else len(changed)
        changed[draw.randrange(reach)] ^= 1 << draw.randrange(8)
    return bytes(changed)


def _cut(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.randint(0, len(content))]


def _inserted(content: bytes, draw: random.Random) -> bytes:
    place = draw.randint(0, len(content))
    block = draw.choice((draw.randbytes(draw.randint(1, 300)), bytes(draw.randint(1, 5000)), b"\xff" * 999))
    return content[:place] + block + content[place:]


def _removed(content: bytes, draw: random.Random) -> bytes:
    start = draw.randint(0, len(content))
    return content[:start] + content[start + draw.randint(1, 100) :]


def _repeated(content: bytes, draw: random.Random) -> bytes:
    start = draw.randint(0, len(content))
    block = content[start : start + draw.randint(1, 200)] * draw.randint(1, 50)
    return content[:start] + block + content[start:]


def _overwritten(content: bytes, draw: random.Random) -> bytes:
    start, length = draw.randint(0, len(content)), draw.randint(1, 64)
    block = draw.choice((draw.randbytes(length), bytes(length), b"\xff" * length))
    return content[:start] + block + content[start + length :]


def _extreme(content: bytes, draw: random.Random) -> bytes:
    """Returns the content with an extreme number of 4 or 2 bytes, mostly in the header."""
    place = draw.randint(0, min(200, len(content)) if draw.random() < 0.8 else len(content))
    number = draw.choice(EXTREME)[: draw.choice((4, 4, 2))]
    return content[:place] + number + content[place + len(number) :]


def _crossed(content: bytes, draw: random.Random) -> bytes:
    """Returns the head of one kind with the tail of another."""
    _, other = draw.choice(list(whole_images().values()))
    return content[: draw.randint(0, len(content))] + other[draw.randint(0, len(other)) :]


MUTATIONS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "flipped": _flipped,
    "cut": _cut,
    "inserted": _inserted,
    "removed": _removed,
    "repeated": _repeated,
    "overwritten": _overwritten,
    "extreme": _extreme,
    "crossed": _crossed,
}


def chunk(name: bytes, data: bytes) -> bytes:
    """Returns a chunk of a PNG with its length and checksum."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def with_checksums(png: bytes) -> bytes:
    """Returns a PNG whose chunks have the right checksums, as far as they can be told apart."""
    parts, place = [PNG_START], len(PNG_START)
    while place + 12 <= len(png):
        (length,) = struct.unpack(">I", png[place : place + 4])
        name, data = png[place + 4 : place + 8], png[place + 8 : place + 8 + length]
        end = place + 12 + length
        if end > len(png):
            break
        parts.append(png[place : place + 4] + name + data + struct.pack(">I", zlib.crc32(name + data)))
        place = end
    return b"".join(parts) + png[place:]


def png_of_one_colour(width: int, height: int, *, depth: int = 8, colour: int = 2, rows: int | None = None) -> bytes:
    """Returns a PNG of black pixels, whose file is tiny for any size.

    Args:
        depth, colour: bits of a value, and the type of the PNG, 2 for RGB.
        rows: the number of rows that the file really has; all by default.
    """
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    row = bytes(1 + (width * channels * depth + 7) // 8)
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(row) for _ in range(height if rows is None else rows)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return PNG_START + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def _interlaced() -> bytes:
    """Returns a PNG in the seven passes of Adam7, which Pillow reads but does not write."""
    pixels = _pixels()
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    rows = [row for top, left, down, right in passes for row in pixels[top::down, left::right] if row.size]
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8, 2, 0, 0, 1)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    return PNG_START + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def _pixels() -> np.ndarray:
    y, x = np.mgrid[: SIDES[0], : SIDES[1]]
    noise = np.random.default_rng(0).integers(0, 40, (*SIDES, 3))
    return (np.stack([4 * x, 5 * y, 2 * x + 2 * y], -1) + noise).astype(np.uint8)


def _photo(mode: str = "RGB") -> Image.Image:
    picture = Image.fromarray(_pixels())
    if mode == "RGBA":
        picture.putalpha(picture.convert("L"))
        return picture
    if mode == "P":
        return picture.quantize(32)
    if mode == "I;16":
        return Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
    if mode == "F":
        return Image.fromarray(np.asarray(picture.convert("L")).astype(np.float32) / 255)
    return picture.convert(mode)


def _saved(format: str, mode: str = "RGB", **options: object) -> Callable[[], bytes]:
    def write() -> bytes:
        stream = io.BytesIO()
        _photo(mode).save(stream, format, **options)
        return stream.getvalue()

    return write


def _animated(format: str, mode: str = "RGB", **options: object) -> Callable[[], bytes]:
    def write() -> bytes:
        stream, first = io.BytesIO(), _photo(mode)
        others = [first.rotate(90), first.rotate(180)]
        first.save(stream, format, save_all=True, append_images=others, **options)
        return stream.getvalue()

    return write


def _with_text() -> bytes:
    stream, facts = io.BytesIO(), PngImagePlugin.PngInfo()
    facts.add_text("Title", "a photo " * 20)
    facts.add_text("Comment", "packed " * 50, zip=True)
    facts.add_itxt("Author", "someone", lang="en", zip=True)
    _photo().save(stream, "PNG", pnginfo=facts, icc_profile=b"profile" * 30, dpi=(72, 72), exif=_exif())
    return stream.getvalue()


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera"
    return exif


def _plain() -> bytes:
    numbers = " ".join(map(str, _pixels().ravel()))
    return f"P3\n{SIDES[1]} {SIDES[0]}\n255\n{numbers}\n".encode()


KINDS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "jpeg": ("jpg", _saved("JPEG")),
    "jpeg-progressive": ("jpeg", _saved("JPEG", progressive=True)),
    "jpeg-grey": ("jpe", _saved("JPEG", "L")),
    "jpeg-cmyk": ("jpg", _saved("JPEG", "CMYK")),
    "jpeg-exif": ("jfif", _saved("JPEG", exif=_exif(), icc_profile=b"profile" * 50, comment=b"a comment")),
    "mpo": ("jpg", _animated("MPO")),
    "png": ("png", _saved("PNG")),
    "png-alpha": ("png", _saved("PNG", "RGBA")),
    "png-palette": ("png", _saved("PNG", "P", transparency=3)),
    "png-16": ("png", _saved("PNG", "I;16")),
    "png-bilevel": ("png", _saved("PNG", "1")),
    "png-interlaced": ("png", _interlaced),
    "png-text": ("png", _with_text),
    "apng": ("apng", _animated("PNG")),
    "gif": ("gif", _saved("GIF", "P")),
    "gif-animated": ("gif", _animated("GIF", "P", transparency=2, disposal=2)),
    "bmp": ("bmp", _saved("BMP")),
    "bmp-palette": ("bmp", _saved("BMP", "P")),
    "dib": ("dib", _saved("DIB")),
    "tiff": ("tif", _saved("TIFF")),
    "tiff-lzw": ("tiff", _saved("TIFF", compression="tiff_lzw")),
    "tiff-jpeg": ("tif", _saved("TIFF", compression="jpeg")),
    "tiff-deflate-cmyk": ("tif", _saved("TIFF", "CMYK", compression="tiff_adobe_deflate")),
    "tiff-16": ("tif", _saved("TIFF", "I;16")),
    "tiff-float": ("tif", _saved("TIFF", "F")),
    "tiff-fax": ("tif", _saved("TIFF", "1", compression="group4")),
    "tiff-pages": ("tif", _animated("TIFF")),
    "webp": ("webp", _saved("WEBP")),
    "webp-lossless": ("webp", _saved("WEBP", "RGBA", lossless=True)),
    "webp-animated": ("webp", _animated("WEBP")),
    "avif": ("avif", _saved("AVIF", quality=50)),
    "ppm": ("ppm", _saved("PPM")),
    "ppm-plain": ("pnm", _plain),
    "pgm": ("pgm", _saved("PPM", "L")),
    "pbm": ("pbm", _saved("PPM", "1")),
    "tga": ("tga", _saved("TGA", "RGBA")),
    "tga-rle": ("tga", _saved("TGA", compression="tga_rle")),
    "jp2": ("jp2", _saved("JPEG2000")),
}
"""Kind -> suffix, and the function that writes a whole image."""

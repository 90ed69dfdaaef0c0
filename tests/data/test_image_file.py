"""One file never costs another: what hangs, starts a program, fills the memory or takes minutes is refused at once."""

import io
import os
import resource
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from inr_xai.data import image_file, read_image, transform
from inr_xai.data.files import open_regular
from inr_xai.data.marks import read_label_map, read_object, stored_size, upright
from inr_xai.data.transform import PhotoReader, to_input
from inr_xai.errors import UserError
from inr_xai.types import Preprocessing
from tests.helpers.broken_images import PNG_START, chunk, mutated_images, png_of_one_colour, whole_images

USUAL = Preprocessing((224, 224), 256, "bilinear", (0.5,) * 3, (0.25,) * 3)
STATUS = Path("/proc/self/status")


def peak() -> float:
    """Returns the largest memory of this process since `forget_peak`, in MB."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1000


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def png_with(*before: bytes, after: bytes = b"") -> bytes:
    """Returns a PNG of 10 x 10 pixels with chunks before and after its pixels."""
    header = struct.pack(">IIBBBBB", 10, 10, 8, 2, 0, 0, 0)
    pixels = zlib.compress((b"\0" + bytes(30)) * 10)
    parts = [chunk(b"IHDR", header), *before, chunk(b"IDAT", pixels), after, chunk(b"IEND", b"")]
    return PNG_START + b"".join(parts)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def directory(entries: int, claimed: int) -> bytes:
    """Returns an EXIF directory whose entries all claim the same bytes."""
    lines = b"".join(struct.pack(">HHLL", tag + 1, 7, claimed, 8) for tag in range(entries))
    return b"MM\0*" + struct.pack(">LH", 8, entries) + lines


def hostile_files() -> dict[str, bytes]:
    """Returns small files that would take gigabytes or minutes."""
    jpeg = saved(Image.new("RGB", (64, 64)), "JPEG")
    progressive = saved(Image.new("L", (3000, 3000)), "JPEG", progressive=True)
    scan = progressive[progressive.rindex(b"\xff\xda") : -2]
    bare = jpeg[:2] + jpeg[20:]  # without a resolution, which Pillow then looks for in the EXIF
    exif = b"Exif\0\0" + directory(5000, 65000)
    run_lengths = b"BM" + struct.pack("<IHHI", 0, 0, 0, 1078)
    run_lengths += struct.pack("<IiiHHIIiiII", 40, 9000, 9000, 1, 8, 1, 0, 0, 0, 256, 0) + bytes(1024)
    return {
        "pixels.png": png_of_one_colour(20000, 20000, rows=9),
        "grey.png": png_of_one_colour(13000, 13000, depth=1, colour=0, rows=9),
        "alpha.png": png_of_one_colour(9000, 9000, colour=6, rows=9),
        "text.png": png_with(chunk(b"tEXt", b"a\0" + b"x" * 40_000_000)),
        "text-after.png": png_with(after=chunk(b"tEXt", b"a\0" + b"x" * 40_000_000)),
        "chunks.png": png_with(chunk(b"abCd", b"") * 150_000),
        "exif.png": png_with(chunk(b"eXIf", directory(5000, 60_000))),
        "exif.jpg": bare[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + bare[2:],
        "filled.jpg": jpeg[:2] + b"\xff" * 20_000_000 + jpeg[2:],
        "scans.jpg": progressive[:-2] + scan * 150 + progressive[-2:],
        "huge.ppm": b"P6 100000 100000 255\n",
        "plain.pnm": b"P3 9000 9000 255\n",
        "lengths.bmp": run_lengths + b"\x01\x05\0\0" * 9000,
        "canvas.gif": b"GIF89a" + struct.pack("<HH", 13000, 13000) + saved(Image.new("P", (9, 9)), "GIF")[10:],
        "directory.tif": directory(5000, 700_000) + bytes(700_000),
    }


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="the memory's peak cannot be read")
@pytest.mark.slow
def test_no_file_takes_the_memory_or_the_time_of_others(tmp_path: Path) -> None:
    read_image(write(tmp_path / "warm.png", png_of_one_colour(9, 9)))
    for name, content in hostile_files().items():
        file = write(tmp_path / name, content)
        del content
        forget_peak()
        before, started = peak(), time.process_time()
        with pytest.raises(UserError, match=rf"cannot read the image '.*{name}' \("):
            read_image(file)
        assert peak() - before < 150, name
        assert time.process_time() - started < 60, name  # of a busy machine; read to its end, such a file takes hours
        file.unlink()


def write(file: Path, content: bytes) -> Path:
    file.write_bytes(content)
    return file


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="the memory's peak cannot be read")
@pytest.mark.parametrize("size", [(4000, 1), (1, 4000)])
def test_a_strip_takes_the_memory_of_the_input_alone(tmp_path: Path, size: tuple[int, int]) -> None:
    file = write(tmp_path / "strip.png", png_of_one_colour(*size))
    assert file.stat().st_size < 120
    forget_peak()
    before = peak()
    image, frame = PhotoReader().read_input(file, USUAL)
    assert peak() - before < 60
    assert frame.resized == ((256, 1024000) if size == (4000, 1) else (1024000, 256))
    assert torch.equal(image, torch.zeros(3, 224, 224))


def test_the_part_alone_is_the_crop_of_the_whole_but_for_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (70, 301, 3), dtype=np.uint8))
    for size, resize, interpolation in [((64, 64), 80, "bilinear"), ((32, 90), 40, "bicubic"), ((99, 50), 60, "box")]:
        preprocessing = Preprocessing(size, resize, interpolation, (0.5,) * 3, (0.25,) * 3)
        whole, frame = to_input(photo, preprocessing)
        with monkeypatch.context() as patch:
            patch.setattr(transform, "AT_ONCE", 0)
            part, same = to_input(photo, preprocessing)
        assert frame == same
        assert 255 * (part - whole).abs().max() < (40 if interpolation == "box" else 2.01), interpolation
        assert 255 * (part - whole).abs().mean() < 0.5


def test_a_jpeg_beyond_the_memory_is_decoded_smaller_and_others_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    y, x = np.mgrid[:400, :601]
    smooth = np.stack([120 + 100 * np.sin(y / 60), 120 + 100 * np.cos(x / 50), 0 * x + 60], -1).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(smooth).save(tmp_path / "a.jpg", quality=95)
    Image.fromarray(smooth).save(tmp_path / "turned.jpg", quality=95, exif=exif)
    Image.fromarray(smooth).save(tmp_path / "a.png")
    whole = {name: PhotoReader().read_input(tmp_path / name, USUAL) for name in ("a.jpg", "turned.jpg")}
    for memory, shrink in [(2_000_000, 1), (300_000, 2), (100_000, 4)]:
        monkeypatch.setattr(image_file, "MEMORY", memory)
        assert read_image(tmp_path / "a.jpg").size == (-(-601 // shrink), 400 // shrink)
        for name, (expected, frame) in whole.items():
            image, same = PhotoReader().read_input(tmp_path / name, USUAL)
            assert same == frame
            assert frame.original == ((400, 601) if name == "a.jpg" else (601, 400))
            assert 255 * (image - expected).abs().mean() < 3
    with pytest.raises(
        UserError, match=r"a\.png' \(it has 400 x 601 pixels, whose decoding would take .* MB of memory"
    ):
        read_image(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"it has 400 x 601 pixels"):
        read_object(tmp_path / "a.jpg")
    upright_size, content = 4 * 400 * 601, (tmp_path / "a.png").read_bytes()
    monkeypatch.setattr(image_file, "MEMORY", upright_size + 1000)
    assert read_image(tmp_path / "a.png").size == (601, 400)
    late = content[:-12] + chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")) + content[-12:]
    with pytest.raises(UserError, match=r"late\.png' \(it has 400 x 601 pixels"):  # turning it takes as much again
        read_image(write(tmp_path / "late.png", late))
    monkeypatch.setattr(image_file, "MEMORY", 2 * upright_size)
    assert read_image(tmp_path / "late.png").size == (400, 601)
    assert stored_size(tmp_path / "a.jpg") == (400, 601)


def test_a_pipe_neither_blocks_nor_is_read(tmp_path: Path) -> None:
    pipe = tmp_path / "a.jpg"
    os.mkfifo(pipe)
    for read in (read_image, read_object, stored_size, lambda file: read_label_map(file, ("L",))):
        with pytest.raises(UserError, match=r"a\.jpg' \(it is no regular file\)"):
            read(pipe)
    with pytest.raises(UserError, match=r"cannot read the image .*it is no regular file"):
        upright(torch.zeros(2, 2, dtype=torch.bool), pipe)
    for device in (Path("/dev/zero"), tmp_path):
        with pytest.raises(OSError, match=r"no regular file|Is a directory|directory"):
            open_regular(device)


def test_a_postscript_file_starts_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = tmp_path / "started"
    program = write(tmp_path / "gs", f"#!/bin/sh\ntouch {trace}\n".encode())
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    content = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    for name in ("a.jpg", "b.png"):
        for read in (read_image, read_object):
            with pytest.raises(UserError, match=r"it is none of the formats that are read"):
                read(write(tmp_path / name, content))
    assert not trace.exists()


def test_whatever_is_wrong_with_a_file_is_the_sentence_of_its_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "a.png", png_of_one_colour(9, 9))
    for error in (MemoryError(), RecursionError("too deep"), struct.error("bad"), SyntaxError("a\nb"), KeyError("x")):

        def fail(*_: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
        for read in (read_image, read_object):
            with pytest.raises(UserError, match=rf"'.*a\.png' \(({type(error).__name__}|too deep|bad|a b|'x')\)"):
                read(file)


def test_mutated_files_are_read_or_refused(tmp_path: Path) -> None:
    """A file of any kind, broken in any way, gives an input in [0, 1] or the sentence of a UserError."""
    reader, outcomes = PhotoReader(), {True: 0, False: 0}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for file in mutated_images(tmp_path, count=3 * len(whole_images()), seed=3):
        try:
            image, _ = reader.read_input(file, Preprocessing((24, 24), 28, "bilinear", (0.5,) * 3, (0.25,) * 3))
            assert 0 <= image.min() <= image.max() <= 1
            outcomes[True] += 1
        except UserError:
            outcomes[False] += 1
        file.unlink()
    assert min(outcomes.values()) > 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000


@pytest.mark.parametrize("kind", whole_images())
def test_every_kind_is_read(tmp_path: Path, kind: str) -> None:
    suffix, content = whole_images()[kind]
    turned = kind in ("png-text", "jpeg-exif")
    assert read_image(write(tmp_path / f"a.{suffix}", content)).size == ((40, 53) if turned else (53, 40))

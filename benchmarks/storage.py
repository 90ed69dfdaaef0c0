"""How many bytes an image takes in a run folder, and how long it is written and read, for each way to store its masks.

    python benchmarks/storage.py RUN [RUN ...]

For each run, two tables: what its masks files consist of, and ways to store the masks alone, each a mean over the
images. Seconds are those of the processor, the best of three. "same bits" says whether float16 masks come back as they
were; "hard" is the share of images whose hard masks at the fitted areas are the same; "difference" is the largest of a
value. Weights are read back by drawing the masks. Rank maps tell the order in which pixels are kept, from which hard
masks of every area follow if masks of larger areas contain those of smaller ones; "nested" is the share of masks that
do.
"""

import argparse
import bz2
import json
import lzma
import statistics
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

import inr_xai
from inr_xai.masks import hard_masks
from inr_xai.runs.files import format_csv, markdown_table
from inr_xai.runs.load import Explained, draw_explanations
from inr_xai.runs.masks_coding import compress_masks, decompress_masks
from inr_xai.runs.masks_file import SampleRecord, pack_record

Array = np.ndarray[Any, Any]
HALF = torch.float16


class Way(NamedTuple):
    """A way to store masks.

    Args:
        write: makes bytes of an image's masks.
        read: makes masks of these, k x a x h x w; None if they cannot be had from them.
    """

    write: Callable[[SampleRecord], bytes]
    read: Callable[[bytes, SampleRecord], Array] | None


def values(record: SampleRecord) -> Array:
    """Returns the masks as 16-bit whole numbers, k x a x h x w."""
    return record.masks.contiguous().numpy().view(np.uint16)


def planes(numbers: Array) -> bytes:
    """Returns the low bytes of 16-bit numbers, and behind them the high ones."""
    return np.ascontiguousarray(numbers).view(np.uint8).reshape(-1, 2).T.tobytes()


def from_planes(data: bytes, record: SampleRecord) -> Array:
    """Returns the 16-bit numbers of `planes`."""
    numbers = np.ascontiguousarray(np.frombuffer(data, np.uint8).reshape(2, -1).T).view(np.uint16)
    return numbers.reshape(record.masks.shape)


def row_differences(numbers: Array) -> Array:
    """Returns each pixel's number less that of its left neighbour."""
    return np.diff(numbers, axis=-1, prepend=np.zeros_like(numbers[..., :1]))


def area_differences(numbers: Array) -> Array:
    """Returns the bits in which the masks of an area differ from those of the area before."""
    return np.concatenate([numbers[:, :1], numbers[:, 1:] ^ numbers[:, :-1]], axis=1)


def eight_bits(record: SampleRecord) -> Array:
    """Returns the masks in 8 bits, k x a x h x w."""
    return np.asarray((record.masks.float() * 255).round().to(torch.uint8))


def hard(masks: torch.Tensor, areas: Sequence[float]) -> torch.Tensor:
    """Returns hard masks as a run scores them, with ties broken in the same way."""
    generators = [torch.Generator().manual_seed(0) for _ in masks]
    return hard_masks(masks.float(), torch.tensor(areas), generators=generators)


def hard_bits(record: SampleRecord) -> bytes:
    """Returns the hard masks, one bit a pixel."""
    return np.packbits(np.asarray(hard(record.masks, record.areas))).tobytes()


def rank_maps(record: SampleRecord) -> Array:
    """Returns the place of each pixel in the order in which it is kept, by the sum of its masks, k x h x w."""
    keys = record.masks.double().sum(1).flatten(1)
    ranks = keys.argsort(dim=1, descending=True).argsort(dim=1)
    return np.asarray(ranks).astype(np.uint16).reshape(len(keys), *record.masks.shape[-2:])


def weights(record: SampleRecord) -> bytes:
    """Returns the weights of all INRs."""
    return b"".join(value.contiguous().numpy().tobytes() for inr in record.inrs for value in inr.values())


def drawn(data: bytes, record: SampleRecord) -> Array:
    """Returns the masks as the INRs draw them."""
    size = (record.masks.shape[-2], record.masks.shape[-1])
    return np.asarray(draw_explanations(record, record.areas, size).half()).view(np.uint16)


def of_bytes(data: bytes, record: SampleRecord) -> Array:
    """Returns masks of 8 bits as float16."""
    numbers = np.frombuffer(data, np.uint8).reshape(record.masks.shape)
    return np.asarray(torch.from_numpy(numbers.copy()).div(255).to(HALF)).view(np.uint16)


def ours(data: bytes, record: SampleRecord) -> Array:
    """Returns the masks that a masks file has in this form."""
    k, a, h, w = record.masks.shape
    return np.asarray(decompress_masks(torch.frombuffer(bytearray(data), dtype=torch.uint8), (k, a, h, w))).view(
        np.uint16
    )


def packed(transform: Callable[[Array], Array], pack: Callable[[bytes], bytes]) -> Callable[[SampleRecord], bytes]:
    """Returns a function that compresses the planes of transformed masks."""
    return lambda record: pack(planes(transform(values(record))))


def same(numbers: Array) -> Array:
    """Returns what it is given."""
    return numbers


WAYS: dict[str, Way] = {
    "float16": Way(
        lambda record: values(record).tobytes(), lambda d, r: np.frombuffer(d, "<u2").reshape(r.masks.shape)
    ),
    "float16, zlib 6": Way(
        lambda record: zlib.compress(values(record).tobytes(), 6),
        lambda d, r: np.frombuffer(zlib.decompress(d), "<u2").reshape(r.masks.shape),
    ),
    "planes, zlib 1": Way(packed(same, lambda d: zlib.compress(d, 1)), lambda d, r: from_planes(zlib.decompress(d), r)),
    "planes, zlib 6": Way(packed(same, lambda d: zlib.compress(d, 6)), lambda d, r: from_planes(zlib.decompress(d), r)),
    "planes, zlib 9": Way(packed(same, lambda d: zlib.compress(d, 9)), lambda d, r: from_planes(zlib.decompress(d), r)),
    "planes, bz2": Way(packed(same, bz2.compress), lambda d, r: from_planes(bz2.decompress(d), r)),
    "planes, lzma 0": Way(
        packed(same, lambda d: lzma.compress(d, preset=0)), lambda d, r: from_planes(lzma.decompress(d), r)
    ),
    "planes, lzma 6": Way(packed(same, lzma.compress), lambda d, r: from_planes(lzma.decompress(d), r)),
    "row differences, planes, zlib 6": Way(
        packed(row_differences, lambda d: zlib.compress(d, 6)),
        lambda d, r: np.cumsum(from_planes(zlib.decompress(d), r), axis=-1, dtype=np.uint16),
    ),
    "row differences, planes, lzma 6": Way(
        packed(row_differences, lzma.compress),
        lambda d, r: np.cumsum(from_planes(lzma.decompress(d), r), axis=-1, dtype=np.uint16),
    ),
    "bits that differ from the area before, planes, zlib 6": Way(
        packed(area_differences, lambda d: zlib.compress(d, 6)),
        lambda d, r: np.bitwise_xor.accumulate(from_planes(zlib.decompress(d), r), axis=1),
    ),
    "as a masks file (store.masks=lossless)": Way(lambda r: compress_masks(r.masks).numpy().tobytes(), ours),
    "8 bits, zlib 6": Way(
        lambda record: zlib.compress(eight_bits(record).tobytes(), 6), lambda d, r: of_bytes(zlib.decompress(d), r)
    ),
    "8 bits and hard masks, zlib 6": Way(
        lambda record: zlib.compress(eight_bits(record).tobytes() + hard_bits(record), 6), None
    ),
    "hard masks, zlib 6": Way(lambda record: zlib.compress(hard_bits(record), 6), None),
    "rank maps, 16 bits, row differences, zlib 6": Way(
        lambda record: zlib.compress(planes(row_differences(rank_maps(record))), 6), None
    ),
    "rank maps, 8 bits, zlib 6": Way(
        lambda record: zlib.compress((rank_maps(record) // 256).astype(np.uint8).tobytes(), 6), None
    ),
    "weights": Way(weights, drawn),
    "weights, zlib 6": Way(lambda record: zlib.compress(weights(record), 6), lambda d, r: drawn(d, r)),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Reads the command line, prints the tables of each run, and returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="the folder of a run")
    parser.add_argument("--images", type=int, default=8, help="how many of each run, at most (%(default)s)")
    args = parser.parse_args(arguments)
    for path in args.runs:
        run = inr_xai.load(path)
        images = [run[name] for name in list(run)[: args.images]]
        shape = " x ".join(map(str, images[0].masks.shape))
        sys.stdout.write(f"{path.name}: {len(images)} images, masks {shape}, nested {nested(images):.3f}\n\n")
        sys.stdout.write(parts_table(images) + "\n" + ways_table(images) + "\n")
    return 0


def nested(images: Sequence[Explained]) -> float:
    """Returns the share of hard masks that the hard mask of the next larger area contains."""
    contained = []
    for explained in images:
        order = sorted(range(len(explained.areas)), key=explained.areas.__getitem__)
        masks = hard(explained.masks, explained.areas)[:, order]
        contained += [
            not bool((masks[:, a] & ~masks[:, a + 1])[k].any())
            for k in range(len(masks))
            for a in range(len(order) - 1)
        ]
    return statistics.fmean(contained) if contained else 1.0


def parts_table(images: Sequence[Explained]) -> str:
    """Returns what the file of an image consists of, and how large it is in each coding."""
    sizes: dict[str, list[int]] = {}
    for explained in images:
        record = explained.record
        for name, size in {
            "masks, float16": 2 * record.masks.numel(),
            "masks, lossless": len(compress_masks(record.masks)),
            "weights": len(weights(record)),
            "losses": 4 * record.losses.numel(),
            "rows, JSON": len(json.dumps(record.rows)),
            "rows, CSV of the index": len(format_csv(record.rows, header=False)),
            "file, float16": len(pack_record(record)),
            "file, lossless": len(pack_record(record, "lossless")),
        }.items():
            sizes.setdefault(name, []).append(size)
    return markdown_table(
        ["part", "kB an image"], [[name, f"{statistics.fmean(part) / 1000:.1f}"] for name, part in sizes.items()]
    )


def ways_table(images: Sequence[Explained]) -> str:
    """Returns the table of all ways."""
    rows, plain = [], 0.0
    for name, way in WAYS.items():
        sizes, writing, reading, bits, hards, difference = list[int](), 0.0, 0.0, True, list[bool](), 0.0
        for explained in images:
            record = explained.record
            seconds, data = timed(way.write, record)
            writing += seconds
            sizes.append(len(data))
            if way.read is None:
                continue
            seconds, back = timed(way.read, data, record)
            reading += seconds
            masks = torch.from_numpy(back.copy().view(np.float16))
            bits &= torch.equal(masks.view(torch.int16), record.masks.view(torch.int16))
            hards.append(torch.equal(hard(masks, record.areas), hard(record.masks, record.areas)))
            difference = max(difference, float((masks.float() - record.masks.float()).abs().max()))
        size = statistics.fmean(sizes)
        plain = plain or size
        cells = [name, f"{size / 1000:.1f}", f"{size / plain:.3f}", f"{1000 * writing / len(images):.1f}"]
        known = way.read is not None
        cells += [f"{1000 * reading / len(images):.1f}", "yes" if bits else "no"] if known else ["-", "-"]
        cells += [f"{statistics.fmean(hards):.2f}", f"{difference:.1g}"] if known else ["-", "-"]
        rows.append(cells)
    head = ["masks", "kB an image", "of float16", "ms to write", "ms to read", "same bits", "hard", "difference"]
    return markdown_table(head, rows, rules=["---", *["---:"] * 7])


def timed(work: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    """Returns the seconds of the processor that the work takes, the best of three, and what it returns."""
    best, result = float("inf"), None
    for _ in range(3):
        began = time.process_time()
        result = work(*arguments)
        best = min(best, time.process_time() - began)
    return best, result


if __name__ == "__main__":
    sys.exit(main())

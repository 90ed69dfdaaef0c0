"""Pages of a run for tests: made-up entries, what a page's file holds, and masks unpacked by another program."""

import base64
import io
import json
import re
from typing import Any

import numpy as np
import torch
from PIL import Image

from inr_xai.report.content import CHANCE, KEPT, REMOVED, Entry, photo_of
from inr_xai.report.packing import PackedMasks, pack
from inr_xai.report.page import PageRun, page_html
from tests.conftest import pictures

SIDE = 16
AREAS = (0.1, 0.25)
DRAWN = [0.05, 0.1, 0.25, 0.5]
HOSTILE = "</script><img src=x onerror=alert(1)>\"'&<b>"


def made_up(name: str, kept: float = 0.5, *, seed: int = 0, nested: bool = True, **more: Any) -> Entry:
    """Returns an entry with two explanations; explanation 1 keeps `kept` at both areas, and chance is 0.1."""
    fields = torch.rand(2, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(seed)).expand(-1, len(DRAWN), -1, -1)
    if not nested:
        fields = torch.rand(2, len(DRAWN), SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
    table = np.full((2, 2), 0.1)
    return Entry(
        name,
        **{
            "target": "cat",
            "whole": 0.8,
            "masks": pack(fields, DRAWN, AREAS),
            "photo": photo_of(pictures(1, side=SIDE, seed=seed)[0]),
            "areas": AREAS,
            "scores": {KEPT: np.array([[kept, kept], [0.2, 0.2]]), CHANCE: table, REMOVED: table * 4},
            "carries": (kept > 0.1, True),
            "predicted": "cat",
            "p_predicted": 0.8,
            "right": True,
            **more,
        },
    )


def made_up_page(*runs: list[Entry], labels: tuple[str, ...] = ("first", "second", "third")) -> str:
    """Returns a page of made-up runs."""
    parts = [PageRun(label, entries) for label, entries in zip(labels, runs, strict=False)]
    return page_html("a page", parts, found=["found"], not_concluded=["not concluded"])


def content_of_page(page: str) -> dict[str, Any]:
    """Returns the JSON of a page."""
    (text,) = re.findall(r'<script id="content" type="application/json">(.*?)</script>', page, re.S)
    content: dict[str, Any] = json.loads(text)
    return content


def blob_of_page(page: str, place: int) -> bytes:
    """Returns a picture of a page."""
    (text,) = re.findall(rf'<script id="blob-{place}" type="text/plain">(.*?)</script>', page)
    return base64.b64decode(text)


def unpacked(packed: PackedMasks, explanation: int, step: int) -> np.ndarray:
    """Returns the hard mask of an explanation, from 1, at a step, as the definition of the maps says."""
    image = Image.open(io.BytesIO(packed.maps[explanation - 1]))
    assert image.mode == "RGB"
    red, green, blue = (np.asarray(channel, dtype=int) for channel in image.split())
    assert not blue.any()
    if packed.kind == "ranks":
        return 256 * red + green <= step
    top = packed.size[0] * (step // 16)
    half = (red if step % 16 >= 8 else green)[top : top + packed.size[0]]
    return half // 2 ** (step % 8) % 2 == 1


def largest_values(mask: torch.Tensor, area: float) -> np.ndarray:
    """Returns the hard mask of a mask without ties: its floor(aN + 1e-6) largest values."""
    values = mask.flatten().numpy()
    hard = np.zeros(values.size, dtype=bool)
    hard[np.argsort(-values, kind="stable")[: int(area * values.size + 1e-6)]] = True
    return hard.reshape(mask.shape)

"""Masks files: each byte of them counts, and whatever is missing or wrong is one refusal that names the file."""

import ctypes
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from inr_xai.errors import UserError
from inr_xai.runs.masks_file import pack_record, read_facts, read_record
from tests.runs.test_folder import record

STORED = Path(__file__).resolve().parent / "data" / "run_0.1.0" / "masks" / "00000-disc.safetensors"


def refused(file: Path, words: str = "") -> None:
    """Asserts that reading the file is one sentence that names it."""
    with pytest.raises(UserError, match=rf"^{re.escape(str(file))} .*{words}") as caught:
        read_record(file)
    assert "\n" not in str(caught.value)


def changed(file: Path, change: Callable[[dict[str, Tensor], dict[str, Any]], object], *, seal: bool = False) -> Path:
    """Changes the content of an old file, which has no checksum, or of one that keeps the checksum of before."""
    with safetensors.safe_open(str(file), framework="pt") as opened:
        metadata = opened.metadata()
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    facts = json.loads(metadata["inr_xai"])
    change(tensors, facts)
    if not seal:
        metadata.pop("sha256", None)
    safetensors.torch.save_file(tensors, file, metadata | {"inr_xai": json.dumps(facts)})
    return file


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A masks file of today."""
    path = tmp_path / "a.safetensors"
    path.write_bytes(pack_record(record("a")))
    return path


def test_packing_keeps_nothing_in_the_process_and_makes_what_safetensors_makes(file: Path) -> None:
    """safetensors.torch.save keeps two ctypes types for each size, and compressed masks have any size."""
    draw, sizes = torch.Generator().manual_seed(0), set()
    kept = len(ctypes._pointer_type_cache)  # type: ignore[attr-defined]
    for sharpness in range(1, 9):
        masks = torch.rand(1, 1, 40, 40, generator=draw).sub(0.5).mul(sharpness).add(0.5).clamp(0, 1).half()
        sizes.add(len(pack_record(replace(record("a"), masks=masks), "lossless")))
    assert len(sizes) > 4
    assert len(ctypes._pointer_type_cache) == kept  # type: ignore[attr-defined]
    with safetensors.safe_open(str(file), framework="pt") as opened:
        metadata = opened.metadata()
    of_torch, own = safetensors.torch.save(safetensors.torch.load_file(file), metadata), file.read_bytes()
    begin = 8 + int.from_bytes(own[:8], "little")
    assert (of_torch[:8], of_torch[begin:]) == (own[:8], own[begin:])
    assert json.loads(of_torch[8:begin]) == json.loads(own[8:begin])  # safetensors gives metadata in any order


@pytest.mark.slow
def test_every_flipped_byte_is_seen(file: Path) -> None:
    content = file.read_bytes()
    read_record(file)
    for place in range(len(content)):
        for flip in (0x01, 0x20, 0xFF) if place % 7 == 0 else (0x20 if place % 2 else 0x01,):
            file.write_bytes(content[:place] + bytes([content[place] ^ flip]) + content[place + 1 :])
            with pytest.raises(UserError, match=r"a\.safetensors"):
                read_record(file)
    for length in range(0, len(content), 97):
        file.write_bytes(content[:length])
        refused(file, "is damaged")
    file.write_bytes(content + b"\0")
    refused(file, "is damaged")


def test_other_tensors_or_values_do_not_have_the_checksum(file: Path) -> None:
    content = file.read_bytes()
    changes: list[Callable[[dict[str, Tensor], dict[str, Any]], object]] = [
        lambda tensors, facts: facts.update(target=4),
        lambda tensors, facts: tensors["inr.1.first.weight"].mul_(2),
        lambda tensors, facts: tensors.update(losses=tensors["losses"] + 1),
    ]
    for change in changes:
        file.write_bytes(content)
        refused(changed(file, change, seal=True), "does not have the checksum")


def test_a_file_of_before_has_no_checksum_and_is_read(file: Path) -> None:
    assert read_facts(file)[1]
    assert not read_facts(STORED)[1]
    assert read_record(STORED).masks.shape == (2, 1, 96, 96)


def poison(name: str, value: float) -> Callable[[dict[str, Tensor], dict[str, Any]], object]:
    """Returns a change of the first value of a tensor."""
    return lambda tensors, facts: tensors[name].view(-1)[:1].fill_(value)


KEYS = ("format", "sample_id", "target", "frame", "areas", "rows", "drawing", "steps_before", "seconds", "extra")
WRONG: dict[str, Callable[[dict[str, Tensor], dict[str, Any]], object]] = {
    **{f"has no {key}": lambda tensors, facts, key=key: facts.pop(key) for key in KEYS},  # type: ignore[misc]
    **{f"no tensor '{name}'": lambda t, facts, name=name: t.pop(name) for name in ("masks", "areas", "losses")},  # type: ignore[misc]
    "target is text": lambda tensors, facts: facts.update(target="3"),
    r"frame\.top is null": lambda tensors, facts: facts["frame"].update(top=None),
    "sizes that are no pairs": lambda tensors, facts: facts["frame"].update(size=[4, 4, 4]),
    r"rows\[0\] is a list": lambda tensors, facts: facts.update(rows=[[]]),
    r"rows\[0\] has no area": lambda tensors, facts: facts.update(rows=[{"explanation": 1}]),
    r"rows\[0\]\.p_full is a list": lambda tensors, facts: facts["rows"][0].update(p_full=[]),
    r"drawing has no inr": lambda tensors, facts: facts["drawing"].pop("inr"),
    r"drawing\.inr\.class is a list": lambda tensors, facts: facts["drawing"]["inr"].update({"class": []}),
    r"drawing\.exclusion\.area is text": lambda tensors, facts: facts["drawing"]["exclusion"].update(area="x"),
    r"areas is \[\]": lambda tensors, facts: facts.update(areas=[]),
    r"areas is \[2\.0\]": lambda tensors, facts: facts.update(areas=[2.0]),
    "its description says": lambda tensors, facts: facts.update(areas=[0.25]),
    "format '3', and this version of inr_xai reads '1' and '2'": lambda tensors, facts: facts.update(format="3"),
    "masks has values that do not lie": poison("masks", 1.5),
    "masks has values that": poison("masks", -0.25),
    "masks has values": poison("masks", torch.nan),
    r"inr\.1\.first\.weight has values that are not finite": poison("inr.1.first.weight", torch.inf),
    "masks is torch.float32": lambda tensors, facts: tensors.update(masks=tensors["masks"].float()),
    "with 4 axes": lambda tensors, facts: tensors.update(masks=tensors["masks"][0]),
    "masks has the shape": lambda tensors, facts: tensors.update(masks=tensors["masks"][..., :2].clone()),
    "losses has 1 curves for 2": lambda tensors, facts: tensors.update(losses=tensors["losses"][:1].clone()),
    "unknown tensor 'other'": lambda tensors, facts: tensors.update(other=torch.zeros(1)),
    "unknown tensor 'inr.3.first.weight'": lambda t, facts: t.update({"inr.3.first.weight": torch.zeros(2, 3)}),
    "unknown tensor 'inr.x.y'": lambda tensors, facts: tensors.update({"inr.x.y": torch.zeros(1)}),
    "explanation 2 does not have the tensors of the first": lambda t, facts: t.update({"inr.1.b": torch.zeros(1)}),
    "explanation 1 has no weights": lambda t, facts: [t.pop(f"inr.{k}.first.weight") for k in (1, 2)],
}


@pytest.mark.parametrize("words", WRONG)
def test_what_is_missing_or_wrong_is_named(file: Path, words: str) -> None:
    refused(changed(file, WRONG[words]), words)


@pytest.mark.parametrize(
    "metadata", [None, {}, {"inr_xai": "{"}, {"inr_xai": "[]"}, {"inr_xai": "null"}, {"inr_xai": "[" * 99_999}]
)
def test_metadata_that_is_none_is_named(file: Path, metadata: dict[str, str] | None) -> None:
    safetensors.torch.save_file({"masks": torch.zeros(1)}, file, metadata)
    refused(file, "is damaged")


def test_a_file_that_cannot_be_read_is_not_called_damaged(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").mkdir()
    refused(tmp_path / "a.safetensors", r"cannot be read \(Is a directory\)")
    shutil.rmtree(tmp_path / "a.safetensors")
    refused(tmp_path / "a.safetensors", "No such file")

"""What can be taken along of an explanation: pictures that are the masks, a file that is read back, figures, a page."""

import copy
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from inr_xai import Explanation, explain, load_explanation
from inr_xai.app.answer import DOWNLOADS, answer_of
from tests.app.conftest import named
from tests.conftest import pictures


@pytest.fixture(scope="module")
def explanation() -> Explanation:
    image = (pictures(1)[0] * 255).round() / 255
    options = {"areas": (0.1, 0.3), "explanations": 2, "steps": 3, "names": ["a/b"], "progress": False}
    explained = explain(named(), image, 1, **options)
    assert isinstance(explained, Explanation)
    return explained


@pytest.mark.slow
def test_a_long_name_is_cut_by_its_bytes(explanation: Explanation, tmp_path: Path) -> None:
    long = copy.copy(explanation)
    long.name = "\U0001f600" * 80
    answer = answer_of(long, tmp_path)
    assert {path.name.partition(".")[0] for path in answer.files.values()} == {"\U0001f600" * 30}
    assert all(path.is_file() for path in answer.files.values())


def test_the_files_hold_what_was_explained(explanation: Explanation, tmp_path: Path) -> None:
    answer = answer_of(explanation, tmp_path)
    assert list(answer.files) == list(DOWNLOADS)
    assert all(path.parent == tmp_path and path.name.startswith("a_b.") for path in answer.files.values())
    assert answer.explanations == 2
    assert torch.equal(load_explanation(answer.files["safetensors"]).masks, explanation.masks)
    assert answer.files["png"].read_bytes().startswith(b"\x89PNG")
    assert answer.files["pdf"].read_bytes().startswith(b"%PDF")
    assert "a/b" in answer.page
    assert "http" not in answer.page.replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")
    with zipfile.ZipFile(answer.files["masks.zip"]) as archive:
        read = {Path(name).name: np.asarray(Image.open(io.BytesIO(archive.read(name)))) for name in archive.namelist()}
    expected = {
        f"k{k + 1}_a{area:g}.png": explanation.masks[k, a].float()
        for k in range(2)
        for a, area in enumerate((0.1, 0.3))
    }
    assert sorted(read) == sorted([*expected, "input.png"])
    for name, mask in expected.items():
        assert np.abs(read[name] - 255 * mask.numpy()).max() <= 0.5
    assert np.array_equal(read["input.png"], (255 * explanation.image.permute(1, 2, 0)).round().numpy())

"""Maps of another tool: of the input or of the whole photo, and files that hold no map are refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from inr_xai.errors import UserError
from inr_xai.evaluate.__main__ import main
from inr_xai.evaluate.results import Results
from inr_xai.evaluate.sources import FolderSource
from inr_xai.runs.load import load
from tests.helpers.runs import FOLDER, explain


@pytest.fixture(scope="module")
def wide_photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a marked photo of 200 x 400 pixels, of which the input of 24 x 24 shows the columns 100 to 299."""
    root = tmp_path_factory.mktemp("wide")
    for name in ("photos", "segmentations", "maps"):
        (root / name).mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 400, 3), dtype=np.uint8)).save(
        root / "photos/a.png"
    )
    Image.fromarray(OBJECT).save(root / "segmentations/a.png")
    options = [f"data.root={root / 'photos'}", f"data.segmentations={root / 'segmentations'}", "data.targets=1"]
    explain(root / "run", *options, "explanations=1", base=FOLDER)
    return root


OBJECT = np.zeros((200, 400), dtype=bool)
OBJECT[50:100, 150:250] = True  # pixels 6 to 11 and 6 to 17 of the input


@pytest.mark.parametrize(
    ("heatmap", "mass"),
    [
        (OBJECT, 1.0),
        (~OBJECT, 0.0),
        (np.where(OBJECT, 3.0, 1.0), 3 * 72 / (3 * 72 + 24 * 24 - 72)),
        (np.roll(OBJECT, 50, axis=1), 0.5),
        (np.repeat(np.arange(400) < 100, 200).reshape(400, 200).T * 9.0 + OBJECT, 1.0),  # what the input does not show
    ],
)
@pytest.mark.slow
def test_a_map_of_the_photo_goes_through_its_resize_and_crop(
    wide_photo: Path, heatmap: np.ndarray, mass: float
) -> None:
    run, maps = load(wide_photo / "run"), wide_photo / "maps"
    np.save(maps / "a.npy", heatmap.astype(np.float32))
    command = [str(wide_photo / "run"), "--maps", str(maps), "--metrics", "relevance_mass", "allow_targets=[tests]"]
    assert main(command) == 0
    assert Results(wide_photo / "run/evaluation/maps.csv").values("relevance_mass")["a"] == pytest.approx(
        mass, abs=1e-5
    )
    assert FolderSource(maps, run).read("a").heatmap.shape == (24, 24)


def test_a_map_has_the_shape_of_the_input_or_of_the_photo(wide_photo: Path, tmp_path: Path) -> None:
    run = load(wide_photo / "run")
    np.save(tmp_path / "a.npy", np.eye(24))
    source = FolderSource(tmp_path, run)
    assert torch.equal(source.read("a").heatmap, torch.eye(24))
    of_input = source.digest("a")
    for shape in [(7, 7), (400, 200), (48, 24), (24, 48)]:
        np.save(tmp_path / "a.npy", np.ones(shape))
        with pytest.raises(UserError, match=rf"a map of {shape[0]} x {shape[1]} pixels.* input, 24 x 24.* 200 x 400"):
            source.read("a")
        assert len(source.digest("a")) == len(of_input)

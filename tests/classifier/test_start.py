"""Where a fit starts: maps of the classifier or of a folder, and the field of each explanation on its free pixels."""

from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from inr_xai.classifier import FrozenClassifier
from inr_xai.classifier.feature_maps import evidence_maps
from inr_xai.classifier.start import GradientStart, MapStart, NoStart, Start, WindowStart, window_masks
from inr_xai.errors import UserError
from inr_xai.types import Batch
from tests.conftest import SIDE, pictures

AREAS = torch.tensor([0.1, 0.3])


def batch_of(*sample_ids: str) -> Batch:
    """Returns a batch of images with these names."""
    return Batch(pictures(len(sample_ids)).double(), torch.arange(len(sample_ids)), list(sample_ids))


def test_a_field_has_mean_0_and_its_scale_on_the_free_pixels_and_is_0_elsewhere(tiny: FrozenClassifier) -> None:
    batch = batch_of("a", "b")
    maps = torch.rand(2, SIDE, SIDE, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 7 + 3
    free = torch.zeros(2, 2, SIDE, SIDE, dtype=torch.bool)
    free[0, :, 4:9], free[1, 0, :, 10:], free[1, 1, :, 12:] = True, True, True  # the areas leave different pixels
    for given in (None, free):
        fields = GradientStart(scale=0.25).field(maps, tiny, batch, areas=AREAS, free=given)
        for image in range(2):
            usable = np.ones((SIDE, SIDE), bool) if given is None else free[image].any(0).numpy()
            values = maps[image].numpy()[usable]
            expected = np.zeros((SIDE, SIDE))
            expected[usable] = 0.25 * (values - values.mean()) / values.std()
            np.testing.assert_allclose(fields[image].numpy(), expected, rtol=0, atol=1e-12)


def test_an_image_whose_free_pixels_have_no_map_or_a_constant_one_has_no_field(tiny: FrozenClassifier) -> None:
    batch, maps = batch_of(*"abcde"), torch.rand(5, SIDE, SIDE, dtype=torch.float64)
    maps[1], maps[2, 3, 4], maps[3] = 0.7, torch.nan, 0
    maps[4, 2:] = 1e-3  # constant where it is free
    free = torch.ones(5, 2, SIDE, SIDE, dtype=torch.bool)
    free[4, :, :2] = False
    field = GradientStart().field(maps, tiny, batch, areas=AREAS, free=free)
    assert field.isnan().flatten(1).all(1).tolist() == [False, True, True, True, True]
    assert field[0].isfinite().all()


def test_a_gradient_start_maps_each_image_once_in_parts_of_any_size(tiny: FrozenClassifier) -> None:
    batch = batch_of("a", "b", "c")
    with tiny.frozen("cpu", torch.float64):
        expected = evidence_maps(tiny, batch.images, batch.targets)
        for at_once in (1, 2, 8):
            maps, failures = GradientStart().maps(tiny, batch, at_once=at_once)
            assert maps is not None
            assert not failures
            torch.testing.assert_close(maps, expected, rtol=0, atol=1e-9)
    assert (GradientStart().passes, NoStart().passes) == (1, 0)


def test_where_memory_runs_out_fewer_images_are_mapped_at_once(tiny: FrozenClassifier) -> None:
    class Small(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = tiny.model

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            if len(inputs) > 1:
                raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return self.model(inputs)

    batch, small = batch_of("a", "b", "c"), tiny.of(Small())
    with tiny.frozen("cpu", torch.float64), small.frozen("cpu", torch.float64):
        expected = evidence_maps(tiny, batch.images, batch.targets)
        maps, _ = GradientStart().maps(small, batch, at_once=8)
    assert maps is not None
    torch.testing.assert_close(maps, expected, rtol=0, atol=1e-9)
    assert NoStart().maps(tiny, batch, at_once=2) == (None, {})


def test_windows_show_every_pixel_and_a_quarter_of_the_image_or_less() -> None:
    masks = window_masks((SIDE, 2 * SIDE))
    assert masks.shape == (16, SIDE, 2 * SIDE)
    assert float(masks.min()) >= 0
    assert float(masks.max()) <= 1 + 1e-6
    assert float(masks.amax(0).min()) > 0.49
    assert float(masks.mean((1, 2)).max()) < 0.25


def test_a_window_start_adds_what_windows_keep_and_what_the_image_adds(tiny: FrozenClassifier) -> None:
    batch = batch_of("a", "b")
    colour = torch.tensor(tiny.colour_mean, dtype=torch.float64)[:, None, None]
    masks = window_masks((SIDE, SIDE)).double()
    with tiny.frozen("cpu", torch.float64):
        expected = []
        for image, target in zip(batch.images, batch.targets.tolist(), strict=True):
            total = torch.zeros(SIDE, SIDE, dtype=torch.float64)
            for mask in masks:
                shown = mask * image + (1 - mask) * colour
                total += mask * tiny(shown[None]).log_softmax(1)[0, target]
            windows = (total / masks.sum(0)).detach().numpy()
            expected.append((windows - windows.mean()) / windows.std())
        reference = colour.expand_as(batch.images)
        evidence = evidence_maps(tiny, batch.images, batch.targets, reference=reference).numpy()
        for weight in (0.0, 1.0, 2.0):
            for at_once in (1, 5, 64):
                maps, failures = WindowStart(gradient=weight).maps(tiny, batch, at_once=at_once)
                assert maps is not None
                assert not failures
                for image in range(2):
                    cam = (evidence[image] - evidence[image].mean()) / evidence[image].std()
                    np.testing.assert_allclose(maps[image].numpy(), expected[image] + weight * cam, rtol=0, atol=1e-7)
    assert (WindowStart().passes, WindowStart(gradient=0.0).passes) == (9.5, 8)


def test_maps_of_a_folder_are_read_and_an_image_without_one_fails_alone(tmp_path: Path, tiny: FrozenClassifier) -> None:
    (tmp_path / "dogs").mkdir()
    ramp = np.arange(SIDE**2, dtype=np.float32).reshape(SIDE, SIDE)
    np.save(tmp_path / "dogs" / "a.npy", ramp)
    safetensors.torch.save_file({"map": torch.from_numpy(-ramp)[None]}, tmp_path / "b.safetensors")
    np.save(tmp_path / "small.npy", ramp[:4])
    np.save(tmp_path / "nan.npy", ramp * np.nan)
    start = MapStart(str(tmp_path))
    maps, failures = start.maps(tiny, batch_of("dogs/a", "b", "missing", "small", "nan"), at_once=1)
    assert maps is not None
    assert np.array_equal(maps[0].numpy(), ramp)
    assert np.array_equal(maps[1].numpy(), -ramp)
    assert set(failures) == {2, 3, 4}
    assert "has no map of 'missing'" in failures[2]
    assert f"4 x {SIDE} pixels, and the input has {SIDE} x {SIDE}" in failures[3]
    assert "nan.npy' holds NaN" in failures[4]
    assert start.passes == 0


def test_a_start_that_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"start.folder=.*nowhere is no folder"):
        MapStart(str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=r"start.scale=0 is out of range"):
        GradientStart(scale=0.0)
    with pytest.raises(TypeError, match="abstract"):
        Start()  # type: ignore[abstract]

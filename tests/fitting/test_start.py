"""Fits with a start: one map for each image, a field for each explanation, and failures of single images."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from inr_xai.classifier import FrozenClassifier
from inr_xai.classifier.start import GradientStart, MapStart, NoStart, StartMaps, WindowStart
from inr_xai.data import Synthetic
from inr_xai.fitting.fit import fit_masks
from inr_xai.inr import INR, FeatureGridINR, FourierINR, GridINR, PyramidINR, SirenINR, WireINR
from inr_xai.instantiate import build_method, plain, stored_configuration
from inr_xai.limits import Exclusion
from inr_xai.method import Method
from inr_xai.objective import Hybrid
from inr_xai.runs.files import write_json
from inr_xai.runs.folder import RunFolder, differences
from inr_xai.types import Areas, Batch, Classifier, Free
from tests.config.test_check import refusal_of
from tests.conftest import pictures
from tests.helpers.runs import FACTS, TINY, configured, explain, table

SHORT = Method(areas=(0.1, 0.2), explanations=2, steps=3, start=GradientStart())
DOUBLE = {"accelerator": "cpu", "devices": 1, "precision": "64-true"}


class Noting(GradientStart):
    """Notes for which images it makes maps, and with which free pixels fields."""

    def __init__(self) -> None:
        super().__init__()
        self.mapped: list[list[str]] = []
        self.fields: list[tuple[list[str], list[float], Free | None, Tensor]] = []

    def maps(self, classifier: Classifier, batch: Batch, *, at_once: int) -> StartMaps:
        self.mapped.append(batch.sample_ids)
        return super().maps(classifier, batch, at_once=at_once)

    def field(
        self,
        maps: Float[Tensor, "b h w"],
        classifier: Classifier,
        batch: Batch,
        *,
        areas: Areas,
        free: Free | None,
    ) -> Float[Tensor, "b h w"]:
        field = super().field(maps, classifier, batch, areas=areas, free=free)
        self.fields.append((batch.sample_ids, areas.tolist(), free, field))
        return field


def test_each_image_is_mapped_once_and_each_explanation_starts_on_its_free_pixels(tiny: FrozenClassifier) -> None:
    start = Noting()
    method = replace(SHORT, images_per_fit=2, start=start)
    fitted = fit_masks(pictures(3), torch.tensor([0, 1, 2]), list("abc"), tiny, method, trainer=DOUBLE)
    assert start.mapped == [["a", "b"], ["c"]]
    assert [(ids, areas) for ids, areas, _, _ in start.fields] == [(["a", "b"], [0.1, 0.2])] * 2 + [
        (["c"], [0.1, 0.2])
    ] * 2
    (_, _, nothing, first), (_, _, free, second) = start.fields[:2]
    assert nothing is None
    assert free is not None
    assert fitted.free[1] is not None
    assert torch.equal(free, fitted.free[1][:2])
    assert (second[~free[:, 0]] == 0).all()
    for place in range(2):
        assert float(second[place][free[place, 0]].mean()) == pytest.approx(0, abs=1e-9)
        assert float(second[place][free[place, 0]].std(correction=0)) == pytest.approx(0.5)
    assert not torch.allclose(first, second)


def test_with_a_penalty_the_next_explanation_starts_beside_the_earlier_masks(tiny: FrozenClassifier) -> None:
    start = Noting()
    method = replace(SHORT, exclusion=Exclusion("penalty"), start=start)
    fitted = fit_masks(pictures(1), torch.tensor([0]), ["a"], tiny, method, trainer=DOUBLE)
    (_, _, first_free, _), (_, _, free, field) = start.fields
    earlier = fitted.masks[0, 0] >= 0.5
    assert first_free is None
    assert free is not None
    assert torch.equal(free[0], ~earlier)
    assert (field[0][earlier.all(0)] == 0).all()
    assert fitted.free == [None, None]


@pytest.mark.slow
def test_a_start_does_not_depend_on_the_other_images(tiny: FrozenClassifier, tmp_path: Path) -> None:
    images, targets = pictures(3), torch.tensor([0, 1, 2])
    for sample_id, spread in zip("abc", (1, 0, 1), strict=True):  # the map of b is constant: it starts as it was drawn
        np.save(tmp_path / f"{sample_id}.npy", 3 + spread * np.random.default_rng(0).random((24, 24)))
    starts = (GradientStart(), [True] * 3), (WindowStart(), [True] * 3), (MapStart(str(tmp_path)), [True, False, True])
    for start, moved in starts:
        method = replace(SHORT, images_per_fit=3, start=start)
        together = fit_masks(images, targets, list("abc"), tiny, method, trainer=DOUBLE)
        alone = fit_masks(images[1:2], targets[1:2], ["b"], tiny, method, trainer=DOUBLE)
        torch.testing.assert_close(together.losses[1:2], alone.losses, rtol=0, atol=1e-6)
        drawn = fit_masks(images, targets, list("abc"), tiny, replace(method, start=NoStart()), trainer=DOUBLE)
        assert ((together.losses - drawn.losses).abs().amax((1, 2)) > 1e-6).tolist() == moved


@pytest.mark.slow
@pytest.mark.parametrize("inr", [PyramidINR, FeatureGridINR, FourierINR, GridINR, SirenINR, WireINR])
def test_every_family_starts_from_a_gradient(tiny: FrozenClassifier, inr: type[INR]) -> None:
    method = replace(SHORT, inr=inr, explanations=1, steps=1)
    started, drawn = (
        fit_masks(pictures(1), torch.tensor([0]), ["a"], tiny, replace(method, start=start), trainer=DOUBLE)
        for start in (GradientStart(), NoStart())
    )
    assert started.failures == {}
    assert float((started.losses - drawn.losses).abs()) > 1e-6


def test_an_image_without_a_map_fails_alone(tiny: FrozenClassifier, tmp_path: Path) -> None:
    for sample_id in "ac":
        np.save(tmp_path / f"{sample_id}.npy", np.random.default_rng(0).random((24, 24)))
    method = replace(SHORT, images_per_fit=3, start=MapStart(str(tmp_path)))
    fitted = fit_masks(pictures(3), torch.tensor([0, 1, 2]), list("abc"), tiny, method)
    assert list(fitted.failures) == [1]
    assert "has no map of 'b'" in fitted.failures[1]
    assert fitted.counts == [2, 0, 2]
    single = fit_masks(pictures(3)[1:2], torch.tensor([1]), ["b"], tiny, method)
    assert single.failures == {0: fitted.failures[1]}


def test_a_start_counts_as_one_pass_of_an_image_however_many_fits_it_has() -> None:
    assert SHORT.image_passes() == 3 * 2 + 1
    assert SHORT.image_passes(2) == 2 * 3 * 2 + 1
    assert replace(SHORT, start=NoStart(), objective=Hybrid()).image_passes(2) == 2 * 3 * 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("start=maps",), ["start.folder is required: start.folder=PATH"]),
        (("start=maps", "start.folder=nowhere/maps"), ["start.folder=nowhere/maps is no folder", "<image_id>.npy"]),
        (("start=gradient", "start.scale=0"), ["start.scale=0 is out of range"]),
        (("start=windows", "start.gradient=-1"), ["start.gradient=-1 is out of range"]),
        (("start=gradients",), ["start=gradients", "did you mean start=gradient?"]),
        (("start=none", "start._target_=inr_xai.perturbation.Jitter"), ["start._target_", "is no Start"]),
    ],
)
@pytest.mark.slow
def test_a_start_that_cannot_work_is_refused_before_any_work(options: tuple[str, ...], words: list[str]) -> None:
    sentence = refusal_of(*options)
    assert all(word in sentence for word in words), sentence


@pytest.mark.slow
def test_a_run_notes_the_images_without_a_map(tmp_path: Path) -> None:
    for sample_id in Synthetic(size=3).ids[:2]:
        np.save(tmp_path / f"{sample_id}.npy", np.random.default_rng(1).random((24, 24)))
    explain(tmp_path / "run", "start=maps", f"start.folder={tmp_path}", "explanations=1")
    summary = RunFolder(tmp_path / "run").read_summary()
    assert (summary["images"], summary["passes_per_image"]) == (2, 4)
    (failure,) = table(tmp_path / "run", "failures.csv")
    assert "has no map of" in failure["reason"]


@pytest.mark.slow
def test_a_run_counts_the_pass_of_a_gradient(tmp_path: Path) -> None:
    explain(tmp_path / "run", "start=gradient")
    assert RunFolder(tmp_path / "run").read_summary()["passes_per_image"] == 2 * 2 * 2 + 1


def test_a_run_from_before_there_were_starts_has_none(tmp_path: Path) -> None:
    config = plain(configured("start=none", *TINY))
    folder = RunFolder(tmp_path)
    write_json(folder.run_file, FACTS | {"config": {key: value for key, value in config.items() if key != "start"}})
    stored = folder.read_run()["config"]
    assert stored == config
    assert differences(stored, config) == []
    assert isinstance(build_method(stored_configuration(stored, [])).start, NoStart)
    (difference,) = differences(stored, plain(configured("start=gradient", "start.scale=0.5", *TINY)))[:1]
    assert difference.startswith("start._target_ (was 'inr_xai.classifier.start.NoStart'")

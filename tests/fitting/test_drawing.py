"""The free pixels of later explanations, ties of stored masks, and the rendering of stored runs."""

import functools

import pytest
import torch

from inr_xai.area import AreaProjection, RankPenalty
from inr_xai.errors import UserError
from inr_xai.fitting.drawing import Drawing, separate
from inr_xai.fitting.fit import fit_masks
from inr_xai.inr import FourierINR
from inr_xai.limits import Exclusion
from inr_xai.masks import hard_masks
from inr_xai.method import Method
from inr_xai.runs.folder import RunFolder
from inr_xai.runs.load import describe_drawing, draw_record, load
from inr_xai.runs.masks_file import SampleRecord
from inr_xai.types import Frame
from tests.conftest import pictures, tiny_classifier
from tests.fitting.test_importance import mean_of_weights
from tests.helpers.runs import FACTS

METHOD = Method(
    areas=(0.1, 0.3),
    explanations=2,
    steps=3,
    inr=functools.partial(FourierINR, width=16),
    area_rule=AreaProjection(end=0.05),
)


def networks(seed: int) -> FourierINR:
    return FourierINR([torch.Generator().manual_seed(seed + i) for i in range(2)])


def new_drawing(areas: list[float], exclusion_area: float, exclude: bool = True) -> Drawing:
    exclusion = Exclusion(mode="exclude" if exclude else "penalty", area=exclusion_area)
    return Drawing(Method(areas=tuple(areas), exclusion=exclusion), ["a", "b"], (20, 20))


def chosen(masks: torch.Tensor, areas: list[float]) -> torch.Tensor:
    return hard_masks(masks, torch.tensor(areas), generators=[torch.Generator()] * len(masks))


def test_earlier_masks_block_their_area_and_the_exclusion_area() -> None:
    drawing = new_drawing([0.1, 0.2, 0.4], 0.2)
    assert drawing.free is None
    hard = chosen(drawing.next(networks(0)), [0.1, 0.2, 0.4])
    blocked = [hard[:, 1] | hard[:, 0], hard[:, 1], hard[:, 2]]
    assert drawing.free is not None
    assert torch.equal(drawing.free, ~torch.stack(blocked, dim=1))


def test_exclusion_area_need_not_be_fitted() -> None:
    drawing = new_drawing([0.1], 0.35)
    masks = drawing.next(networks(0))
    assert masks.shape == (2, 1, 20, 20)
    assert drawing.free is not None
    blocked = (~drawing.free).sum((-2, -1))
    assert (blocked >= 140).all()  # 0.35 * 400 pixels
    assert (blocked < 180).all()


def test_explanations_are_disjoint_and_exact_up_to_the_last_pixel() -> None:
    drawing = new_drawing([0.25], 0.25)
    masks = [drawing.next(networks(10 * k)) for k in range(4)]
    hard = torch.stack([chosen(mask, [0.25]) for mask in masks])
    assert (hard.sum(0) == 1).all()
    assert all((mask.double().mean((-2, -1)) - 0.25).abs().max() < 1e-3 for mask in masks)


def test_penalty_mode_leaves_all_pixels_free() -> None:
    drawing = new_drawing([0.3, 0.1], 0.3, exclude=False)
    drawing.next(networks(0))
    assert drawing.free is None


def test_separated_masks_have_the_same_hard_mask_for_every_order_of_ties() -> None:
    generator = torch.Generator().manual_seed(0)
    masks = (torch.rand(2, 2, 30, 30, generator=generator) * 8).round().div(8).half()
    areas = torch.tensor([0.2, 0.5])
    hard = hard_masks(masks, areas, generators=[generator, generator])
    apart = separate(masks, hard)
    for seed in range(5):
        draws = [torch.Generator().manual_seed(seed + i) for i in (5, 6)]
        assert torch.equal(hard_masks(apart, areas, generators=draws), hard)
    assert (apart.float() - masks.float()).abs().max() < 1e-3


def test_separation_raises_the_hard_mask_if_the_tie_is_at_zero() -> None:
    masks = torch.zeros(1, 1, 4, 4, dtype=torch.float16)
    hard = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    hard[0, 0, 0, :2] = True
    apart = separate(masks, hard)
    assert torch.equal(apart > 0, hard)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Writes the folder of a run with one sample of a batch."""
    fitted = fit_masks(pictures(2), torch.tensor([0, 1]), ["x/a", "x/b"], tiny_classifier(), METHOD)
    record = SampleRecord(
        sample_id="x/b",
        target=1,
        frame=Frame((40, 60), (24, 36), 0, 6, (24, 24)),
        areas=list(METHOD.areas),
        masks=fitted.masks[1],
        inrs=fitted.networks[1],
        losses=fitted.losses[1],
        rows=[],
        drawing=describe_drawing(METHOD),
    )
    folder = RunFolder(tmp_path_factory.mktemp("stored"))
    folder.write_run(FACTS)
    folder.commit(record)
    return folder


@pytest.fixture
def stored(folder: RunFolder) -> SampleRecord:
    """Reads the sample of the folder."""
    return folder.read("x/b")


@pytest.mark.parametrize("explanation", [1, 2])
@pytest.mark.slow
def test_fitted_areas_are_rendered_as_stored(stored: SampleRecord, explanation: int) -> None:
    for position, area in enumerate(METHOD.areas):
        again = draw_record(stored, [area], (24, 24), explanation)[0]
        assert (again - stored.masks[explanation - 1, position].float()).abs().max() < 1e-3


@pytest.mark.parametrize("size", [(24, 24), (96, 48)])
@pytest.mark.parametrize("area", [0.07, 0.15, 0.3, 0.45])
def test_any_area_and_size_is_exact_and_disjoint(stored: SampleRecord, area: float, size: tuple[int, int]) -> None:
    masks = [draw_record(stored, [area], size, k) for k in (1, 2)]
    assert all(abs(float(mask.double().mean()) - area) < 1e-3 for mask in masks)
    hard = [chosen(mask.half()[None], [area]) for mask in masks]
    assert not (hard[0] & hard[1]).any()


def test_a_run_is_a_mapping_and_renders_in_the_photos_frame(folder: RunFolder) -> None:
    run = load(folder.path)
    assert list(run) == ["x/b"]
    photo = run["x/b"].mask(0.2, frame="image")
    assert photo.shape == (40, 60)
    assert (photo[:, :9] == 0).all()  # outside the crop: 6 of 36 columns on either side
    assert abs(float(photo[:, 10:50].mean()) - 0.2) < 0.02
    importance = run["x/b"].importance()
    assert importance.shape == (24, 24)
    assert float(importance.mean()) == pytest.approx(mean_of_weights((24, 24)), abs=1e-3)


def test_impossible_renderings_are_refused(folder: RunFolder) -> None:
    explained = load(folder.path)["x/b"]
    with pytest.raises(UserError, match=r"area must lie in \(0, 1\).*got 1.2"):
        explained.mask(1.2)
    with pytest.raises(UserError, match=r"explanation must lie in 1 to 2"):
        explained.mask(0.1, explanation=3)
    with pytest.raises(UserError, match=r"2 explanations of area 0.6 do not fit"):
        explained.mask(0.6, explanation=2)
    assert float(explained.mask(0.6).double().mean()) == pytest.approx(0.6, abs=1e-3)
    with pytest.raises(UserError, match=r"frame must be input or image; got 'photo'"):
        explained.mask(0.1, frame="photo")
    for size in (0, -3, (4, 0)):
        with pytest.raises(UserError, match="size must be a side in pixels"):
            explained.mask(0.1, size)
    with pytest.raises(KeyError, match=r"'nobody' is not in this run; it has 1 samples"):
        load(folder.path)["nobody"]
    with pytest.raises(UserError, match=r"run.json does not exist"):
        load(folder.path / "nowhere")


def test_a_file_can_only_name_classes_of_the_right_kind(stored: SampleRecord) -> None:
    stored.drawing["inr"]["class"] = "os:system"
    with pytest.raises(UserError, match=r"os:system, which is none of our classes"):
        draw_record(stored, [0.1], (24, 24), 1)


def test_the_rank_penalty_is_described_with_its_arguments() -> None:
    method = Method(areas=(0.2,), steps=2, area_rule=RankPenalty(10.0))
    description = describe_drawing(method)
    assert description["area_rule"] == {
        "class": "inr_xai.area:RankPenalty",
        "arguments": {"start": 10.0, "growth": 16.0},
    }

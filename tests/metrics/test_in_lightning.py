"""The classes as torchmetrics' users use them: update(maps, masks), in a LightningModule, in a collection, plotted."""

from functools import partial
from typing import Any

import lightning
import pytest
import torch
import torchmetrics
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MetricCollection

from inr_xai import INRAttribution, metrics
from tests.conftest import pictures, tiny_network
from tests.helpers.metric_inputs import distinct_maps, draws, tied_maps

SIDE = 24


def objects(count: int = 3) -> Tensor:
    """A rectangle on each image, of different sizes."""
    truth = torch.zeros(count, SIDE, SIDE, dtype=torch.bool)
    for image in range(count):
        truth[image, 3 : 9 + 3 * image, 5 : 12 + image] = True
    return truth


LOCALISATION = {
    "mass": (metrics.RelevanceMassAccuracy, metrics.relevance_mass_accuracy),
    "energy": (metrics.EnergyPointingGame, metrics.energy_pointing_game),
    "rank": (metrics.RelevanceRankAccuracy, metrics.relevance_rank_accuracy),
    "game": (metrics.PointingGame, metrics.pointing_hits),
}


def by_function(name: str, maps: Tensor, truth: Tensor) -> float:
    """The mean of a metric's function; the order of ties is drawn, and does not matter to maps without ties."""
    function = LOCALISATION[name][1]
    more = {"generators": draws(len(maps))} if name in ("rank", "game") else {}
    return float(function(maps, truth, **more).float().mean())


@pytest.mark.parametrize("name", LOCALISATION)
@pytest.mark.parametrize("channel", [False, True])
@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float32])
def test_maps_and_masks_are_enough(name: str, channel: bool, dtype: torch.dtype) -> None:
    maps, truth = distinct_maps().float(), objects()
    metric = LOCALISATION[name][0]()
    given = (maps.unsqueeze(1), truth.unsqueeze(1).to(dtype)) if channel else (maps, truth.to(dtype))
    for some in (slice(0, 1), slice(1, 3)):
        metric.update(*(part[some] for part in given))
    assert float(metric.compute()) == pytest.approx(by_function(name, maps, truth), abs=1e-6)


@pytest.mark.parametrize("name", ["rank", "game"])
def test_ties_are_drawn_for_each_map_whatever_its_batch_and_its_place(name: str) -> None:
    maps, truth = tied_maps().float(), objects()
    make = partial(metrics.PointingGame, tolerance=1.0) if name == "game" else metrics.RelevanceRankAccuracy
    values = []
    for order in ([0, 1, 2], [2, 0, 1]):
        together, apart = make(), make()
        together.update(maps[order], truth[order])
        for image in order:
            apart.update(maps[[image]], truth[[image]])
        values += [float(together.compute()), float(apart.compute())]
    assert values == pytest.approx(values[:1] * 4, abs=1e-7)
    state = torch.random.get_rng_state()
    seeds = []
    for seed in range(8):
        metric = make(seed=seed)
        metric.update(maps, truth)
        seeds.append(float(metric.compute()))
    assert len(set(seeds)) > 1
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(
    ("metric", "function"),
    [
        (metrics.IntersectionOverUnion, metrics.intersection_over_union),
        (metrics.Precision, metrics.precision),
        (metrics.Recall, metrics.recall),
    ],
)
@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.float32])
def test_hard_masks_may_have_no_axis_of_areas_and_be_numbers(metric: Any, function: Any, dtype: torch.dtype) -> None:
    hard, truth = distinct_maps() > 0.3, objects()
    measured = metric()
    measured.update(hard.to(dtype), truth.unsqueeze(1).to(dtype), ignore=~hard.to(torch.bool))
    expected = function(hard.unsqueeze(1), truth, ignore=~hard).mean()
    assert float(measured.compute()) == pytest.approx(float(expected), abs=1e-6)
    with pytest.raises(ValueError, match=r"expected masks of 0 and 1, .* got 0\.\d+; compare them first"):
        measured.update(torch.rand(3, SIDE, SIDE), truth)
    with pytest.raises(ValueError, match="got 255; compare them first"):
        measured.update(hard, 255 * truth.to(torch.uint8))


AREAS = (0.1, 0.3)


@pytest.fixture(scope="module")
def masks() -> Tensor:
    """What `attribute` returns for two images, of which the second has one explanation."""
    values = INRAttribution(tiny_network(), steps=2).attribute(pictures(2), target=1, areas=AREAS, explanations=2)
    values = (values * 0.9 + 0.02) * (torch.rand(values.shape, generator=torch.Generator().manual_seed(0)) < 0.9)
    values[1, 1] = 0
    return values


@pytest.mark.parametrize(
    ("metric", "function"),
    [
        (metrics.AreaError, metrics.area_error),
        (metrics.RankViolation, metrics.rank_violation),
        (metrics.ShareAboveHalf, metrics.share_above_half),
    ],
)
@pytest.mark.parametrize("areas", [AREAS, list(AREAS), torch.tensor(AREAS)])
def test_areas_are_given_once_to_the_constructor(metric: Any, function: Any, areas: Any, masks: Tensor) -> None:
    there = torch.cat([masks[0], masks[1, :1]])
    expected = float(function(there, torch.tensor(AREAS)).mean())
    measured = metric(areas)
    measured.update(masks)
    assert float(measured.compute()) == pytest.approx(expected, abs=1e-6)
    measured = metric(areas=areas)
    measured.update(there[:1])
    measured.update(there[1:])
    assert float(measured.compute()) == pytest.approx(expected, abs=1e-6)
    measured = metric((0.5, 0.6))
    measured.update(masks, torch.tensor(AREAS))  # those of the call count
    assert float(measured.compute()) == pytest.approx(expected, abs=1e-6)
    with pytest.raises(ValueError, match=rf"give {metric.__name__}\(areas=...\) or update\(masks, areas\)"):
        metric().update(masks)
    with pytest.raises(ValueError, match="expected an area for each of the 2 masks of an image, got 3"):
        metric((0.1, 0.2, 0.3)).update(masks)


def test_the_others_need_masks_alone(masks: Tensor) -> None:
    there, areas = torch.cat([masks[0], masks[1, :1]]), torch.tensor(AREAS)
    gray, nesting, turned = metrics.Grayness(), metrics.NestingViolation(), metrics.NestingViolation()
    for metric in (gray, nesting):
        metric.update(masks)
    turned.update(masks.flip(2))
    assert float(gray.compute()) == pytest.approx(float(metrics.grayness(there).mean()), abs=1e-6)
    expected = float(metrics.nesting_violation(there, areas).mean())
    assert float(nesting.compute()) == pytest.approx(expected, abs=1e-6)
    assert float(turned.compute()) == pytest.approx(expected, abs=1e-6)
    assert expected > 0.001


def test_what_the_others_lack_is_said() -> None:
    with pytest.raises(ValueError, match="expected the target of each map, as there are 5 classes"):
        metrics.PointingGame(5).update(distinct_maps(), objects())
    with pytest.raises(ValueError, match="give it to GridPointingGame or to update"):
        metrics.GridPointingGame().update(distinct_maps(), torch.zeros(3, dtype=torch.long))
    games = metrics.GridPointingGame(side=2), metrics.GridPointingGame()
    games[0].update(distinct_maps().unsqueeze(1), torch.tensor([0, 1, 3]))
    games[1].update(distinct_maps(), torch.tensor([0, 1, 3]), side=2)
    assert float(games[0].compute()) == float(games[1].compute()) > 0


# In collections


def test_a_collection_gives_each_metric_its_own_arguments(masks: Tensor) -> None:
    maps, truth = distinct_maps().float(), objects()
    collection = MetricCollection(
        {name: make() for name, (make, _) in LOCALISATION.items()}
        | {"iou": metrics.IntersectionOverUnion(), "area": metrics.AreaError(AREAS), "gray": metrics.Grayness()}
        | {"sparse": metrics.Sparseness(), "grid": metrics.GridPointingGame(side=2)}
    )
    for some in (slice(0, 1), slice(1, 3)):
        collection.update(
            maps=maps[some],
            truth=truth[some],
            boxes=truth[some],
            hard=maps[some] > 0,
            masks=masks[:1],
            cells=torch.tensor([2, 0, 1])[some],
        )
    values = {name: float(value) for name, value in collection.compute().items()}
    expected = {name: by_function(name, maps, truth) for name in LOCALISATION}
    expected["iou"] = float(metrics.intersection_over_union(maps.unsqueeze(1) > 0, truth).mean())
    expected["area"] = float(metrics.area_error(masks[0], torch.tensor(AREAS)).mean())
    expected["gray"] = float(metrics.grayness(masks[0]).mean())
    expected["sparse"] = float(metrics.sparseness(maps).mean())
    expected["grid"] = float(metrics.grid_pointing_game(maps, torch.tensor([2, 0, 1]), side=2).mean())
    assert values == pytest.approx(expected, abs=1e-6)


def test_metrics_that_begin_alike_do_not_share_their_states() -> None:
    exact = torch.zeros(1, 1, 4, 4)
    exact[..., 0] = 1
    grey = torch.full((1, 1, 4, 4), 0.25)
    collection = MetricCollection([metrics.AreaError((0.25,)), metrics.Grayness(), metrics.NestingViolation()])
    for part in (exact, grey):  # at first all values are 0
        collection.update(part)
    values = {name: float(value) for name, value in collection.compute().items()}
    assert values == {"AreaError": 0, "Grayness": pytest.approx(0.375), "NestingViolation": 0}
    near, far = metrics.PointingGame(tolerance=1.0), metrics.PointingGame(tolerance=15.0)
    games = MetricCollection({"near": near, "far": far})
    truth = objects(1)
    for place in ((4, 6), (14, 14)):  # on the object, and beside it
        maps = torch.zeros(1, SIDE, SIDE)
        maps[0, place[0], place[1]] = 1
        games.update(maps, truth)
    assert {name: float(value) for name, value in games.compute().items()} == {"near": 0.5, "far": 1.0}


# In Lightning


class Explained(lightning.LightningModule):
    """A network whose maps are measured in each validation epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.network = tiny_network()
        self.mass = metrics.RelevanceMassAccuracy()
        self.several = MetricCollection({"rank": metrics.RelevanceRankAccuracy(), "game": metrics.PointingGame()})
        self.area = metrics.AreaError(AREAS)

    def maps(self, images: Tensor) -> Tensor:
        return self.network[0](images).mean(1, keepdim=True).repeat_interleave(2, 2).repeat_interleave(2, 3)

    def validation_step(self, batch: tuple[Tensor, Tensor, Tensor], index: int) -> None:
        images, truth, masks = batch
        maps = nn.functional.interpolate(self.maps(images), size=truth.shape[-2:])
        self.mass.update(maps, truth)
        self.several.update(maps, truth)
        self.area(masks)  # its own `forward`
        self.log("mass", self.mass)
        self.log_dict(dict(self.several.items()))
        self.log("area", self.area, on_step=False, on_epoch=True)


@pytest.mark.filterwarnings("ignore:The 'val_dataloader' does not have many workers")
@pytest.mark.filterwarnings("ignore:.*GPU available but not used")
@pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning")  # of Lightning
def test_a_module_logs_the_metrics_of_an_epoch(masks: Tensor, tmp_path: Any) -> None:
    module, images, truth = Explained(), pictures(3), objects()
    stored = torch.cat([masks[:1, 0], masks[:, 0]])
    trainer = lightning.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    data = DataLoader(TensorDataset(images, truth, stored), batch_size=2)
    for _ in range(2):  # the second epoch begins anew
        (logged,) = trainer.validate(module, data, verbose=False)
    with torch.no_grad():
        maps = nn.functional.interpolate(module.eval().maps(images), size=(SIDE, SIDE))[:, 0]
    expected = {name: by_function(name, maps, truth) for name in ("mass", "rank", "game")}
    expected["area"] = float(metrics.area_error(stored, torch.tensor(AREAS)).mean())
    assert logged == pytest.approx(expected, abs=1e-6)


# Plotted


CLASSES = [
    name
    for name in metrics.__all__
    if isinstance(getattr(metrics, name), type) and issubclass(getattr(metrics, name), torchmetrics.Metric)
]


@pytest.mark.parametrize("name", CLASSES)
def test_every_class_draws_its_values_between_its_bounds(name: str) -> None:
    kind = getattr(metrics, name)
    _, axes = kind().plot([torch.tensor(0.2), torch.tensor(0.4)], ax=Figure().subplots())
    assert [float(value) for value in axes.lines[0].get_ydata()] == pytest.approx([0.2, 0.4])
    bounds = kind.plot_lower_bound, kind.plot_upper_bound
    margin = 0.1 if None in bounds else 0.1 * (bounds[1] - bounds[0])
    for limit, bound, sign in zip(axes.get_ylim(), bounds, (-1, 1), strict=True):
        assert bound is None or limit == pytest.approx(bound + sign * margin, abs=0.1)


def test_a_plot_without_values_is_of_what_was_measured() -> None:
    metric = metrics.RelevanceMassAccuracy()
    metric.update(distinct_maps(), objects())
    axes = Figure().subplots()
    metric.plot(ax=axes)
    assert float(axes.lines[0].get_ydata()[0]) == pytest.approx(float(metric.compute()))

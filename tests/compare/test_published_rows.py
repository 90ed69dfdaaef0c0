"""The published rows are valid as long as the code gives the settings under which they were made.

One digest stands for everything that a row depends on: the method and its options, the data, the classifier and the
scoring. If a digest changes, every published row of that method would be computed again. So it is with those rows of
our own masks that were made when fits had other random draws.
"""

import csv
from pathlib import Path

import pytest

from inr_xai.classifier import FrozenClassifier, from_torchvision
from inr_xai.compare.comparison import DEFAULTS, Comparison, MapMaker, map_facts
from inr_xai.compare.grid_pointing import SingleMap
from inr_xai.compare.methods.registry import METHODS, MethodFactory, MethodSetup, build_explainer
from inr_xai.compare.store import SUFFIX, MapCache, RowStore
from inr_xai.config import composed
from inr_xai.data import Synthetic
from inr_xai.digests import digest
from inr_xai.instantiate import build_method, plain
from inr_xai.runs.files import read_json
from tests.helpers.comparison import CPU, make_context
from tests.helpers.runs import ROOT
from tests.helpers.scripts import script_module

pytestmark = pytest.mark.slow

RESULTS = ROOT / "benchmarks" / "results"
OPTIONS = (
    "data=image_folder",
    "data.root=nowhere/imagenet-samples",
    "classifier=torchvision",
    "classifier.name=squeezenet1_0",
    "classifier.checkpoint=nowhere/squeezenet1_0-imagenet1k.safetensors",
)
"""Options of all published rows; neither the photos nor the weights have to be there."""
PHOTOS = sorted(file.stem for file in (RESULTS / "photos").glob("*.csv"))
MOSAICS = sorted(file.stem for file in (RESULTS / "gridpg").glob("*.csv"))
OTHER_AREAS = {"torchray": "areas=[0.1]"}
"""Methods of the grid pointing game that were run at other areas than the default."""
WITH_SEGMENTATIONS = ("torchray",)
"""Methods of the grid pointing game whose rows were made while `data.segmentations` entered the digest."""


@pytest.fixture(scope="module")
def classifier() -> FrozenClassifier:
    """The classifier without its weights, on which no digest depends."""
    return from_torchvision("squeezenet1_0", pretrained=False)


def published_settings(folder: str, name: str) -> set[str]:
    with (RESULTS / folder / f"{name}.csv").open(newline="") as stream:
        return {row["settings"] for row in csv.DictReader(stream)}


def make_factory(classifier: FrozenClassifier, folder: Path, *options: str, **facts: object) -> MethodFactory:
    cfg = composed(*options)
    return MethodFactory(
        MethodSetup(classifier, CPU, tuple(cfg.areas), layer="features", seed=cfg.seed),
        lambda more: build_method(composed(*options, *more)),
        MapMaker(MapCache(folder), map_facts(plain(cfg)) | facts),
        trainer=plain(cfg.trainer),
    )


def test_there_are_published_rows() -> None:
    assert len(PHOTOS) == 21
    assert len(MOSAICS) == 10


@pytest.mark.parametrize("name", PHOTOS)
@pytest.mark.slow
def test_rows_of_photos_have_the_settings_of_now(name: str, classifier: FrozenClassifier, tmp_path: Path) -> None:
    method = name.removesuffix(SUFFIX)
    factory = make_factory(classifier, tmp_path, *DEFAULTS, *OPTIONS, "data.targets=predicted")
    context = make_context(classifier, Synthetic(size=1, targets="predicted"), factory.setup.areas)
    explainers = {method: METHODS[method](factory)}  # without the method's package, on which no digest depends
    comparison = Comparison(context, explainers, maker=factory.maker, rows=RowStore(tmp_path))
    assert published_settings("photos", name) == {comparison.settings[method]}


@pytest.mark.parametrize("name", MOSAICS)
def test_rows_of_mosaics_have_the_settings_of_now(name: str, classifier: FrozenClassifier, tmp_path: Path) -> None:
    program = script_module("gridpg")
    method = "inr" if name.startswith("inr") else name
    photos = read_json(RESULTS / "gridpg" / "photos.json")["photos"]
    mosaics = {"side": 2, "seed": 0, "photos": digest(photos)}
    areas = [OTHER_AREAS[method]] if method in OTHER_AREAS else []
    factory = make_factory(classifier, tmp_path, *program.OPTIONS, *areas, *OPTIONS, **mosaics)
    facts = map_facts(plain(composed(*program.OPTIONS, *areas, *OPTIONS))) | mosaics
    if method in program.FITS:
        participant = program.build_participant(method, factory, folder=tmp_path, facts=facts)
    else:
        participant = SingleMap(method, METHODS[method](factory), maker=factory.maker)
    assert name in participant.names
    today, *earlier = participant.accepted_row_settings
    if method == "inr":  # made with version 1 of the random draws
        assert published_settings("gridpg", name).isdisjoint({today, *earlier})
    elif method in WITH_SEGMENTATIONS:
        assert published_settings("gridpg", name) < {today, *earlier}
    else:
        assert published_settings("gridpg", name) == {today}


def test_the_list_of_photos_is_that_of_now() -> None:
    facts = map_facts(plain(composed(*DEFAULTS, *OPTIONS))) | {"side": 2, "seed": 0}
    assert read_json(RESULTS / "gridpg" / "photos.json")["asked"] == facts


@pytest.mark.parametrize(
    ("option", "changes"),
    [
        ("steps=7", True),
        ("classifier.name=alexnet", True),
        ("data.root=elsewhere", False),
        ("data.segmentations=elsewhere", False),
        ("masks_per_forward=1", False),
    ],
)
def test_settings_change_with_what_maps_depend_on(
    option: str, changes: bool, classifier: FrozenClassifier, tmp_path: Path
) -> None:
    published, other = (
        factory.maker.settings(build_explainer("inr", factory))
        for factory in (
            make_factory(classifier, tmp_path, *DEFAULTS, *OPTIONS),
            make_factory(classifier, tmp_path, *DEFAULTS, *OPTIONS, option),
        )
    )
    assert (published != other) == changes

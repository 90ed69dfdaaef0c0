"""The choices of inr=: what each file builds, which options are refused, and that stored masks are drawn again."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig

from inr_xai.classifier import FrozenClassifier
from inr_xai.config import check
from inr_xai.errors import UserError
from inr_xai.fitting.fit import fit_masks
from inr_xai.inr import INR, FeatureGridINR, FourierINR, GridINR, SirenINR, WireINR
from inr_xai.instantiate import build_method, instantiate
from inr_xai.runs.folder import RunFolder
from inr_xai.runs.load import describe_drawing, load
from inr_xai.runs.masks_file import SampleRecord
from inr_xai.types import Frame
from tests.conftest import pictures
from tests.helpers.runs import FACTS, ROOT, configured

# The families that end in a network; the pyramid has none, and its tests are in tests/inr/test_grids.py.
CHOICES: dict[str, type[INR]] = {
    "feature_grid": FeatureGridINR,
    "fourier": FourierINR,
    "siren": SirenINR,
    "wire": WireINR,
    "hash_grid": GridINR,
    "dense_grid": GridINR,
}
Changed = Callable[..., DictConfig]


@pytest.fixture(scope="module", params=CHOICES)
def choice(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def changed(choice: str) -> Changed:
    """A function that returns the configuration of a choice with options of `inr` set."""
    base = configured(f"inr={choice}")

    def change(nested: bool = False, **options: Any) -> DictConfig:
        cfg = copy.deepcopy(base)
        cfg.nested = nested
        for name, value in options.items():
            cfg.inr[name] = value
        return cfg

    return change


def test_every_file_is_a_choice_here() -> None:
    assert {file.stem for file in (ROOT / "conf" / "inr").glob("*.yaml")} == {*CHOICES, "pyramid"}


@pytest.mark.slow
def test_a_choice_builds_its_family_as_the_file_says(choice: str, changed: Changed) -> None:
    cfg = changed()
    check(cfg)
    family = instantiate(cfg.inr)
    assert family.func is CHOICES[choice]
    assert isinstance(family([torch.Generator()]), CHOICES[choice])
    arguments = {name: value for name, value in cfg.inr.items() if not str(name).startswith("_")}
    assert family.keywords == arguments


@pytest.mark.parametrize("conditioning", ["concat", "film", "none"])
def test_nested_masks_need_one_field(choice: str, changed: Changed, conditioning: str) -> None:
    if choice == "feature_grid" and conditioning == "concat":
        with pytest.raises(UserError, match=r"inr\.conditioning=concat is not available with inr=feature_grid"):
            check(changed(conditioning=conditioning))
        return
    check(changed(conditioning=conditioning))
    cfg = changed(nested=True, conditioning=conditioning)
    if conditioning == "none":
        check(cfg)
        return
    with pytest.raises(UserError, match=f"nested=true .* inr.conditioning={conditioning}; use inr.conditioning=none"):
        check(cfg)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "inr.width=0 is out of range"),
        ({"depth": 0}, "inr.depth=0 is out of range"),
        ({"depth": 2.5}, "inr.depth=2.5 is of the wrong type; it must be int"),
        (
            {"conditioning": "fim"},
            "inr.conditioning=fim is not (one of concat, film, none|available with inr=feature_grid)",
        ),
        ({"omega_zero": 1.0}, "inr.omega_zero=1.0 is not an argument"),
    ],
)
@pytest.mark.slow
def test_bad_arguments_are_refused_before_any_work(changed: Changed, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check(changed(**options))


@pytest.mark.slow
def test_bad_arguments_that_one_family_has_are_refused_too() -> None:
    wrong = {"siren": "first_omega=0", "wire": "scale=-1", "hash_grid": "table_size=100", "dense_grid": "growth=0.5"}
    for name, option in wrong.items():
        with pytest.raises(UserError, match=f"inr.{option} is "):
            check(configured(f"inr={name}", f"inr.{option}"))


@pytest.mark.slow
def test_stored_masks_are_drawn_again(choice: str, changed: Changed, tiny: FrozenClassifier, tmp_path: Path) -> None:
    """The second of two explanations needs the network of the first, for the pixels that it may not use."""
    cfg = changed(conditioning="film" if choice in ("feature_grid", "fourier", "wire", "hash_grid") else "concat")
    cfg.areas, cfg.steps, cfg.explanations = [0.1, 0.3], 3, 2
    method = build_method(cfg)
    fitted = fit_masks(pictures(1), torch.tensor([0]), ["a"], tiny, method)
    record = SampleRecord(
        sample_id="a",
        target=0,
        frame=Frame((24, 24), (24, 24), 0, 0, (24, 24)),
        areas=list(method.areas),
        masks=fitted.masks[0],
        inrs=fitted.networks[0],
        losses=fitted.losses[0],
        rows=[],
        drawing=describe_drawing(method),
    )
    folder = RunFolder(tmp_path)
    folder.write_run(FACTS)
    folder.commit(record)
    explained = load(tmp_path)["a"]
    for k in (1, 2):
        for position, area in enumerate(explained.areas):
            again = explained.mask(area, explanation=k)
            assert (again - fitted.masks[0, k - 1, position].float()).abs().max() < 1e-3
        finer = explained.mask(0.17, 96, explanation=k)
        assert abs(float(finer.double().mean()) - 0.17) < 1e-3

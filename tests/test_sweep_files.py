"""The named sweeps and ablations: the options of every job pass the check, and change only what the name says."""

import copy
from pathlib import Path

import pytest
import yaml
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from inr_xai.columns import less_is_better
from inr_xai.config import check, sentence
from inr_xai.runs.folder import flatten
from tests.helpers.program import needs_optuna
from tests.helpers.runs import ROOT, configured

pytestmark = pytest.mark.slow

CONF = ROOT / "conf"
SWEEPS = {file.stem: file for file in sorted((CONF / "sweep").glob("*.yaml"))}
GRIDS = {name: file for name, file in SWEEPS.items() if name != "optuna_search"}
ABLATIONS = sorted(file.stem for file in (CONF / "ablation").glob("*.yaml"))
CHANGES = {
    "default": {},
    "no_total_variation": {"total_variation": 0.0},
    "jitter": {"jitter.shift": 0.03},
    "no_decay": {"decay": 1.0},
    "no_area": {"inr.conditioning": "none"},
    "no_grayness_weight": {"binary": 0.0},
    "soft_end": {"area_rule.end": 0.3},
}
"""Ablation -> the keys of the configuration that it changes, with their values."""


def options(file: Path) -> list[list[str]]:
    """Returns the values of each swept option as KEY=VALUE; of an interval, its ends."""
    swept = yaml.safe_load(file.read_text())["hydra"]["sweeper"]["params"]
    values = []
    for override in OverridesParser.create().parse_overrides([f"{key}={value}" for key, value in swept.items()]):
        key, value = override.get_key_element(), override.value()
        if isinstance(value, IntervalSweep):
            values.append([f"{key}={end}" for end in (value.start, value.end)])
        elif isinstance(value, ChoiceSweep):
            values.append([f"{key}={text}" for text in override.sweep_string_iterator()])
        else:
            values.append([f"{key}={override.get_value_element_as_str()}"])
    return values


@pytest.fixture(scope="module")
def base() -> DictConfig:
    return configured("out=here")


def test_the_sweeps_are_there() -> None:
    names = {"inr_family", "area_rule", "perturbation", "conditioning", "frequency", "explanations", "steps", "fitting"}
    assert names <= GRIDS.keys()
    assert options(SWEEPS["explanations"]) == [[f"explanations={k}" for k in (1, 2, 3, 4)]]


@pytest.mark.parametrize("name", SWEEPS)
def test_a_named_sweep_is_a_multirun_whose_values_pass(base: DictConfig, name: str) -> None:
    assert yaml.safe_load(SWEEPS[name].read_text())["hydra"]["mode"] == "MULTIRUN"
    fixed = [values[0] for values in options(SWEEPS[name]) if len(values) == 1]
    swept = [option for values in options(SWEEPS[name]) if len(values) > 1 for option in values]
    assert swept
    start = configured("out=here", *fixed) if fixed else base
    for option in swept:
        key, _, value = option.lstrip("+").partition("=")
        if (CONF / key).is_dir():  # tests/config/test_check.py checks every choice of every group
            assert (CONF / key / f"{value}.yaml").is_file()
        else:
            cfg = copy.deepcopy(start)
            OmegaConf.update(cfg, key, yaml.safe_load(value))
            check(cfg)


@pytest.mark.parametrize("name", GRIDS)
def test_a_named_sweep_changes_nothing_but_the_swept_options(base: DictConfig, name: str) -> None:
    assert configured(f"sweep={name}", "out=here") == base


def test_the_fitting_sweep_runs_every_ablation_once() -> None:
    (values,) = options(SWEEPS["fitting"])
    assert sorted(values) == [f"+ablation={name}" for name in ABLATIONS]


@pytest.mark.parametrize("name", ABLATIONS)
def test_an_ablation_changes_one_thing(base: DictConfig, name: str) -> None:
    ablated = configured("out=here", f"+ablation={name}")
    check(ablated)
    before, after = (flatten(OmegaConf.to_container(cfg, resolve=True)) for cfg in (base, ablated))
    different = {key: after.get(key) for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    if name in CHANGES:
        assert different == CHANGES[name]
    assert name == "default" or different
    assert len({key.split(".")[0] for key in different}) <= 1


def test_a_preset_of_speed_is_these_options() -> None:
    fast = ("area_rule=projection_short", "decay=0.5", "steps=25")
    assert configured("out=here", "+preset=fast") == configured("out=here", *fast)
    assert configured("out=here", "+preset=best") == configured("out=here", "steps=200")


@pytest.mark.parametrize("experiment", ["context_audit", "photo_audit"])
def test_an_audit_has_the_masks_with_which_its_thresholds_were_measured(experiment: str) -> None:
    audit = configured("out=here", f"+experiment={experiment}", "data.root=here" if experiment[0] == "p" else "seed=0")
    preset = configured("out=here", "+preset=pyramid", "objective=hybrid")
    for key in ("inr", "start", "decay", "jitter", "reveal", "perturbation", "objective", "area_rule", "optimizer"):
        assert audit[key] == preset[key]


def test_an_ablation_may_choose_a_part() -> None:
    assert configured("+ablation=blur_only").perturbation == configured("perturbation=blur").perturbation


def test_the_search_without_its_package_is_refused_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(ConfigStore.instance().repo["hydra"]["sweeper"], "optuna.yaml", raising=False)
    with pytest.raises(HydraException) as caught:
        configured("sweep=optuna_search")
    assert sentence(caught.value) == (
        "hydra/sweeper=optuna is not one of the choices of hydra/sweeper: basic; others come with pip install "
        "'inr-xai[sweep]'"
    )


@needs_optuna
def test_the_search_maximises_what_should_be_large() -> None:
    cfg = configured("sweep=optuna_search")
    assert not less_is_better(cfg.sweep_metric)
    sweeper = yaml.safe_load(SWEEPS["optuna_search"].read_text())["hydra"]["sweeper"]
    assert (sweeper["direction"], sweeper["sampler"]) == ("maximize", {"seed": 0})

"""The wrong-target control: its limit, and a configuration that differs from the run's only as its docstring says."""

import copy
import math
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig, open_dict

from inr_xai.audit.coalition_game import CoalitionGame
from inr_xai.audit.control import control_configuration, control_limit
from inr_xai.audit.estimates import AuditedImage
from inr_xai.config import check
from inr_xai.instantiate import plain
from tests.helpers.games import make_game, two_regions
from tests.helpers.runs import configured_once


def game_of(*joint: float) -> CoalitionGame:
    """Returns a game with these joint values, one under each baseline."""
    return make_game(2, *(two_regions(nothing=0, union=2 * value, rest=1, whole=1) for value in joint))


@pytest.mark.parametrize("count", [1, 2, 20, 21, 100])
def test_the_limit_is_the_higher_95_per_cent_quantile(count: int) -> None:
    """The limit of 20 images is their largest value, that of 100 the sixth from above."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(count)).tolist()
    values = [place / 128 for place in order]
    expected = sorted(values)[math.ceil(0.95 * (count - 1))]
    assert control_limit([AuditedImage([game_of(value)]) for value in values]) == expected


def test_every_fit_counts_by_its_mean_over_baselines() -> None:
    images = [AuditedImage([game_of(0.25, 0.75), game_of(0.5, 0.0)]), AuditedImage([game_of(0.25, 0.5)])]
    assert control_limit(images) == 0.5


@pytest.fixture
def cfg() -> DictConfig:
    return copy.deepcopy(configured_once())


def test_the_configuration_changes_only_what_its_docstring_says(cfg: DictConfig) -> None:
    cfg.shard.index, cfg.shard.count, cfg.evaluate, cfg.audit = 1, 2, "all", {"area": 0.1, "control": 3}
    cfg.callbacks.evolution = {"_target_": "any.callback"}
    before = plain(cfg)
    control = plain(control_configuration(cfg, images=7, out=Path("elsewhere")))
    assert plain(cfg) == before
    for name in ("figures", "curves", "evolution"):
        assert before["callbacks"][name] is not None
        assert control["callbacks"].pop(name) is None
        del before["callbacks"][name]
    before |= {"name": "demo_control", "out": "elsewhere", "evaluate": None, "audit": None}
    before["data"] |= {"targets": "wrong", "limit": 7}
    before |= {"logger": {"wandb": None}, "shard": {"index": 0, "count": 1, "steal": False}}
    assert control == before


def test_a_run_of_an_earlier_version_lacks_a_key(cfg: DictConfig) -> None:
    with open_dict(cfg):
        for key in ("audit", "threads", "lock", "allow_targets"):
            del cfg[key]
    check(control_configuration(cfg, images=7, out=Path("elsewhere")))

"""The option `audit` of a run: what is wrong with it is said before any work, by key and value."""

import copy
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from inr_xai.config import check
from inr_xai.errors import UserError
from tests.runs import TINY, composed, explain

RIGHT = {"area": 0.1, "control": 3}


def asking(audit: Any, key: str = "seed", value: Any = 0) -> DictConfig:
    """The project's own configuration with an audit, and another value."""
    cfg = copy.deepcopy(composed())
    cfg.audit = audit
    OmegaConf.update(cfg, key, value)
    return cfg


@pytest.mark.parametrize(("audit", "explanations"), [(None, 1), (None, 2), (RIGHT, 2), (RIGHT, 5), (RIGHT, "auto")])
def test_what_is_right_passes(audit: Any, explanations: Any) -> None:
    check(asking(audit, "explanations", explanations))


@pytest.mark.parametrize(
    ("audit", "words"),
    [
        (0.1, ["audit=0.1", "area, control", "{area: 0.1, control: 20}", "null"]),
        (True, ["audit=true", "area, control"]),
        ("all", ["audit=all", "area, control"]),
        ([0.1, 3], ["audit=[0.1,3]", "area, control"]),
        ({}, ["audit={}", "area, control"]),
        ({"area": 0.1}, ["audit={area:0.1}", "area, control"]),
        (RIGHT | {"groups": "x"}, ["groups:x", "area, control"]),
        ({"areas": 0.1, "control": 3}, ["areas:0.1", "area, control"]),
        (RIGHT | {"area": 0.3}, ["audit.area=0.3", "areas=[0.05,0.1,0.2]"]),
        (RIGHT | {"area": "0.1x"}, ["audit.area=0.1x", "areas="]),
        (RIGHT | {"area": None}, ["audit.area=null", "areas="]),
        (RIGHT | {"area": [0.1]}, ["audit.area=[0.1]", "areas="]),
        (RIGHT | {"control": 0}, ["audit.control=0", "at least 1"]),
        (RIGHT | {"control": -2}, ["audit.control=-2", "at least 1"]),
        (RIGHT | {"control": 1.5}, ["audit.control=1.5", "at least 1"]),
        (RIGHT | {"control": True}, ["audit.control=true", "at least 1"]),
        (RIGHT | {"control": None}, ["audit.control=null", "at least 1"]),
    ],
)
def test_refusals(audit: Any, words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        check(asking(audit))
    said = str(caught.value)
    assert "\n" not in said
    assert all(word in said for word in words)


@pytest.mark.parametrize(
    ("key", "value", "remedy"),
    [("explanations", 1, "explanations=2"), ("exclusion.mode", "penalty", "exclusion.mode=exclude")],
)
def test_explanations_that_cannot_be_audited(key: str, value: Any, remedy: str) -> None:
    with pytest.raises(UserError) as caught:
        check(asking(RIGHT, key, value))
    assert str(caught.value).startswith("audit asks for")
    assert remedy in str(caught.value)
    assert f"not {key}={value}" in str(caught.value)
    assert "audit=null" in str(caught.value)
    check(asking(None, key, value))


def test_a_refusal_leaves_no_folder_behind(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"audit\.area=0\.2"):
        explain(tmp_path / "out", "audit={area:0.2,control:3}", base=TINY)
    assert not (tmp_path / "out").exists()

"""The option `audit` of a run: a mistake in it is refused before any work, by key and value."""

import copy
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from inr_xai.config import check
from inr_xai.data import Synthetic
from inr_xai.errors import UserError
from inr_xai.limits import MOST_AUDITED
from inr_xai.runs.folder import RunFolder
from tests.helpers.games import CHEAP
from tests.helpers.runs import TINY, configured_once, explain

RIGHT = {"area": 0.1, "control": 3}
GRID = ["data=grid", "data.photos=photos.json", "data.source.root=photos"]


class Fixed(Synthetic):
    """Data that do not let the target class be chosen."""

    def __init__(self, *, limit: int | None = None, every: int = 1) -> None:
        super().__init__(limit=limit, every=every)


class Open(Synthetic):
    """Data that pass on any options."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)


def with_audit(audit: Any, key: str = "seed", value: Any = 0) -> DictConfig:
    """Returns the project's own configuration with an audit and one other value."""
    cfg = copy.deepcopy(configured_once())
    cfg.audit = audit
    OmegaConf.update(cfg, key, value)
    return cfg


@pytest.mark.parametrize(("audit", "explanations"), [(None, 1), (None, 2), (RIGHT, 2), (RIGHT, 5), (RIGHT, "auto")])
def test_valid_options_pass(audit: Any, explanations: Any) -> None:
    check(with_audit(audit, "explanations", explanations))


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
        check(with_audit(audit))
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words)


@pytest.mark.parametrize(
    ("key", "value", "remedy"),
    [("explanations", 1, "explanations=2"), ("exclusion.mode", "penalty", "exclusion.mode=exclude")],
)
def test_explanations_that_cannot_be_audited(key: str, value: Any, remedy: str) -> None:
    with pytest.raises(UserError) as caught:
        check(with_audit(RIGHT, key, value))
    assert str(caught.value).startswith("an audit needs")
    assert remedy in str(caught.value)
    assert f"not {key}={value}" in str(caught.value)
    assert "audit=null" in str(caught.value)
    check(with_audit(None, key, value))


def many(explanations: Any, most: int = 5, areas: tuple[float, ...] = (0.01, 0.02)) -> DictConfig:
    """Returns a configuration with many explanations of small areas."""
    cfg = with_audit(RIGHT | {"area": areas[0]}, "explanations", explanations)
    cfg.areas, cfg.stop.most = list(areas), most
    return cfg


def test_as_many_explanations_as_an_audit_takes() -> None:
    assert MOST_AUDITED == 8
    for cfg in (many(8), many("auto", 8), many("auto", 50, (0.1, 0.12))):  # eight of 0.12 fit beside each other
        check(cfg)


@pytest.mark.parametrize(
    ("cfg", "words"),
    [
        (many(9), ["not explanations=9", "explanations=8 or less"]),
        (many("auto", 9), ["explanations=auto with stop.most=9 may find 9", "stop.most=8 or less"]),
        (many("auto", 50, (0.05, 0.1)), ["stop.most=50 may find 10", "stop.most=8 or less"]),
    ],
)
def test_more_explanations_than_an_audit_takes(cfg: DictConfig, words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        check(cfg)
    message = str(caught.value)
    assert message.startswith("audit takes at most 8 explanations of each image, ")
    assert all(word in message for word in [*words, "2^(K+1)", "audit=null"])
    cfg = copy.deepcopy(cfg)
    cfg.audit = None
    check(cfg)


def test_data_whose_classes_are_fixed_cannot_be_audited() -> None:
    cfg = copy.deepcopy(configured_once(*GRID))
    check(cfg)
    cfg.audit = RIGHT
    with pytest.raises(UserError) as caught:
        check(cfg)
    assert str(caught.value) == (
        "audit asks for data.targets, which its wrong-target control sets, and data._target_=inr_xai.data.mosaic.Grid "
        "does not take it; choose other data, such as data=image_folder, or set audit=null"
    )


class Whole(Synthetic):
    """Data without the option `every`."""

    def __init__(self, *, targets: str = "label", limit: int | None = None) -> None:
        super().__init__(targets=targets, limit=limit)


def test_the_control_is_spread_over_the_data() -> None:
    cfg = with_audit(RIGHT)
    cfg.allow_targets = ["tests"]
    cfg.data = {"_target_": f"{__name__}.Whole"}
    with pytest.raises(UserError, match=r"audit asks for data\.every, which its wrong-target control sets"):
        check(cfg)


def test_data_of_the_user_must_take_targets() -> None:
    """Options that the configuration leaves to the signature count as well."""
    for name, valid in (("inr_xai.data.Synthetic", True), (f"{__name__}.Open", True), (f"{__name__}.Fixed", False)):
        cfg = with_audit(RIGHT)
        cfg.allow_targets = ["tests"]
        cfg.data = {"_target_": name}
        if valid:
            check(cfg)
        else:
            with pytest.raises(UserError, match=f"audit asks for data.targets.*{name} does not take it"):
                check(cfg)


ONE = [*TINY, *CHEAP, "data.limit=1", "audit={area:0.3,control:1}"]


@pytest.mark.parametrize(("failed", "messages"), [(0, []), (1, ["1 of 1 explained images could not be audited; "])])
@pytest.mark.slow
def test_images_without_an_audit_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, failed: int, messages: list[str]
) -> None:
    monkeypatch.setattr("inr_xai.audit.auditor.audit_runs", lambda *_, **__: failed)
    outcome = explain(tmp_path, base=ONE)
    assert (outcome.failures, outcome.unmeasured) == (0, failed)
    again = f"inr-xai audit {tmp_path} --area 0.3 --control 1 asks again"
    assert [record.getMessage() for record in caplog.records if "audit" in record.getMessage()] == [
        message + again for message in messages
    ]
    folder = RunFolder(tmp_path)
    assert folder.read_unmeasured() == failed
    explain(tmp_path, "audit=null", base=ONE)
    assert folder.read_unmeasured() == 0


@pytest.mark.slow
def test_images_that_cannot_be_evaluated_are_counted_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of two images fails in the metrics, then an evaluation that is refused fails for both."""

    def refuse(*_: Any, **__: Any) -> int:
        raise UserError("no group is named")

    monkeypatch.setattr("inr_xai.evaluate.evaluation.evaluate_run", lambda *_, **__: 1)
    outcome = explain(tmp_path, "evaluate=[sparseness]", "data.limit=2", "audit=null", base=ONE)
    assert outcome.unmeasured == RunFolder(tmp_path).read_unmeasured() == 1
    monkeypatch.setattr("inr_xai.evaluate.evaluation.evaluate_run", refuse)
    assert explain(tmp_path, "evaluate=[sparseness]", "data.limit=2", "audit=null", base=ONE).unmeasured == 2


def test_an_audit_that_is_refused_leaves_all_images_unaudited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any, **__: Any) -> int:
        raise UserError("no group is named")

    monkeypatch.setattr("inr_xai.audit.auditor.audit_runs", refuse)
    outcome = explain(tmp_path, "data.limit=2", base=ONE)
    assert (outcome.failures, outcome.unmeasured) == (0, 2)
    assert RunFolder(tmp_path).done() == {"00000-disc", "00001-square"}
    assert "not audited: no group is named; the explanations are kept, and inr-xai audit " in caplog.text


def test_a_refusal_leaves_no_folder_behind(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"audit\.area=0\.2"):
        explain(tmp_path / "out", "audit={area:0.2,control:3}", base=TINY)
    assert not (tmp_path / "out").exists()

"""What run.json holds when several processes begin or continue one run, and the number of threads."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from inr_xai.draws import GENERATOR
from inr_xai.errors import UserError
from inr_xai.instantiate import begin_session, log_measured, plain, threads_of, update_run, wandb_settings
from inr_xai.runs.folder import RunFolder
from inr_xai.runs.load import Run
from tests.helpers.runs import TINY, configured_fast, explain, masks_of, messages


def facts(wandb_id: str, **changes: Any) -> dict[str, Any]:
    """Returns what run.json is to hold."""
    return {
        "config": plain(configured_fast(*TINY, "shard.count=2")) | changes,
        "scoring_pool": ["a"],
        "donor_pool": ["b"],
        "wandb_id": wandb_id,
        "draws": GENERATOR,
        "seconds": 0.0,
        "classifier_passes": {},
    }


def test_two_processes_that_begin_one_run_agree_on_what_it_is(tmp_path: Path) -> None:
    folder, begun = RunFolder(tmp_path), []

    def begin(own: dict[str, Any]) -> None:
        begun.append(begin_session(RunFolder(tmp_path), own))

    threads = [threading.Thread(target=begin, args=(facts(f"id{number}"),)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    stored = folder.read_run()
    assert {one["wandb_id"] for one in begun} == {stored["wandb_id"]}
    assert sorted(one["sessions"] for one in begun) == [1, 2, 3, 4, 5, 6]
    assert stored["sessions"] == 6


def test_a_run_that_another_process_has_begun_meanwhile_is_not_mixed_with_this_one(tmp_path: Path) -> None:
    begin_session(RunFolder(tmp_path), facts("first"))
    before = (tmp_path / "run.json").read_bytes()
    with pytest.raises(UserError, match=r"differs in steps \(was 2, now 3\)"):
        begin_session(RunFolder(tmp_path), facts("second", steps=3))
    with pytest.raises(UserError, match="has just been begun by another process, whose data have other photos"):
        begin_session(RunFolder(tmp_path), facts("second") | {"donor_pool": ["c"]})
    assert (tmp_path / "run.json").read_bytes() == before


def test_what_one_process_changes_the_other_keeps(tmp_path: Path) -> None:
    begin_session(RunFolder(tmp_path), facts("first"))
    update_run(RunFolder(tmp_path), seconds=3.5, classifier_passes={"per_image": 8.0})
    again = begin_session(RunFolder(tmp_path), facts("second") | {"device": "cpu"})
    assert again == RunFolder(tmp_path).read_run()
    assert (again["seconds"], again["classifier_passes"]) == (3.5, {"per_image": 8.0})
    assert (again["wandb_id"], again["device"], again["sessions"]) == ("first", "cpu", 2)


def test_a_number_of_threads_holds_for_the_work_alone() -> None:
    before = torch.get_num_threads()
    with pytest.raises(KeyboardInterrupt), threads_of(OmegaConf.create({"threads": before + 1})):
        raise KeyboardInterrupt
    assert torch.get_num_threads() == before
    with threads_of(OmegaConf.create({"threads": before + 1})):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    for unset in ({"threads": None}, {}):
        with threads_of(OmegaConf.create(unset)):
            assert torch.get_num_threads() == before


@pytest.mark.slow
def test_a_run_stores_its_threads_and_warns_if_it_goes_on_with_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = torch.get_num_threads()
    explain(tmp_path, "threads=1", "data.limit=1", "explanations=1")
    assert json.loads((tmp_path / "run.json").read_text())["threads"] == 1
    explain(tmp_path, "threads=1", "data.limit=1", "explanations=1")
    assert not [text for text in messages(caplog.records) if "threads" in text]
    explain(tmp_path, "threads=2", "data.limit=2", "explanations=1")
    (warning,) = [text for text in messages(caplog.records) if "threads" in text]
    assert warning == (
        f"{tmp_path} was computed with 1 threads and goes on with 2, so that single bits of further masks may differ; "
        "threads=1 keeps them"
    )
    assert json.loads((tmp_path / "run.json").read_text())["threads"] == 2
    assert len(masks_of(tmp_path)) == 2
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("node", [None, "none", {}, {"wandb": None}, 3])
def test_a_logger_that_is_no_mapping_or_has_no_wandb_is_off(node: Any) -> None:
    assert wandb_settings(OmegaConf.create({"logger": node}).logger) is None


def test_what_fails_after_the_measurement_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    class NoImages(Run):
        def __len__(self) -> int:
            return 0

    cfg = OmegaConf.create({"logger": {"wandb": {"_target_": "inr_xai.loggers.WandbSettings", "mode": "sometimes"}}})
    log_measured(["evaluation"], NoImages.__new__(NoImages), cfg)
    (message,) = messages(caplog.records)
    assert message.startswith("W&B does not get what was measured: ")
    assert "choose offline, online or disabled" in message

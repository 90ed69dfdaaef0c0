"""A run's file that W&B could not write to its end is recognised."""

import random
from pathlib import Path

import pytest

from inr_xai.loggers.transaction_log import BLOCK, is_complete
from tests.helpers.wandb_runs import begin

pytest_plugins = ["tests.helpers.wandb_fixtures"]


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_wandb")
def test_a_file_is_complete_only_with_its_last_byte(tmp_path: Path) -> None:
    run = begin(tmp_path)
    for done in range(150):
        run.log({f"value/{number}": float(done) for number in range(20)}, images_done=done)
    run.finish()
    (file,) = run.folder.glob("*.wandb")
    whole = file.read_bytes()
    assert len(whole) > 2 * BLOCK
    assert is_complete(file)
    ends = [*range(len(whole) - 200, len(whole)), *random.Random(0).sample(range(len(whole)), 200), 0, 7, BLOCK]
    for end in ends:
        file.write_bytes(whole[:end])
        assert not is_complete(file), end


def test_a_missing_file_is_not_complete_and_one_of_another_format_is_not_judged(tmp_path: Path) -> None:
    file = tmp_path / "run.wandb"
    assert not is_complete(file)
    file.write_bytes(b"another format")
    assert is_complete(file)

"""The code of the tests that need a GPU works: on a processor they pass."""

import subprocess
import sys

import pytest

from tests.helpers.runs import ROOT, environment


@pytest.mark.slow
def test_the_tests_for_a_gpu_pass_on_a_processor() -> None:
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-n", "0", "tests/gpu"]
    tested = subprocess.run(
        command,
        cwd=ROOT,
        env=environment() | {"INR_XAI_TEST_DEVICE": "cpu"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert tested.returncode == 0, tested.stdout

"""The device of the tests that need a GPU.

`make test-gpu` runs them; without a CUDA device they are skipped. INR_XAI_TEST_DEVICE=cpu runs them on a processor, so
that their own code is tried out there too: what they say of a GPU then says nothing.
"""

import os
from collections.abc import Mapping
from typing import Any

import pytest
import torch


@pytest.fixture(scope="session")
def device() -> torch.device:
    """The device that is tested."""
    name = os.environ.get("INR_XAI_TEST_DEVICE", "cuda")
    if name == "cuda" and not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    return torch.device(name)


@pytest.fixture(scope="session")
def trainer(device: torch.device) -> Mapping[str, Any]:
    """Arguments of Lightning's trainer for fits on the device."""
    return {"accelerator": "gpu" if device.type == "cuda" else "cpu", "devices": 1}

"""Fits two images with compiled functions and without, in a process in which no checker of types wraps functions.

`python -m tests.helpers.compiled_fit cpu` prints as JSON the largest differences of losses and of masks, the number of
functions that were compiled, and what the log said; `gpu graphs` as arguments replays the compiled steps as well.
"""

import json
import logging
import subprocess
import sys
from dataclasses import replace
from typing import Any

import torch

from inr_xai.fitting.fit import FitResult, fit_masks
from inr_xai.method import Method
from tests.conftest import pictures, tiny_classifier
from tests.helpers.runs import ROOT, environment


def compiled_fit(*arguments: str) -> Any:
    """Returns what the program prints."""
    command = [sys.executable, "-m", "tests.helpers.compiled_fit", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def main(accelerator: str, graphs: bool) -> None:
    """Prints the differences."""
    from torch._dynamo.utils import counters

    torch.set_num_threads(1)
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("inr_xai").addHandler(handler)
    method = Method(areas=(0.1, 0.3), steps=4, images_per_fit=1)

    def fitted(method: Method) -> FitResult:
        trainer = {"accelerator": accelerator, "devices": 1, "precision": "64-true"}
        return fit_masks(pictures(2), torch.tensor([0, 1]), ["a", "b"], tiny_classifier(), method, trainer=trainer)

    compiled, plain = fitted(replace(method, compile=True, cuda_graphs=graphs)), fitted(method)
    losses, masks = compiled.losses - plain.losses, compiled.masks.float() - plain.masks.float()
    differences = [float(values.abs().max()) for values in (losses, masks)]
    print(json.dumps([*differences, counters["stats"]["unique_graphs"], said]))


if __name__ == "__main__":
    main(sys.argv[1], "graphs" in sys.argv[2:])

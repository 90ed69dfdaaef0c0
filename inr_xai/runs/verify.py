"""Checks what a finished run promises: exact areas, binary and disjoint masks, also at areas and sizes never fitted.

inr-xai verify RUN                            the figures as JSON
inr-xai verify RUN --areas 0.07 0.15 --size 448
"""

import argparse
import itertools
import json
import sys
from collections.abc import Sequence

import torch
from torch import Tensor

from inr_xai.config import exit_status
from inr_xai.masks import area_error, grayness, hard_masks, share_above_half
from inr_xai.runs.load import load


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; the exit status."""
    parser = argparse.ArgumentParser(
        prog="inr-xai verify", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", help="the folder of a run")
    parser.add_argument("--areas", type=float, nargs="*", default=[0.07, 0.15, 0.3], help="areas to render")
    parser.add_argument("--size", type=int, default=448, help="side of the second rendering, in pixels")
    args = parser.parse_args(arguments)
    return exit_status(lambda: verify(args))


def verify(args: argparse.Namespace) -> int:
    """Prints the figures of a run as JSON; no failures."""
    run = load(args.run)
    figures: dict[str, list[Tensor]] = {}
    for sample_id in run:
        explained = run[sample_id]
        explanations = len(explained.masks)
        areas = torch.tensor(explained.areas)
        note(figures, "stored", explained.masks, areas)
        for size in (None, args.size):
            rendered = [
                [explained.mask(area, size, explanation=k + 1).half() for area in args.areas]
                for k in range(explanations)
            ]
            name = "rendered" if size is None else f"rendered at {size}"
            note(figures, name, torch.stack([torch.stack(masks) for masks in rendered]), torch.tensor(args.areas))
        again = torch.stack(
            [torch.stack([explained.mask(a, explanation=k + 1) for a in explained.areas]) for k in range(explanations)]
        )
        difference = (again - explained.masks.float()).abs().amax()
        figures.setdefault("re-rendering, largest difference", []).append(difference)
    largest = {name: float(torch.stack(values).max()) for name, values in figures.items() if "largest" in name}
    means = {name: float(torch.stack(values).mean()) for name, values in figures.items() if "largest" not in name}
    sys.stdout.write(json.dumps({"images": len(run)} | means | largest, indent=2) + "\n")
    return 0


def note(figures: dict[str, list[Tensor]], name: str, masks: Tensor, areas: Tensor) -> None:
    """Adds the figures of one image's masks, k x a x h x w."""
    hard = hard_masks(masks, areas, generators=[torch.Generator() for _ in masks])
    pairs = [(hard[i] & hard[j]).sum().float() for i, j in itertools.combinations(range(len(hard)), 2)]
    values = {
        "area error": area_error(masks, areas).mean(),
        "grayness": grayness(masks).mean(),
        "share above half, error": share_above_half(masks, areas).mean(),
        "area error, largest": area_error(masks, areas).amax(),
        "pixels in two hard masks, largest": torch.stack(pairs).amax() if pairs else torch.tensor(0.0),
    }
    for figure, value in values.items():
        figures.setdefault(f"{name}: {figure}", []).append(value)


if __name__ == "__main__":
    sys.exit(main())

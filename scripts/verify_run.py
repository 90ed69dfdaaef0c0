"""Checks what a finished run promises: exact areas, binary and disjoint masks, also at areas and sizes never fitted."""

import argparse
import itertools
import json

import torch
from torch import Tensor

from inr_xai import load
from inr_xai.metrics.masks import area_error, grayness, hard_masks, share_above_half


def main() -> None:
    """Prints the figures of a run as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", help="the folder of a run")
    parser.add_argument("--areas", type=float, nargs="*", default=[0.07, 0.15, 0.3], help="areas to render")
    parser.add_argument("--size", type=int, default=448, help="side of the second rendering, in pixels")
    args = parser.parse_args()
    run = load(args.run)
    found: dict[str, list[Tensor]] = {}
    for sample_id in run:
        explained = run[sample_id]
        explanations = len(explained.masks)
        areas = torch.tensor(explained.areas)
        note(found, "stored", explained.masks, areas)
        for size in (None, args.size):
            rendered = [
                [explained.mask(area, size, explanation=k + 1).half() for area in args.areas]
                for k in range(explanations)
            ]
            name = "rendered" if size is None else f"rendered at {size}"
            note(found, name, torch.stack([torch.stack(masks) for masks in rendered]), torch.tensor(args.areas))
        again = torch.stack(
            [torch.stack([explained.mask(a, explanation=k + 1) for a in explained.areas]) for k in range(explanations)]
        )
        difference = (again - explained.masks.float()).abs().amax()
        found.setdefault("re-rendering, largest difference", []).append(difference)
    largest = {name: float(torch.stack(values).max()) for name, values in found.items() if "largest" in name}
    means = {name: float(torch.stack(values).mean()) for name, values in found.items() if "largest" not in name}
    print(json.dumps({"images": len(run)} | means | largest, indent=2))


def note(found: dict[str, list[Tensor]], name: str, masks: Tensor, areas: Tensor) -> None:
    """Adds the figures of one image's masks, k x a x h x w."""
    hard = hard_masks(masks, areas, generators=[torch.Generator() for _ in masks])
    pairs = [(hard[i] & hard[j]).sum().float() for i, j in itertools.combinations(range(len(hard)), 2)]
    figures = {
        "area error": area_error(masks, areas).mean(),
        "grayness": grayness(masks).mean(),
        "share above half, error": share_above_half(masks, areas).mean(),
        "area error, largest": area_error(masks, areas).amax(),
        "pixels in two hard masks, largest": torch.stack(pairs).amax() if pairs else torch.tensor(0.0),
    }
    for figure, value in figures.items():
        found.setdefault(f"{name}: {figure}", []).append(value)


if __name__ == "__main__":
    main()

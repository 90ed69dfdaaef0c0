"""Prints how exact, binary and disjoint the masks of a finished run are, also at areas and sizes never fitted.

inr-xai verify RUN                                   prints the figures as JSON
inr-xai verify RUN --areas 0.07 0.15 --size 448      at these areas, and also at 448 x 448 pixels
"""

import argparse
import itertools
import json
import sys
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from inr_xai.config import exit_status
from inr_xai.masks import area_error, grayness, hard_masks, share_above_half
from inr_xai.runs.load import Explained, load


def main(arguments: Sequence[str] | None = None) -> int:
    """Reads the command line, does the work, and returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="inr-xai verify", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", help="the folder of a run")
    parser.add_argument("--areas", type=float, nargs="+", default=[0.07, 0.15, 0.3], help="areas to render")
    parser.add_argument("--size", type=int, default=448, help="side of the second rendering, in pixels")
    args = parser.parse_args(arguments)
    return exit_status(lambda: print_figures(args.run, args.areas, args.size))


def print_figures(path: str, areas: Sequence[float], side: int) -> int:
    """Prints the figures of a run as JSON, and returns the number of failures, which is 0.

    Args:
        areas: the areas of the masks that are rendered, in addition to the stored ones.
        side: the side of the second rendering in pixels; the first has the size fitted.
    """
    run = load(path)
    figures: dict[str, list[Tensor]] = {}
    for sample_id in run:
        explained = run[sample_id]
        add_figures(figures, "stored", explained.masks, torch.tensor(explained.areas))
        add_figures(figures, "rendered", render(explained, areas).half(), torch.tensor(areas))
        add_figures(figures, f"rendered at {side}", render(explained, areas, side).half(), torch.tensor(areas))
        difference = (render(explained, explained.areas) - explained.masks.float()).abs().amax()
        figures.setdefault("re-rendering, largest difference", []).append(difference)
    largest = {name: float(torch.stack(values).max()) for name, values in figures.items() if "largest" in name}
    means = {name: float(torch.stack(values).mean()) for name, values in figures.items() if "largest" not in name}
    sys.stdout.write(json.dumps({"images": len(run)} | means | largest, indent=2) + "\n")
    return 0


def render(explained: Explained, areas: Sequence[float], side: int | None = None) -> Float[Tensor, "k a h w"]:
    """Returns the masks of all explanations of an image at any areas; a side of None is the size fitted."""
    explanations = range(1, len(explained.masks) + 1)
    return torch.stack(
        [torch.stack([explained.mask(area, side, explanation=k) for area in areas]) for k in explanations]
    )


def add_figures(
    figures: dict[str, list[Tensor]], name: str, masks: Float[Tensor, "k a h w"], areas: Float[Tensor, " a"]
) -> None:
    """Adds the figures of one image's masks, whose values lie in [0, 1], to those of the other images."""
    hard = hard_masks(masks, areas, generators=[torch.Generator() for _ in masks])
    overlaps = [(hard[i] & hard[j]).sum().float() for i, j in itertools.combinations(range(len(hard)), 2)]
    values = {
        "area error": area_error(masks, areas).mean(),
        "grayness": grayness(masks).mean(),
        "share above half, error": share_above_half(masks, areas).mean(),
        "area error, largest": area_error(masks, areas).amax(),
        "pixels in two hard masks, largest": torch.stack(overlaps).amax() if overlaps else torch.tensor(0.0),
    }
    for figure, value in values.items():
        figures.setdefault(f"{name}: {figure}", []).append(value)


if __name__ == "__main__":
    sys.exit(main())

"""Checks all files of a finished run, and prints what is wrong with them, and how exact, binary and disjoint masks are.

inr-xai verify RUN                                   prints faults and figures as JSON
inr-xai verify RUN --areas 0.07 0.15 --size 448      at these areas, and also at 448 x 448 pixels

The exit status is 3 if anything is wrong. Masks are rendered at areas and sizes that were never fitted, too.
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
from inr_xai.errors import UserError
from inr_xai.masks import area_error, grayness, hard_masks, share_above_half
from inr_xai.runs.check_files import FileCheck
from inr_xai.runs.load import Explained, load


def main(arguments: Sequence[str] | None = None) -> int:
    """Reads the command line, does the work, and returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="inr-xai verify", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", help="the folder of a run")
    parser.add_argument("--areas", type=float, nargs="+", default=[0.07, 0.15, 0.3], help="areas to render")
    parser.add_argument("--size", type=int, default=448, help="side of the second rendering, in pixels")
    parser.add_argument(
        "--allow-targets", nargs="+", default=[], metavar="NAME", help="packages of the run's own parts that you trust"
    )
    args = parser.parse_args(arguments)
    return exit_status(lambda: print_figures(args.run, args.areas, args.size, args.allow_targets))


def print_figures(path: str, areas: Sequence[float], side: int, allow_targets: Sequence[str] = ()) -> int:
    """Prints the faults and the figures of a run as JSON, and returns the number of faults.

    Args:
        areas: the areas of the masks that are rendered, in addition to the stored ones.
        side: the side of the second rendering in pixels; the first has the size fitted.
        allow_targets: see `load`.

    Raises:
        UserError: the folder holds no run, or masks cannot be rendered at these areas.
    """
    check, figures = FileCheck(path), MaskFigures()
    try:
        run = load(path, allow_targets)
    except UserError as error:
        if not check.is_run:
            raise
        sys.stdout.write(json.dumps({"faults": [str(error)]}, indent=2) + "\n")
        return 1
    for explained in check.images(run):
        figures.add("stored", explained.masks, torch.tensor(explained.areas))
        figures.add("rendered", render(explained, areas).half(), torch.tensor(areas))
        figures.add(f"rendered at {side}", render(explained, areas, side).half(), torch.tensor(areas))
        difference = (render(explained, explained.areas) - explained.masks.float()).abs().amax()
        figures.note("re-rendering, largest difference", difference)
    faults = check.faults()
    counts = {"images": len(run), "images without checksum": check.without_checksum}
    sys.stdout.write(json.dumps(counts | figures.values() | {"faults": faults}, indent=2) + "\n")
    return len(faults)


def render(explained: Explained, areas: Sequence[float], side: int | None = None) -> Float[Tensor, "k a h w"]:
    """Returns the masks of all explanations of an image at any areas; a side of None is the size fitted."""
    explanations = range(1, len(explained.masks) + 1)
    return torch.stack(
        [torch.stack([explained.mask(area, side, explanation=k) for area in areas]) for k in explanations]
    )


class MaskFigures:
    """Figures of masks: means over the images, or the largest if the name says so."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._count: dict[str, int] = {}

    def add(self, name: str, masks: Float[Tensor, "k a h w"], areas: Float[Tensor, " a"]) -> None:
        """Adds the figures of one image's masks, whose values lie in [0, 1]."""
        hard = hard_masks(masks, areas, generators=[torch.Generator() for _ in masks])
        overlaps = [(hard[i] & hard[j]).sum().float() for i, j in itertools.combinations(range(len(hard)), 2)]
        self.note(f"{name}: area error", area_error(masks, areas).mean())
        self.note(f"{name}: grayness", grayness(masks).mean())
        self.note(f"{name}: share above half, error", share_above_half(masks, areas).mean())
        self.note(f"{name}: area error, largest", area_error(masks, areas).amax())
        overlap = torch.stack(overlaps).amax() if overlaps else torch.tensor(0.0)
        self.note(f"{name}: pixels in two hard masks, largest", overlap)

    def note(self, figure: str, value: Tensor) -> None:
        """Adds one figure of an image."""
        number, before = float(value), self._sums.get(figure, 0.0)
        self._sums[figure] = max(before, number) if "largest" in figure else before + number
        self._count[figure] = 1 if "largest" in figure else self._count.get(figure, 0) + 1

    def values(self) -> dict[str, float]:
        """Returns the figures, means first."""
        ordered = sorted(self._sums, key=lambda figure: "largest" in figure)
        return {figure: self._sums[figure] / self._count[figure] for figure in ordered}


if __name__ == "__main__":
    sys.exit(main())

"""A part of the campaign of faults: where it works, what it draws, and what did not hold."""

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fault_runs import Ended, differences, finish

from inr_xai.errors import UserError

DONE = 0
Figures = dict[str, Any]


@dataclass
class Part:
    """A part of the campaign as it goes on.

    Args:
        folder: where it works.
        draw: makes its offsets.
        quick: whether it is a sample.
        options: those of a short run of drawn scenes.
        cases: how often the fault was done.
        faults: what did not hold, one line each.
        figures: further numbers.
    """

    folder: Path
    draw: random.Random
    quick: bool
    options: list[str]
    cases: int = 0
    faults: list[str] = field(default_factory=list)
    figures: Figures = field(default_factory=dict)
    _number: int = 0

    def count(self, full: int, quick: int) -> int:
        """Returns how often something is done."""
        return quick if self.quick else full

    def new_name(self) -> str:
        """Returns the name of a run folder that is not there yet."""
        self._number += 1
        return f"run-{self._number}"

    def offsets(self, count: int, length: float) -> list[float]:
        """Returns random moments of a length of time, one in each of so many equal parts of it, in random order."""
        moments = [(place + self.draw.random()) / count * length for place in range(count)]
        self.draw.shuffle(moments)
        return moments

    def require(self, holds: bool, what: str, ended: Ended | None = None) -> None:
        """Notes a fault unless something holds."""
        if not holds:
            self.faults.append(what if ended is None else f"{what}; {ended.shown()}")

    def require_equal(self, expected: Path, actual: Path, what: str, **options: bool) -> None:
        """Notes a fault unless two run folders hold the same."""
        different = differences(expected, actual, **options)
        self.require(not different, f"{what}: {'; '.join(different[:4])}")

    def require_verified(self, run: Path, what: str) -> None:
        """Notes a fault unless the program itself finds no fault in a run folder."""
        ended = finish("verify", str(run), "--size", "24", folder=self.folder)
        self.require(ended.status == DONE and ended.is_clean, f"{what}: verify finds a fault", ended)

    def undisturbed(self, *arguments: str, status: int = DONE) -> tuple[Path, float]:
        """Returns the folder of an undisturbed run, which parts share, and how long the run took."""
        key = (*self.options, *arguments)
        if key not in _undisturbed:
            folder = self.folder.parent / f"undisturbed-{len(_undisturbed)}"
            ended = finish(*key, f"out={folder}", folder=self.folder)
            if ended.status != status:
                raise UserError(f"an undisturbed run ended with {ended.shown()}")
            _undisturbed[key] = folder, ended.seconds
        return _undisturbed[key]


_undisturbed: dict[tuple[str, ...], tuple[Path, float]] = {}
"""The arguments of a run -> its folder, and how long it took."""

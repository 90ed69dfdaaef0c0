"""Random numbers of a fit by position, not in turn: a function of (key of the image and purpose, step, row, position).

Philox-4x32-10: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011, in tensors of
integers. So all images of a stack are drawn at once on the device that needs the numbers, and none depends on another.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from inr_xai.seeding import sha256

GENERATOR = 2
"""Version of what a fit draws, stored with every run; a run of another version cannot be continued.

Version 1, that of runs which name none, drew from one `torch.Generator` for each image, one after another.
"""
ROUNDS = 10
MULTIPLIERS, WEYL = (0xD2511F53, 0xCD9E8D57), (0x9E3779B9, 0xBB67AE85)
WORD = 0xFFFFFFFF
PLANE: dict[tuple[torch.device, torch.dtype], tuple[Tensor, Tensor]] = {}
"""Device and type -> the 2^16 radii and directions of which normal numbers are made."""


@dataclass(frozen=True, eq=False)
class Rows:
    """For which masks something is drawn at each step: row r is mask r % slots of image r // slots.

    Args:
        table: on the CPU, whether a step draws for a row.
        slots: masks per image.
        steps, rows: the step and the row of each draw, in the order of the steps.
        first: for each step, the position of its first draw; then the number of draws.
    """

    table: Bool[Tensor, "s r"]
    slots: int
    steps: Int[Tensor, " n"]
    rows: Int[Tensor, " n"]
    first: list[int]

    @classmethod
    def where(cls, table: Bool[Tensor, "s r"], slots: int = 1, device: torch.device | str = "cpu") -> "Rows":
        """Returns the rows that a table chooses at each step.

        >>> Rows.where(torch.ones(5, 6, dtype=torch.bool), slots=2).at(1)
        slice(6, 12, None)
        """
        steps, rows = table.nonzero(as_tuple=True)
        return cls(table, slots, steps.to(device), rows.to(device), [0, *table.sum(1).cumsum(0).tolist()])

    def at(self, step: int) -> slice:
        """Returns where a step's draws stand."""
        return slice(self.first[step], self.first[step + 1])

    def between(self, step: int, end: int) -> "Rows":
        """Returns the draws of the steps from `step` to before `end`; they are the same, and counted from 0."""
        start, stop = self.first[step], self.first[end]
        first = [position - start for position in self.first[step : end + 1]]
        return Rows(self.table[step:end], self.slots, self.steps[start:stop], self.rows[start:stop], first)


class Draws:
    """Random numbers of the images of a stack.

    Integers and uniform numbers are equal to the bit on every device, normal ones up to rounding.

    Args:
        seeds: for each image what its draws derive from, such as (seed, sample id, explanation).
        device, dtype: of what is drawn.
    """

    def __init__(
        self,
        seeds: Sequence[tuple[str | int, ...]],
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ):
        self.seeds, self.device, self.dtype = list(seeds), torch.device(device), dtype
        self._keys: dict[str, Int[Tensor, "k 2 b 1"]] = {}

    def of(self, part: str | int) -> "Draws":
        """Returns other random numbers of the same images, for a part of what draws."""
        return Draws([(*seed, part) for seed in self.seeds], device=self.device, dtype=self.dtype)

    def words(self, purpose: str, rows: Rows, count: int) -> Int[Tensor, "n count"]:
        """Returns `count` words of 32 random bits for every draw of `rows`."""
        if purpose not in self._keys:  # a step that draws does not wait for the host's hashes
            texts = ["\x1f".join([str(part) for part in (*seed, purpose)]) for seed in self.seeds]
            words = [
                [int.from_bytes(sha256(text.encode()).digest()[at : at + 4], "little") for text in texts]
                for at in (0, 4)
            ]
            self._keys[purpose] = round_keys(torch.tensor(words, device=self.device))
        keys = self._keys[purpose].index_select(2, rows.rows // rows.slots)
        block = torch.arange(-(-count // 4), device=self.device).expand(len(rows.rows), -1)
        slot, step = [values.unsqueeze(-1).expand_as(block) for values in (rows.rows % rows.slots, rows.steps)]
        return (
            philox(torch.stack([block, slot, step, torch.zeros_like(block)]), keys).movedim(0, -1).flatten(1)[:, :count]
        )

    def uniform(self, purpose: str, rows: Rows, count: int) -> Float[Tensor, "n count"]:
        """Returns `count` uniform numbers in [0, 1), multiples of 2^-24, for every draw of `rows`."""
        return (self.words(purpose, rows, count) >> 8).to(self.dtype) * 2**-24

    def integers(self, purpose: str, rows: Rows, ends: Int[Tensor, "#n m"]) -> Int[Tensor, "n m"]:
        """Returns a whole number of [0, end) for every draw of `rows` and each of the m `ends`, at most 2^31 each."""
        return self.words(purpose, rows, ends.shape[1]) * ends.to(self.device) >> 32

    def normal(self, purpose: str, rows: Rows, count: int) -> Float[Tensor, "n count"]:
        """Returns `count` normal numbers of mean 0 and variance 1 for every draw of `rows` (Box and Muller, 1958).

        Each half of a word is one uniform number: of 2^16 radii of a point of the plane, and of as many angles.
        """
        words = self.words(purpose, rows, -(-count // 2))
        if (self.device, self.dtype) not in PLANE:  # the radii and the directions; looking up costs less than computing
            number = torch.arange(2**16, device=self.device, dtype=self.dtype)
            lengths = ((number + 0.5) * 2**-16).log().mul(-2).sqrt()
            turns = torch.polar(torch.ones_like(number), number * (2 * torch.pi / 2**16))
            PLANE[self.device, self.dtype] = lengths, turns
        radius, direction = PLANE[self.device, self.dtype]
        points = direction.index_select(0, (words & 0xFFFF).flatten())
        points.mul_(radius.index_select(0, (words >> 16).flatten()))
        return torch.view_as_real(points).reshape(len(words), -1)[:, :count]


def round_keys(key: Int[Tensor, "2 n"]) -> Int[Tensor, "k 2 n 1"]:
    """Returns the keys of all rounds of Philox for keys of two words, with what a round multiplies by at the end."""
    weyl, factors = [torch.tensor(pair, device=key.device).unsqueeze(1) for pair in (WEYL, MULTIPLIERS[::-1])]
    rounds = torch.arange(ROUNDS, device=key.device).reshape(-1, 1, 1)
    return torch.cat([(key + rounds * weyl) & WORD, factors.expand_as(key).unsqueeze(0)]).unsqueeze(-1)


def philox(counter: Int[Tensor, "4 n m"], keys: Int[Tensor, "k 2 n 1"]) -> Int[Tensor, "4 n m"]:
    """Returns the words of Philox-4x32-10 for counters of four words and the keys of `round_keys` (section 3.3)."""
    # The words at even places are multiplied and those at odd places are not. 64 bits hold a product; its upper half
    # may look negative, and the lower halves keep bits above the word: both end at the mask.
    even, odd = counter[0::2], counter[1::2]
    *rounds, factors = keys.unbind(0)
    for key in rounds:
        products = even.flip(0).mul_(factors)
        even = (products >> 32).bitwise_xor_(odd).bitwise_xor_(key).bitwise_and_(WORD)
        odd = products
    return torch.stack([even, odd & WORD], dim=1).flatten(0, 1)

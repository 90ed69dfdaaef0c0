"""Several perturbations, dealt to the masks of an image like cards."""

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from inr_xai.draws import Draws, Rows
from inr_xai.errors import UserError
from inr_xai.perturbation.base import Baselines, Bound, KeepRows, Perturbation, Surroundings
from inr_xai.perturbation.baselines import Blur, Constant, Donor, RandomColour
from inr_xai.perturbation.pink_noise import PinkNoise
from inr_xai.perturbation.shifts import Frames
from inr_xai.types import Images


class Mixture(Perturbation):
    """One of several perturbations for each mask at each step, so that no mask can exploit a single one.

    They are dealt to the masks of an image like cards: the whole deck in random order, then all again. The masks of a
    step have different ones as far as there are enough.

    Args:
        parts: the perturbations; by default blur, mean colour, random colour, coloured noise, and other photos.
            Perturbations that need other photos are left out if there are none.
        counts: how many cards of the deck each part has; by default the last two have two and the others one, or
            each has one if `parts` are given.
    """

    def __init__(self, parts: Sequence[Perturbation] | None = None, counts: Sequence[int] | None = None):
        self.parts = [Blur(), Constant(), RandomColour(), PinkNoise(), Donor()] if parts is None else list(parts)
        usual = [1, 1, 1, 2, 2] if parts is None else [1] * len(self.parts)
        self.counts = usual if counts is None else list(counts)
        if not self.parts:
            raise UserError("perturbation.parts must name at least one perturbation, got none")
        for part in self.parts:
            if not isinstance(part, Perturbation):
                raise UserError(f"perturbation.parts must be perturbations, each a node with a _target_; got {part!r}")
        whole = [isinstance(count, int) and not isinstance(count, bool) and 1 <= count <= 100 for count in self.counts]
        if len(whole) != len(self.parts) or not all(whole):
            raise UserError(
                f"perturbation.counts={self.counts} must have a whole number from 1 to 100 for each of the "
                f"{len(self.parts)} parts, how many cards of the deck it has; null gives the usual ones"
            )
        self.needs_donors = True in [part.needs_donors for part in self.parts]

    def bind(self, images: Images, around: Surroundings, draws: Draws, rows: Rows) -> Bound:
        counted = list(zip(self.parts, self.counts, strict=True))
        without = [(part, count) for part, count in counted if not part.needs_donors]
        used = without if without and around.donors is None else counted
        parts = [part for part, _ in used]
        deck = [number for number, (_, count) in enumerate(used) for _ in range(count)]
        choice = deal(deck, draws, steps=len(rows.table), slots=rows.slots)
        chosen = [Rows.where(rows.table & (choice == part), rows.slots, images.device) for part in range(len(parts))]
        bound = [
            part.bind(images, around, draws.of(number), own)
            for number, (part, own) in enumerate(zip(parts, chosen, strict=True))
        ]
        return BoundMixture(images, list(zip(bound, chosen, strict=True)), choice, rows)


class BoundMixture(Bound):
    """Bound perturbations and the rows that are dealt to each of them.

    Args:
        choice: on the CPU, the number of the part for each step and row.
    """

    def __init__(self, images: Images, parts: Sequence[tuple[Bound, Rows]], choice: Int[Tensor, "s r"], rows: Rows):
        self.images, self.parts, self.rows = images, parts, rows
        step = rows.table.nonzero()[:, 0]
        # The draws of a step, sorted by part: where each comes from, and where it is.
        order = (step * len(parts) + choice[rows.table]).argsort(stable=True)
        first = torch.tensor(rows.first)[step]
        self.source = (order - first).to(images.device)
        self.place = (order.argsort() - first).to(images.device)

    def draw(self, step: int, frames: Frames) -> Baselines | KeepRows:
        size, at = self.images.shape[-2:], self.rows.at(step)
        drawn = [part.draw(step, frames) for part, rows in self.parts if rows.first[step] < rows.first[step + 1]]
        place = self.place[at]
        if True not in [callable(part) for part in drawn]:
            return torch.cat([part.expand(-1, -1, *size) for part in drawn]).index_select(0, place)  # type: ignore[union-attr]
        images = frames(self.images, self.rows.rows[at])
        source = self.source[at]
        counts = [rows.first[step + 1] - rows.first[step] for _, rows in self.parts]

        def keep(masks: Tensor) -> Images:
            pairs = zip(images[source].split(counts), masks[source].split(counts), strict=True)
            present = [pair for pair, count in zip(pairs, counts, strict=True) if count]
            kept = [
                part(mask) if callable(part) else torch.lerp(part, image, mask[:, None])
                for part, (image, mask) in zip(drawn, present, strict=True)
            ]
            return torch.cat(kept)[place]

        return keep


def deal(deck: Sequence[int], draws: Draws, *, steps: int, slots: int) -> Int[Tensor, "s r"]:
    """Deals each image one shuffled copy of a deck of numbers after another: a number for every step and row.

    Where a copy begins within a step, the numbers that the step has less often come first, so that a step has as many
    different ones as there can be.
    """
    size = len(deck)
    images, decks = len(draws.seeds), -(-steps * slots // size)
    table = torch.ones(decks, images, dtype=torch.bool)
    order = Draws(draws.seeds).uniform("deal", Rows.where(table), size).argsort(dim=1, stable=True)
    dealt = torch.empty(images, decks * size, dtype=torch.long)
    for copy, cards in enumerate(torch.tensor(deck)[order].split(images)):
        begin = copy * size
        used = dealt[:, begin - begin % slots : begin]
        often = (cards.unsqueeze(2) == used.unsqueeze(1)).sum(2)
        late = often.argsort(dim=1, stable=True).argsort(dim=1) >= slots - begin % slots
        dealt[:, begin : begin + size] = cards.gather(1, late.long().argsort(dim=1, stable=True))
    return dealt[:, : steps * slots].unflatten(1, (steps, slots)).movedim(1, 0).flatten(1)

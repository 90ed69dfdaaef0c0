"""What the interventions on a photo say: two losses, the object's part of them, and the floors beside them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from audit_table import object_part
from photo_swaps import BACK, KEEP_BLOB, KEEP_GROUND, KEEP_OBJECT, KEEP_REST, photo_of

from inr_xai.audit.verdict import LEAST_PROBABILITY
from inr_xai.evaluate.results import Results

LEAST_LOSS = 0.05
"""If both losses are smaller, the part of one of them is a quotient of two numbers near 0."""
WHOLE_BLOB = 0.95
"""A blob is as large as the object if it has at least this part of its pixels."""
FILLS = ("mean", "blur", "texture")
"""The fills of a hole."""
GONE = (*FILLS, "objects")
"""What takes the place of the object: three fills of its ground, and objects of other photos."""
SWAPPED = ("mean", "blur", "grounds")
"""What takes the place of the ground: two images made of it, and grounds of other photos."""


@dataclass(frozen=True)
class Kinds:
    """Which interventions a truth is made of.

    Args:
        gone: the kinds whose mean is the object's loss.
        swapped: the kinds whose mean is the ground's loss.
        half: of a kind that is drawn several times, 0 takes the first half, 1 the second; None takes all.
    """

    gone: Sequence[str] = GONE
    swapped: Sequence[str] = SWAPPED
    half: int | None = None


@dataclass(frozen=True)
class MeasuredPhoto:
    """A sample with the probabilities of its class after every intervention.

    Args:
        row: the row of benchmarks/audit_photos.py.
    """

    classifier: str
    sample_id: str
    row: Mapping[str, str]

    @property
    def photo(self) -> str:
        """The photo of which the sample is a crop."""
        return photo_of(self.sample_id)

    @property
    def probability(self) -> float:
        """The probability of the class on the photo as it is."""
        return float(self.row["photo"])

    def mean(self, name: str, half: int | None = None) -> float:
        """Returns the mean probability after an intervention."""
        values = [float(value) for value in self.row[name].split()]
        middle = len(values) // 2
        if half is not None and middle:
            values = values[middle:] if half else values[:middle]
        return sum(values) / len(values)

    def loss(self, stays: str, kinds: Sequence[str], half: int | None = None) -> float:
        """Returns what interventions take of the probability, as a mean over their kinds.

        Args:
            stays: what stays of the photo.
        """
        return self.probability - sum(self.mean(f"{stays}/{kind}", half) for kind in kinds) / len(kinds)

    def losses(self, kinds: Kinds | None = None) -> tuple[float, float]:
        """Returns what is lost with the object, and what is lost with the ground."""
        kinds = kinds or Kinds()
        return self.loss(KEEP_GROUND, kinds.gone, kinds.half), self.loss(KEEP_OBJECT, kinds.swapped, kinds.half)

    def truth(self, kinds: Kinds | None = None) -> float:
        """Returns the object's part of both losses, as on drawn scenes (`audit_table.object_part`)."""
        return object_part(*self.losses(kinds))

    def floor_part(self) -> float:
        """Returns the truth with a floor in place of the ground's loss: that of the object back on its own ground.

        What it has in common with the truth may come from the paste, and not from the ground.
        """
        return object_part(self.losses()[0], self.loss(BACK, FILLS))

    @property
    def within_floor(self) -> bool:
        """Whether the loss of the ground is no larger than what the object back on its own ground changes."""
        return self.losses()[1] <= max(abs(self.loss(BACK, [kind])) for kind in FILLS)

    @property
    def seen(self) -> bool:
        """Whether the classifier sees the class at all."""
        return self.probability >= LEAST_PROBABILITY

    @property
    def has_truth(self) -> bool:
        """Whether the class is seen, and at least one of the losses is more than nothing."""
        return self.seen and max(self.losses()) >= LEAST_LOSS

    @property
    def floors(self) -> dict[str, float]:
        """The changes of the probability that are no loss of the object or of the ground.

        The object back on its own filled ground, by the kind of the fill; and, if the blob is as large as the object,
        a hole of that size in the ground, by its fill.
        """
        floors = {f"{BACK}/{kind}": self.loss(BACK, [kind]) for kind in FILLS}
        if float(self.row["blob_area"]) >= WHOLE_BLOB * float(self.row["object_area"]):
            floors |= {f"{KEEP_REST}/{kind}": self.loss(KEEP_REST, [kind]) for kind in FILLS}
            floors |= {f"{KEEP_BLOB}/{kind}": self.loss(KEEP_BLOB, [kind]) for kind in SWAPPED}
        return floors


def read_truths(folder: Path) -> list[MeasuredPhoto]:
    """Returns all samples that were measured, of every classifier that has a CSV in the folder."""
    return [
        MeasuredPhoto(file.stem, sample_id, row)
        for file in sorted(folder.glob("*.csv"))
        if file.stem != "table"
        for sample_id, row in sorted(Results(file).rows.items())
    ]

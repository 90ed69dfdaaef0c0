"""What a classifier relies on, by intervention: the object of an image, or its ground, is swapped, and all else stays.

Interventions as ground truth of explanations: Yang and Kim, "Benchmarking Attribution Methods with Relative Feature
Importance", 2019.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from inr_xai.classifier import FrozenClassifier
from inr_xai.data.scenes.shapes_in_context import COUNTS, ShapesInContext
from inr_xai.seeding import generator

Column = Float[Tensor, " b"]


@dataclass(frozen=True)
class Intervention:
    """The effect of swapping a part, for each image, as a mean over the kinds that replaced it.

    Args:
        object_effect, background_effect: drop of the target's probability, in [-1, 1]; a larger drop means more
            reliance.
        object_errors, background_errors: drop of being classified correctly (1 or 0), in [-1, 1].
        right: 1 if the image itself is classified correctly, else 0.
    """

    object_effect: Column
    background_effect: Column
    object_errors: Column
    background_errors: Column
    right: Column

    @property
    def object_share(self) -> Float[Tensor, ""]:
        """Mean object effect / (mean object effect + mean background effect), each clipped at 0; NaN if both are 0."""
        of_object, of_background = (
            effect.mean().clamp_min(0) for effect in (self.object_effect, self.background_effect)
        )
        return of_object / (of_object + of_background)


@torch.no_grad()
def intervene(
    classifier: FrozenClassifier, data: ShapesInContext, sample_ids: Sequence[str], *, draws: int = 3, seed: int = 0
) -> Intervention:
    """Swaps the shape of each image's object, and then the texture of its ground, for `draws` other kinds each.

    The kinds are drawn without repetition from (seed, sample id) among the seven that the image does not show. Raises
    ValueError if `draws` is not between 1 and 7.
    """
    if not 1 <= draws < COUNTS["object_shape"]:
        raise ValueError(f"draws is {draws}; give 1 to {COUNTS['object_shape'] - 1}, the number of other kinds")
    with classifier.frozen():
        rows = [
            _image_effects(classifier, data, sample_id, generator(seed, "intervene", sample_id), draws)
            for sample_id in sample_ids
        ]
    return Intervention(*torch.stack(rows, dim=1))


def _image_effects(
    classifier: FrozenClassifier, data: ShapesInContext, sample_id: str, random: torch.Generator, draws: int
) -> Float[Tensor, "5"]:
    """Returns the fields of `Intervention` for one image."""
    kinds, target = data.kinds(sample_id), data.label(sample_id)
    objects = _other_kinds(kinds["object_shape"], draws, random)
    backgrounds = _other_kinds(kinds["background_texture"], draws, random)
    samples = [data.load(sample_id, classifier.preprocessing)]
    samples += [data.swapped(sample_id, classifier.preprocessing, object=kind) for kind in objects]
    samples += [data.swapped(sample_id, classifier.preprocessing, background=kind) for kind in backgrounds]
    logits = classifier(torch.stack([sample.image for sample in samples]))
    probability = logits.softmax(dim=1)[:, target]
    right = (logits.argmax(dim=1) == target).to(probability)
    drops = [values[0] - part.mean() for values in (probability, right) for part in values[1:].split(draws)]
    return torch.stack([*drops, right[0]])


def _other_kinds(kind: int, draws: int, random: torch.Generator) -> list[int]:
    """Draws `draws` different kinds other than `kind`."""
    count = COUNTS["object_shape"]
    steps = torch.randperm(count - 1, generator=random)[:draws] + 1
    return ((kind + steps) % count).tolist()

"""Everything that decides what a mask looks like, in one record: the command line and the Python API both fill it."""

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import torch

from inr_xai.area import AreaProjection, AreaRule
from inr_xai.errors import UserError
from inr_xai.inr import INR, PyramidINR
from inr_xai.limits import AUTO, Exclusion, Stop, check_masks, check_nested, most_explanations
from inr_xai.objective import LogProbability, Objective, Preservation, ScoreFunction
from inr_xai.perturbation import Jitter, Mixture, Perturbation, Reveal

OptimizerFactory = Callable[[Iterable[torch.nn.Parameter]], torch.optim.Optimizer]
PARTS = {"area_rule": AreaRule, "perturbation": Perturbation, "objective": Objective, "score": ScoreFunction}


def adam(parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """The default optimiser.

    eps lies above the rounding noise of single precision: Adam divides each gradient by its own size, and would make
    full steps along gradients that are nothing but noise, different ones in a batch than alone.
    """
    return torch.optim.Adam(parameters, lr=0.01, eps=1e-6)


@dataclass(frozen=True)
class Method:
    """The method with all its choices (METHOD symbols in brackets).

    The defaults are those of conf/config.yaml, but for two: a caller of the Python API asks for areas and explanations
    by themselves, so `areas` has a fourth, large one and `explanations` is 1; a run of the command line shows what the
    project is about, two explanations.

    Args:
        areas: fractions of the image that the masks keep [a], each in (0, 1), none repeated.
        explanations: masks per image and area that do not overlap [K]; "auto" for as many as carry enough.
        exclusion: how they are kept apart.
        stop: when "auto" ends.
        steps: optimisation steps per explanation.
        seed: of every random draw; an image's draws derive from (seed, its id, the explanation).
        total_variation: weight of the mask's total variation: its contour's length in image sides.
        binary: weight of the masks' grayness mean(4m(1-m)), growing from 0 over the fit. Without it a fit that needs
            less than the area asked for hides the rest in an even grey, of which a hard mask keeps a random part.
        stride: the INR is evaluated on every stride-th pixel while fitting and upsampled to the image.
        masks_per_forward: masked copies of images that go through the classifier at once (memory).
        images_per_fit: images whose networks are fitted as one stack. None: the whole batch on an accelerator, one
            on a CPU, where a stack gains nothing and one image at a time gives the same bits in every batch.
        inr: a family's constructor, waiting for its generators.
        area_rule, perturbation, objective, score, jitter, reveal, optimizer: see their modules.
        nested: promise that a larger area contains the smaller; needs an INR of conditioning="none".

    Raises:
        UserError: a value that cannot be, or values that exclude each other.
    """

    areas: Sequence[float] = (0.05, 0.1, 0.2, 0.3)
    explanations: int | str = 1
    exclusion: Exclusion = field(default_factory=Exclusion)
    stop: Stop = field(default_factory=Stop)
    steps: int = 100
    seed: int = 0
    total_variation: float = 0.1
    binary: float = 1.0
    stride: int = 4
    masks_per_forward: int = 32
    images_per_fit: int | None = None
    inr: Callable[..., INR] = PyramidINR
    area_rule: AreaRule = field(default_factory=AreaProjection)
    perturbation: Perturbation = field(default_factory=Mixture)
    objective: Objective = field(default_factory=Preservation)
    score: ScoreFunction = field(default_factory=LogProbability)
    jitter: Jitter = field(default_factory=Jitter)
    reveal: Reveal = field(default_factory=Reveal)
    optimizer: OptimizerFactory = adam
    nested: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.areas, Sequence) or isinstance(self.areas, str):
            raise UserError(f"areas must be a sequence of fractions such as (0.1, 0.2); got {self.areas!r}")
        for name, kind in PARTS.items():
            if not isinstance(getattr(self, name), kind):
                raise UserError(f"{name} must be an inr_xai {kind.__name__} object; got {getattr(self, name)!r}")
        check_masks(self.areas, self.explanations, self.exclusion, self.stop)
        for name in ("steps", "stride", "masks_per_forward", "images_per_fit"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise UserError(f"{name} must be a whole number, at least 1; got {value!r}")
        if self.nested:
            conditioning = inspect.signature(self.inr).parameters.get("conditioning")
            default = None if conditioning is None else conditioning.default
            check_nested(default, self.exclusion, areas=self.areas, explanations=self.most)
            if not isinstance(self.area_rule, AreaProjection):
                raise UserError("nested=true needs one threshold per area on one field; use area_rule=projection")

    @property
    def auto(self) -> bool:
        """Whether each image has its own number of explanations."""
        return self.explanations == AUTO

    @property
    def most(self) -> int:
        """The number of explanations; of "auto", the largest."""
        if not self.auto:
            return int(self.explanations)
        return most_explanations(self.exclusion, areas=self.areas, most=self.stop.most)

    @property
    def exclusion_area(self) -> float:
        """a_x, with None resolved to the largest area."""
        return max(self.areas) if self.exclusion.area is None else self.exclusion.area

    @property
    def passes(self) -> int:
        """Classifier passes (forward and backward) of one explanation of one image."""
        return self.steps * self.objective.passes(len(self.areas))

"""One record of everything that determines a mask; the command line and the Python API both fill it."""

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import torch

from inr_xai.area import AreaProjection, AreaRule
from inr_xai.classifier.start import GradientStart, Start
from inr_xai.errors import UserError
from inr_xai.inr import INR, FeatureGridINR
from inr_xai.limits import (
    AUTO,
    Exclusion,
    Plateau,
    Stop,
    check_masks,
    check_nested,
    check_numbers,
    check_plateau,
    most_explanations,
)
from inr_xai.objective import LogProbability, Objective, OutputScore, Preservation, ScoreFunction
from inr_xai.perturbation import Jitter, Mixture, Perturbation, Reveal

OptimizerFactory = Callable[[Iterable[torch.nn.Parameter]], torch.optim.Optimizer]
PARTS = {
    "area_rule": AreaRule,
    "perturbation": Perturbation,
    "objective": Objective,
    "start": Start,
    "plateau": Plateau,
}


def adam(parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """Returns the default optimiser.

    Adam divides each gradient by its own size, so it would make full steps along gradients that are only rounding
    noise, and these differ between an image alone and the same image in a batch. So eps is larger than this noise.
    """
    return torch.optim.Adam(parameters, lr=0.01, eps=1e-6)


@dataclass(frozen=True)
class Method:
    """The method with all its choices (METHOD symbols in brackets).

    The defaults are those of conf/config.yaml with two exceptions. A run of the command line shows an image's object
    and its context, so its `explanations` are two, at areas that leave room for both. A caller of the Python API
    expects one, as of any attribution method, and its `areas` have room for a fourth, large one.

    Args:
        areas: fractions of the image that the masks keep [a], each in (0, 1), none repeated.
        explanations: masks per image and area, which do not overlap [K]; with "auto" as many as carry enough.
        exclusion: how the explanations of an image stay apart.
        stop: when "auto" ends.
        steps: optimisation steps per explanation.
        decay: the learning rate falls over the fit by this factor, as decay^(step/(steps - 1)); 1 keeps it.
        plateau: when the fit of an image ends early, because its hard masks do not gain any more; by default never.
        seed: seed of every random draw; an image's draws derive from (seed, its id, the explanation).
        total_variation: weight of the masks' total variation, the length of their contours in image sides.
        binary: weight of the masks' grayness mean(4m(1-m)), which grows from 0 over the fit. Without it, a fit that
            needs less than the given area spreads the rest as an even grey, and a hard mask keeps a random part of it.
        stride: while fitting, the INR is evaluated on every stride-th pixel and upsampled to the image; one that is
            defined on a grid, as FeatureGridINR, at that grid's corners whatever the stride.
        masks_per_forward: masked copies of images that pass the classifier at once; fewer need less memory.
        images_per_fit: images whose networks are fitted as one stack. None stands for the whole batch on an
            accelerator and for one image on a CPU, where a stack is no faster and single images give the same bits
            in every batch.
        compile: use torch.compile for what is ours in a step: the INR, the masks and the images behind them.
        cuda_graphs: replay the steps of a fit on a CUDA device as one graph, so that the host has little to launch.
        channels_last: keep the classifier's convolutions and its inputs in this memory layout; None leaves it to the
            classifier, and False keeps them contiguous. None of these three changes masks beyond rounding, and what
            cannot be had is said once in the log.
        inr: constructor of an INR family, which is called with one generator per image.
        area_rule, perturbation, objective, jitter, reveal, optimizer: see their modules.
        score: a score of the class, or a function of the user's own, see `inr_xai.classifier.scored`.
        start: where the fit of an image starts, such as from one gradient: see `inr_xai.classifier.start`.
        nested: require that larger masks contain the smaller ones; needs an INR with conditioning="none".

    Raises:
        UserError: a value is out of range, or two values contradict each other.
    """

    areas: Sequence[float] = (0.05, 0.1, 0.2, 0.3)
    explanations: int | str = 1
    exclusion: Exclusion = field(default_factory=Exclusion)
    stop: Stop = field(default_factory=Stop)
    steps: int = 100
    decay: float = 0.2
    plateau: Plateau = field(default_factory=Plateau)
    seed: int = 0
    total_variation: float = 0.1
    binary: float = 1.0
    stride: int = 4
    masks_per_forward: int = 32
    images_per_fit: int | None = None
    compile: bool = False
    cuda_graphs: bool = False
    channels_last: bool | None = None
    inr: Callable[..., INR] = FeatureGridINR
    area_rule: AreaRule = field(default_factory=AreaProjection)
    perturbation: Perturbation = field(default_factory=Mixture)
    objective: Objective = field(default_factory=Preservation)
    score: ScoreFunction | OutputScore = field(default_factory=LogProbability)
    jitter: Jitter = field(default_factory=lambda: Jitter(shift=0.0))
    reveal: Reveal = field(default_factory=lambda: Reveal(start=0.0))
    optimizer: OptimizerFactory = adam
    start: Start = field(default_factory=GradientStart)
    nested: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.areas, Sequence) or isinstance(self.areas, str):
            raise UserError(f"areas must be a sequence of fractions such as (0.1, 0.2); got {self.areas!r}")
        for name, kind in PARTS.items():
            if not isinstance(getattr(self, name), kind):
                raise UserError(f"{name} must be an inr_xai {kind.__name__} object; got {getattr(self, name)!r}")
        if not isinstance(self.score, ScoreFunction) and (isinstance(self.score, type) or not callable(self.score)):
            raise UserError(
                "score must be an inr_xai ScoreFunction object, or a function that maps what the model returns to one "
                f"number for each image; got {self.score!r}"
            )
        check_masks(self.areas, self.explanations, self.exclusion, self.stop)
        check_numbers({**vars(self), "exclusion.weight": self.exclusion.weight})
        if self.plateau.steps is not None:
            check_plateau(self.plateau, steps=self.steps)
        if self.nested:
            conditioning = inspect.signature(self.inr).parameters.get("conditioning")
            default = None if conditioning is None else conditioning.default
            projected = isinstance(self.area_rule, AreaProjection)
            check_nested(default, self.exclusion, areas=self.areas, explanations=self.most, projected=projected)

    @property
    def auto(self) -> bool:
        """Whether each image has its own number of explanations."""
        return self.explanations == AUTO

    @property
    def most(self) -> int:
        """The number of explanations, or the largest possible number if it is "auto"."""
        if not self.auto:
            return int(self.explanations)
        return most_explanations(self.exclusion, areas=self.areas, most=self.stop.most)

    @property
    def exclusion_area(self) -> float:
        """The area a_x that earlier explanations exclude; the largest area by default."""
        return max(self.areas) if self.exclusion.area is None else self.exclusion.area

    @property
    def passes(self) -> int:
        """The number of classifier passes (forward and backward) of all steps of one explanation of one image."""
        return self.steps * self.objective.passes(len(self.areas))

    def image_passes(self, fits: float = 1) -> float:
        """Returns the passes of an image whose fits take all their steps, with those of its start, which it has once.

        `FitResult.passes` has those of fits that `plateau` has ended early.
        """
        return self.passes * fits + self.start.passes

"""Whether an explanation depends on what the model has learnt, and on the class that is explained.

Randomised layers: Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018; Hedstroem et al., "Sanity Checks
Revisited", 2024, arXiv 2401.06465. Another class: Sixt et al., "When Explanations Lie", ICML 2020.
"""

import copy
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils import parametrize

from inr_xai.masks import require_one_each
from inr_xai.metrics.base import MeanOfValues
from inr_xai.metrics.inputs import Explain, ExplainWith, Maps, checked_maps, finite_maps
from inr_xai.metrics.robustness.similarity import Similarity, spearman, structural_similarity
from inr_xai.seeding import generator
from inr_xai.types import Images, Targets

MapComplexity = Callable[[Maps], Float[Tensor, " b"]]
"""A function that returns one number for each map; larger is more complex."""

Order = Callable[..., Iterator[tuple[str, nn.Module]]]
"""`cascading`, `independent`, or another function with their arguments."""


def randomisable_layers(model: nn.Module) -> list[str]:
    """Returns the names of the modules with `reset_parameters`, last registered first.

    The order of registration is the order of execution only if the model's author kept to it. Parameters outside of
    such modules (class tokens, the input projections of nn.MultiheadAttention) are in none of them.

    >>> randomisable_layers(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2)))
    ['3', '0']
    """
    return [name for name, module in model.named_modules() if hasattr(module, "reset_parameters")][::-1]


def randomised(model: nn.Module, layers: Sequence[str], *, seed: int) -> nn.Module:
    """Returns a copy of the model in eval mode, with the parameters of some layers drawn by `reset_parameters`.

    They are drawn on the CPU and depend on `seed` and the name of the layer alone. A normalisation layer is reset to
    its constants, its running statistics too.
    """
    changed = copy.deepcopy(model).eval()
    for name in layers:
        layer = changed.get_submodule(name)
        fresh: Any = copy.deepcopy(layer).cpu()
        with torch.random.fork_rng(devices=[]):  # reset_parameters takes no generator
            torch.default_generator.manual_seed(generator(seed, name).initial_seed())
            fresh.reset_parameters()
        layer.load_state_dict(fresh.state_dict())
    return changed


def cascading(
    model: nn.Module, *, seed: int = 0, layers: Sequence[str] | None = None
) -> Iterator[tuple[str, nn.Module]]:
    """Yields for each layer its name and a copy of the model in which it and the layers before it are randomised.

    Args:
        layers: names, in this order; by default `randomisable_layers`, from the last layer (the top) down.
    """
    current = model
    for name in _known_layers(model, layers):
        current = randomised(current, [name], seed=seed)
        yield name, copy.deepcopy(current)


def independent(
    model: nn.Module, *, seed: int = 0, layers: Sequence[str] | None = None
) -> Iterator[tuple[str, nn.Module]]:
    """Yields for each layer its name and a copy of the model in which it alone is randomised; see `cascading`."""
    for name in _known_layers(model, layers):
        yield name, randomised(model, [name], seed=seed)


def mprt(
    explain_with: ExplainWith,
    model: nn.Module,
    images: Images,
    targets: Targets,
    *,
    order: Order = cascading,
    similarity: Similarity = spearman,
    seed: int = 0,
    layers: Sequence[str] | None = None,
) -> dict[str, Float[Tensor, " b"]]:
    """Returns for each randomised layer the similarity to the maps of the model as it was; lower is better.

    This is the model parameter randomisation test. It explains once for the model and once for each layer, and gives
    `explain_with` only copies of the model.

    Args:
        order: `cascading` or `independent`.
        layers: names of the layers to randomise, in this order; by default `randomisable_layers`.

    Raises:
        ValueError: there is no layer to randomise, a name is none of a layer, or a map is not finite.
    """
    names = _known_layers(model, layers)  # before the first explanation, which may take long
    original = _explained_with(explain_with, randomised(model, [], seed=seed), images, targets)
    return {
        name: similarity(original, _explained_with(explain_with, changed, images, targets))
        for name, changed in order(model, seed=seed, layers=names)
    }


def histogram_entropy(maps: Maps, *, bins: int = 100) -> Float[Tensor, " b"]:
    """Returns the entropy of a map's histogram, -sum_i p_i ln p_i, in [0, ln(bins)] nats; higher is more complex.

    p_i is the share of pixels in bin i of equal bins from the map's minimum to its maximum, so scale and offset of
    the map do not matter. For a binary mask the entropy depends on its area alone.

    >>> histogram_entropy(torch.tensor([[[0.0, 0.0, 1.0, 1.0]]])).exp().item()
    2.0
    """
    values = finite_maps(maps).flatten(1)
    low, high = values.aminmax(dim=1, keepdim=True)
    edges = low + (high - low) / bins * torch.arange(1, bins, device=values.device)
    bin_of_pixel = torch.searchsorted(edges, values, right=True)
    counts = values.new_zeros(len(values), bins).scatter_add_(1, bin_of_pixel, torch.ones_like(values))
    return torch.special.entr(counts / values.shape[1]).sum(1)


def efficient_mprt(
    explain_with: ExplainWith,
    model: nn.Module,
    images: Images,
    targets: Targets,
    *,
    complexity: MapComplexity = histogram_entropy,
    seed: int = 0,
    layers: Sequence[str] | None = None,
) -> Float[Tensor, " b"]:
    """Returns (C' - C) / C, the relative rise of a map's complexity if all layers are randomised; higher is better.

    It explains twice, whatever the number of layers. It is NaN if C is not above 0, that is, if the map of the model
    is constant. Arguments and errors are those of `mprt`.
    """
    names = _known_layers(model, layers)
    before, after = (
        complexity(_explained_with(explain_with, randomised(model, reset, seed=seed), images, targets))
        for reset in ([], names)
    )
    return (after - before) / before.where(before > 0, torch.nan)


def random_logit(
    explain: Explain,
    images: Images,
    targets: Targets,
    *,
    classes: int,
    generators: Sequence[torch.Generator],
    similarity: Similarity = structural_similarity,
) -> Float[Tensor, " b"]:
    """Returns the similarity of the maps of the target and of another class; lower is better.

    Args:
        classes: the number of classes of the model; the other class is drawn uniformly from all but the target.
        generators: one CPU generator per image.
    """
    others = other_classes(targets, classes, generators=generators)
    return similarity(checked_maps(explain, images, targets), checked_maps(explain, images, others))


def other_classes(targets: Targets, classes: int, *, generators: Sequence[torch.Generator]) -> Int[Tensor, " b"]:
    """Returns for each target another class index, drawn uniformly from the other `classes - 1`."""
    require_one_each(generators, len(targets))
    if classes < 2 or not bool(((targets >= 0) & (targets < classes)).all()):
        raise ValueError(f"expected targets below classes={classes}, and 2 classes or more; got {targets.tolist()}")
    drawn = torch.cat([torch.randint(classes - 1, (1,), generator=draw) for draw in generators]).to(targets)
    return drawn + (drawn >= targets)


class RandomisationSimilarity(MeanOfValues):
    """Mean similarity after a randomisation, over images and, if each is given in turn, over the layers of `mprt`."""

    higher_is_better = False
    is_differentiable = False
    plot_lower_bound = -1.0
    plot_upper_bound = 1.0


class EfficientMPRT(MeanOfValues):
    """Mean over images of `efficient_mprt`."""

    higher_is_better = True
    is_differentiable = False
    plot_lower_bound = -1.0


def _explained_with(explain_with: ExplainWith, model: nn.Module, images: Images, targets: Targets) -> Maps:
    return checked_maps(functools.partial(explain_with, model), images, targets)


def _known_layers(model: nn.Module, layers: Sequence[str] | None) -> list[str]:
    """Returns the layers to randomise. Raises ValueError if there is none, or if one cannot be randomised."""
    possible = randomisable_layers(model)
    names = possible if layers is None else list(layers)
    if not names:
        raise ValueError(
            "expected at least one layer to randomise, got none; a layer is a module with reset_parameters"
        )
    for name in names:
        if name not in possible:
            raise ValueError(f"layer {name!r} is not in the model or has no reset_parameters; there are {possible}")
        if parametrize.is_parametrized(model.get_submodule(name)):
            raise ValueError(
                f"layer {name!r} is parametrised, which reset_parameters does not reach; "
                "call torch.nn.utils.parametrize.remove_parametrizations first"
            )
    return names

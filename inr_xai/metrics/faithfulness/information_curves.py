"""Softmax and accuracy information curves: how much of a class comes back with how much of the image's information.

Kapishnikov, Bolukbasi, Viegas, Terry, "XRAI: Better Attributions Through Regions", ICCV 2019 (SIC and AIC). Thresholds,
normalisation and compression are those of its code, github.com/PAIR-code/saliency, metrics/pic.py. That code blurs by
interpolation between the pixels that are shown and one in a hundred others; here hidden pixels are those of one blurred
image, which the caller gives.
"""

import io
import itertools
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image as PillowImage
from torch import Tensor

from inr_xai.masks import require_one_each
from inr_xai.metrics.base import MeanOfValues
from inr_xai.metrics.inputs import Maps, Score, descending_ranks, maps_of
from inr_xai.types import Image, Images, Targets

THRESHOLDS = (0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.07, 0.10, 0.13, 0.21, 0.34, 0.5, 0.75)
"""The shares of the pixels that are shown, the most important first."""


def information_auc(
    score: Score,
    images: Images,
    targets: Targets,
    maps: Maps,
    *,
    blurred: Images,
    generators: Sequence[torch.Generator],
    thresholds: Sequence[float] = THRESHOLDS,
) -> Float[Tensor, " b"]:
    """Returns the area under each image's curve of the score over the information, in [0, 1]; higher is better.

    Point k is (I_k, P_k): the share thresholds[k] of the pixels is that of the image, all others are blurred. With e
    the bytes of an image as lossless WebP and p its score, I_k = (e_k - e_blurred) / (e - e_blurred), and P_k is the
    largest (p_j - p_blurred) / (p - p_blurred) of all j <= k; both are clipped to [0, 1]. The curve joins (0, 0), the
    points by rising information, and (1, 1) by straight lines. A class averages areas, which is the area under the mean
    curve.

    It is NaN for an image whose blur has no smaller score, or no fewer bytes; leave such images out, as the authors do.
    Raises ValueError for images and blurs that leave [0, 1], for maps that are not finite or not in the size of the
    images, and for thresholds that do not rise within (0, 1).

    Args:
        score: `probability_score` gives the softmax information curve (SIC), `accuracy_score` the accuracy information
            curve (AIC). The authors leave out images with p < 0.8.
        blurred: the images without any detail.
        generators: one CPU generator per image, for the order of tied pixels.
    """
    (areas,) = information_aucs(
        [score], images, targets, maps, blurred=blurred, generators=generators, thresholds=thresholds
    )
    return areas


def information_aucs(
    scores: Sequence[Score],
    images: Images,
    targets: Targets,
    maps: Maps,
    *,
    blurred: Images,
    generators: Sequence[torch.Generator],
    thresholds: Sequence[float] = THRESHOLDS,
) -> Float[Tensor, "s b"]:
    """Returns `information_auc` of each of several scores, for all of which the images are compressed only once.

    Arguments and errors are those of `information_auc`.
    """
    require_one_each(generators, len(images))
    _require_unit_range(images, blurred)
    levels = [0.0, *thresholds, 1.0]
    if any(low >= high for low, high in itertools.pairwise(levels)):
        raise ValueError(f"expected thresholds that rise within (0, 1), got {list(thresholds)}")
    areas: list[list[float]] = [[] for _ in scores]
    for i, values in enumerate(maps_of(images, maps)):
        ranks = descending_ranks(values[None], generators=[generators[i]])[0]
        shown = [ranks < round(level * ranks.numel()) for level in levels]
        copies = torch.stack([torch.where(mask, images[i], blurred[i].to(images)) for mask in shown])
        sizes, target = [compressed_size(copy) for copy in copies], targets[i : i + 1].expand(len(copies))
        for of_score, score in zip(areas, scores, strict=True):
            of_score.append(_area(sizes, score(copies, target).double().tolist()))
    return images.new_tensor(areas, dtype=torch.promote_types(images.dtype, torch.float32))


def compressed_size(image: Image) -> int:
    """Returns the bytes of an image in [0, 1], rounded to 8 bits, as lossless WebP: an estimate of its information."""
    pixels = np.moveaxis((image.detach().float() * 255).round().byte().cpu().numpy(), 0, -1)
    buffer = io.BytesIO()
    grey = pixels.shape[-1] == 1
    PillowImage.fromarray(pixels[..., 0] if grey else pixels).save(buffer, format="webp", lossless=True, quality=100)
    return buffer.tell()


class InformationAUC(MeanOfValues):
    """Mean over images of `information_auc`."""

    higher_is_better = True
    is_differentiable = False
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0


def _area(sizes: Sequence[int], scores: Sequence[float]) -> float:
    """Returns the area under the curve of an image; the first place is its blur, the last the image itself."""
    if sizes[0] >= sizes[-1] or scores[0] >= scores[-1]:
        return float("nan")
    information = np.clip((np.array(sizes, dtype=float) - sizes[0]) / (sizes[-1] - sizes[0]), 0, 1)
    gained = np.clip((np.array(scores) - scores[0]) / (scores[-1] - scores[0]), 0, 1)
    performance = np.maximum.accumulate(gained)
    order = np.argsort(information, kind="stable")
    x, y = information[order], performance[order]
    return float((np.diff(x) * (y[1:] + y[:-1]) / 2).sum())


def _require_unit_range(*parts: Images) -> None:
    for part in parts:
        if not ((part >= 0) & (part <= 1)).all():
            raise ValueError("expected images and blurs in [0, 1]; pass them before the model's normalisation")

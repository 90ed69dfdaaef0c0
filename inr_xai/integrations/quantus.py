"""Our importance maps as an explanation function of Quantus, which needs no import of Quantus.

Hedström et al., "Quantus: An Explainable AI Toolkit for Responsible Evaluation of Neural Network Explanations and
Beyond", JMLR 2023; its convention is `explain_func(model, inputs, targets, **kwargs)`, called by keyword.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from inr_xai import attribution
from inr_xai.attribution import INRAttribution
from inr_xai.errors import UserError
from inr_xai.integrations import SHARED_ID

AREAS = (0.05, 0.1, 0.2, 0.3)
"""Fractions of the image that the masks of a heatmap are fitted at."""


def explain_func(
    model: nn.Module,
    inputs: Any,
    targets: Any,
    *,
    areas: Any = AREAS,
    image_ids: Sequence[str] | None = None,
    device: Any = None,
    method: Any = None,
    **options: Any,
) -> Float[np.ndarray, "b 1 h w"]:
    """Returns a heatmap in [0, 1] of each image, in single precision: `INRAttribution.importance`.

    The model is explained as it is at each call, also one whose weights have changed since the last, and comes back
    unchanged. Global random state is neither read nor changed. That a model hardly sees its class, as a randomised one,
    is said once in a process, and not in each of the many calls of a metric.

    By default all images have the same random draws, in every call. Metrics of robustness explain changed images, and
    those of randomisation changed models, in batches of another size than before: with draws of its own for each image,
    named by its pixels or its place, they would measure how our draws differ and not how the explanation does.

    Args:
        inputs: b x c x h x w, channels first, given to the model as they are.
        targets: the class index of each image.
        areas, options: see `INRAttribution`; options are its arguments, such as steps=200, seed=1, input_mean=... or
            head="sigmoid".
        image_ids: names from which the images' draws derive, one for each image of a call (of a batch, for metrics that
            explain by themselves).
        device: where to compute; the model is moved for the time. None takes the model's own device.
        method: ignored: `quantus.evaluate` gives the name under which it lists the explanations.

    Raises:
        UserError: an unknown option, or bad input; see `INRAttribution`.

    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 4))
    >>> explain_func(model, np.random.rand(2, 3, 16, 16), np.array([1, 3]), steps=2).shape
    (2, 1, 16, 16)
    """
    if "explanations" in options:
        raise UserError("explanations is no option here: a heatmap is made of the first explanation; leave it out")
    explainer = INRAttribution(model, **options)
    first = next(chain(model.parameters(), model.buffers()), None) if isinstance(model, nn.Module) else None
    home = torch.device("cpu") if first is None else first.device
    dtype = torch.float64 if first is not None and first.dtype == torch.float64 else torch.float32
    try:
        # Quantus adds noise in double precision: the dtype is the model's, so that all calls are computed alike.
        images = torch.as_tensor(np.asarray(inputs), dtype=dtype, device=home if device is None else device)
        classes = torch.as_tensor(np.asarray(targets), device=images.device)
    except (TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"inputs and targets must be arrays of numbers, and device a device of this machine ({reason})"
        ) from error
    ids = [SHARED_ID] * len(images) if image_ids is None and images.ndim else image_ids
    with _each_warning_once():
        maps = explainer.importance(images, target=classes, areas=areas, image_ids=ids)
    return maps.to("cpu", torch.float32).numpy()


_said: set[str] = set()


@contextmanager
def _each_warning_once() -> Iterator[None]:
    """Drops the warnings of the look at a model that have been given before, whatever their numbers."""

    def is_new(record: logging.LogRecord) -> bool:
        words = record.getMessage().partition(":")[0]
        known = words in _said
        _said.add(words)
        return not known

    attribution.log.addFilter(is_new)
    try:
        yield
    finally:
        attribution.log.removeFilter(is_new)

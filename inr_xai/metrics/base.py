"""The state of the torchmetrics classes: a mean of values or a ratio of two sums, added up over processes.

Metrics with equal states share one in a torchmetrics.MetricCollection, from its first batch on. Ours may be equal there
by chance, such as 0 twice, so each has one more state, which is named after its class and its settings.

The formulas are pure functions beside each class.
"""

from typing import Any

import torch
import torchmetrics
from jaxtyping import Float
from torch import Tensor

from inr_xai.seeding import sha256


class MeanMetric(torchmetrics.Metric):
    """The mean of values; the base of metrics whose `update` calls `accumulate`."""

    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        _add_states(self, "total", "count")

    def accumulate(self, values: Float[Tensor, "*shape"]) -> None:
        """Adds values to the mean. Raises ValueError for NaN and infinity."""
        _require_finite(values)
        self.total = self.total + values.float().sum()
        self.count = self.count + values.numel()

    def compute(self) -> Float[Tensor, ""]:
        return self.total / self.count

    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Draws a value, or several, within the bounds of the metric, as torchmetrics' own metrics do.

        Args:
            val: a result of `compute` or `forward`, or a sequence of them; None stands for `compute()`.
            ax: axes of matplotlib to draw on; None makes a new figure.
        """
        return self._plot(val, ax)


class MeanOfValues(MeanMetric):
    """The mean of the values that the function of a metric returned; the base of metrics that ask a model."""

    def update(self, values: Float[Tensor, " b"]) -> None:
        """Adds the values that the metric's function returned. Raises ValueError for NaN and infinity."""
        self.accumulate(values)


class RatioMetric(torchmetrics.Metric):
    """The sum of one value divided by the sum of another; the base of metrics whose `update` calls `accumulate`.

    It is a ratio of means, since a mean of ratios explodes if the denominator of one image is small.
    """

    full_state_update = False
    over: Tensor
    under: Tensor

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        _add_states(self, "over", "under")

    def accumulate(self, over: Float[Tensor, "*shape"], under: Float[Tensor, "*shape"]) -> None:
        """Adds pairs of values. Raises ValueError for NaN and infinity."""
        _require_finite(over, under)
        self.over = self.over + over.float().sum()
        self.under = self.under + under.float().sum()

    def compute(self) -> Float[Tensor, ""]:
        return self.over / self.under

    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Draws a value, or several; see `MeanMetric.plot`."""
        return self._plot(val, ax)


def set_apart(metric: torchmetrics.Metric, *settings: Any) -> None:
    """Adds a state that only metrics of this class and with these settings have, so that none shares its states."""
    digest = sha256(repr(settings).encode()).hexdigest()[:12] if settings else ""
    metric.add_state(f"of_{type(metric).__name__}{digest}", default=torch.zeros(()), dist_reduce_fx="sum")


def _require_finite(*columns: Float[Tensor, "..."]) -> None:
    if not all(bool(values.isfinite().all()) for values in columns):
        raise ValueError("expected finite values, got NaN or infinity; leave out the images that failed")


def _add_states(metric: torchmetrics.Metric, *names: str) -> None:
    """Adds states that are scalars and are summed over processes."""
    for name in names:
        metric.add_state(name, default=torch.zeros(()), dist_reduce_fx="sum")
    set_apart(metric)

"""Coloured noise, drawn for several steps at once."""

import torch
from jaxtyping import Float
from torch import Tensor

from inr_xai.draws import Draws, Rows
from inr_xai.perturbation.base import Baselines, Bound, KeepRows, Perturbation, Surroundings
from inr_xai.perturbation.shifts import Frames
from inr_xai.types import Images

CHUNK_STEPS, CHUNK_VALUES = 32, 2**25
"""Noise is drawn for several steps at once, so that few operators are launched, but not for more values than this."""


class PinkNoise(Perturbation):
    """Coloured noise per mask and step, which like a photo has structure at every scale.

    The amplitude of a wave of k periods a side is k^-e, with e drawn from [1, 2] each time. The contrast, the
    similarity of the channels, and a colour are drawn too. Mean and spread are those of the data.
    """

    def bind(self, images: Images, around: Surroundings, draws: Draws, rows: Rows) -> Bound:
        mean, std = [values.to(images).reshape(-1, 1, 1) for values in (around.colour_mean, around.colour_std)]
        return Noise(mean, std, draws, rows, size=(images.shape[-2], images.shape[-1]))


class Noise(Bound):
    """Pink noise for some rows, drawn for several steps at a time."""

    def __init__(
        self,
        mean: Float[Tensor, "c 1 1"],
        std: Float[Tensor, "c 1 1"],
        draws: Draws,
        rows: Rows,
        *,
        size: tuple[int, int],
    ):
        self.mean, self.std, self.draws, self.rows, self.size = mean, std, draws, rows, size
        height, width = size
        down, across = torch.fft.fftfreq(height, 1 / height), torch.fft.rfftfreq(width, 1 / width)
        self.periods = torch.hypot(down[:, None], across[None]).clamp(min=1).to(mean)
        # The columns whose waves come in pairs that are each other's conjugate, and the partner of each row of waves.
        self.paired = torch.tensor(sorted({0, width // 2} if width % 2 == 0 else {0}), device=mean.device)
        self.partner = -torch.arange(height, device=mean.device) % height
        total, steps = rows.first[-1] * len(mean) * height * width, len(rows.table)
        self.steps = max(1, min(CHUNK_STEPS, CHUNK_VALUES * steps // max(1, total)))
        self.chunk: tuple[int, Rows, Images] | None = None

    def draw(self, step: int, frames: Frames) -> Baselines | KeepRows:
        start = step - step % self.steps
        if self.chunk is None or self.chunk[0] != start:
            rows = self.rows.between(start, min(start + self.steps, len(self.rows.table)))
            self.chunk = start, rows, self._noise(rows)
        _, rows, noise = self.chunk
        return noise[rows.at(step - start)]

    def _noise(self, rows: Rows) -> Images:
        channels, (height, width) = len(self.mean), self.size
        steepness, independence, contrast, *colour = self.draws.uniform("noise", rows, 3 + channels)[
            :, :, None, None, None
        ].unbind(1)
        shape = (channels, height, width // 2 + 1)
        count = 2 * channels * height * shape[-1]
        waves = torch.view_as_complex(self.draws.normal("waves", rows, count).reshape(-1, *shape, 2))
        columns = waves[..., self.paired]
        # The transform of a real field: a wave and its partner are conjugate, and both have the variance of the others.
        waves[..., self.paired] = (columns + columns[..., self.partner, :].conj()) * 0.5**0.5
        field = torch.fft.irfft2(waves * self.periods ** -(1 + steepness), s=self.size)
        field -= field.mean((-2, -1), keepdim=True)
        field *= (height * width - 1) ** 0.5 / torch.linalg.vector_norm(field, dim=(-2, -1), keepdim=True)
        grey = field.mean(1, keepdim=True) * channels**0.5
        mixed = torch.lerp(grey, field, independence)
        offset = (torch.cat(colour, 1) * 2 - 1) * 3**0.5 / 2
        return self.mean + self.std * ((0.5 + contrast) * mixed + offset)

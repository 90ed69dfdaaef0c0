"""Features on grids from coarse to fine, and a ReLU network of them that is conditioned on the area and starts linear.

The network is evaluated at the corners of the finest grid; between them the field is bilinear.

Grids: Mueller et al., "Instant Neural Graphics Primitives with a Multiresolution Hash Encoding", SIGGRAPH 2022,
section 3, without a hash. FiLM: Perez et al., "FiLM: Visual Reasoning with a General Conditioning Layer", AAAI 2018,
equation 2.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from inr_xai.errors import UserError
from inr_xai.inr.base import INR
from inr_xai.inr.conditioning import encode_areas
from inr_xai.inr.grids import Cells, find_cells, require_sides, spread
from inr_xai.limits import require_capacity, require_numbers
from inr_xai.seeding import stacked_normal
from inr_xai.types import Areas


class FeatureGridINR(INR[Cells]):
    """f(., a) is the bilinear interpolation of n(., a) at the corners of the finest grid, n being a ReLU network.

    n(u, a) takes gain * the interpolated features at u, with FiLM by the area in every hidden layer. `forward` computes
    n; f is made of it by whoever evaluates the field (`INR.finest`), in a fit as in every drawing.

    Units come in pairs (z, -z), whose ReLUs differ by z, and FiLM starts at exactly 1 and 0. So at the start n is
    linear in the features, and the same for every area: the sum over grids of gain * the mean of a grid's features.
    If the finest cells divide all others, f is n as long as n is linear.

    Args:
        generators: one per image.
        sides: cells per side of each grid.
        features: learned numbers at a corner of one grid.
        gain: factor of the interpolated features.
        scale: standard deviation of the initial features, before the gain.
        width: units of a hidden layer, even and at least twice the number of grids times `features`.
        depth: number of hidden layers.
        speed: how far a step of the optimiser moves the layers, compared with the grids. Their weights are stored
            larger by the inverse of this factor.
        film_speed: the same for FiLM's scales and shifts.
        conditioning: "film", or "none" for the same network with the area's encoding left out of FiLM, so that one
            scale and shift of a unit serves all areas.

    Raises:
        UserError: an option is out of range, or the width is too small for a linear start.
    """

    identity: Tensor

    def __init__(
        self,
        generators: Sequence[torch.Generator],
        *,
        sides: Sequence[int] = (4, 7, 14, 28),
        features: int = 2,
        gain: float = 5.0,
        scale: float = 0.02,
        width: int = 64,
        depth: int = 2,
        speed: float = 0.03,
        film_speed: float = 1.0,
        conditioning: str = "film",
    ):
        super().__init__()
        if conditioning not in ("film", "none"):
            raise UserError(
                f"inr.conditioning={conditioning} is not available with inr=feature_grid; use inr.conditioning=film, "
                "or none for one field for all areas"
            )
        require_sides(sides)
        require_numbers("inr", features=features, gain=gain, scale=scale, width=width, depth=depth)
        require_numbers("inr", speed=speed, film_speed=film_speed)
        inputs, half = len(sides) * features, width // 2
        if width % 2 or half < inputs:
            raise UserError(
                f"inr.width={width} has no room for pairs of units of {inputs} inputs; give an even number, at least "
                f"{2 * inputs}"
            )
        self.sides, self.gain, self.speed, self.film_speed = list(sides), gain, speed, film_speed
        self.sizes = [(side + 1) ** 2 for side in sides]
        self.finest = max(sides)
        require_capacity(sum(self.sizes) * features + 2 * width * (inputs + width * (depth - 1)))
        self.table = nn.Parameter(stacked_normal(generators, (sum(self.sizes), features), scale))
        # One image after another, so that an image's bits do not depend on the batch.
        drawn = [linear_start(draw, inputs, width=width, depth=depth) for draw in generators]
        *layers, last = [torch.stack(weights) / speed for weights in zip(*drawn, strict=True)]
        self.layers, self.last = nn.ParameterList(layers), nn.Parameter(last / features)
        # For each hidden layer the scales of its units, then their shifts; a row for each number of the area's
        # encoding, then one for the constant 1.
        rows = 4 if conditioning == "film" else 1
        self.film = nn.Parameter(torch.zeros(len(generators), rows, 2 * depth * width))
        identity = torch.tensor([speed, 0.0]).repeat_interleave(width).repeat(depth)
        self.register_buffer("identity", identity, persistent=False)
        self._code: tuple[Areas, Float[Tensor, "n r"]] | None = None

    def encode(self, coordinates: Float[Tensor, "p 2"]) -> Cells:
        rows, weights = find_cells(coordinates, self.sides, self.sizes)
        return Cells(rows, weights * (self.gain * self.speed))

    def forward(self, encoded: Cells, areas: Areas) -> Float[Tensor, "b a p"]:
        # ReLU(speed * z) = speed * ReLU(z): layers take their inputs times `speed`, so that no weight is multiplied.
        b, p, rows = len(self.table), len(encoded.rows), self.film.shape[1]
        if self._code is None or self._code[0] is not areas:  # in a fit they are always the same tensor
            code = encode_areas(areas) if rows > 1 else areas.new_zeros(1, 0)
            code = nn.functional.pad(code, (0, 1), value=1.0) * (self.film_speed * self.speed)
            self._code = areas, code
        code, n = self._code[1], len(self._code[1])
        film = torch.baddbmm(self.identity, code.expand(b, -1, -1), self.film)
        films = film.view(b, n, 2 * len(self.layers), 1, -1).unbind(2)
        x = (self.table[:, encoded.rows] * encoded.weights.unsqueeze(-1)).sum(-2).view(b, p, -1)
        for weight, scale, shift in zip(self.layers, films[::2], films[1::2], strict=True):
            sums = torch.bmm(x, weight).view(b, -1, p, weight.shape[-1])
            x = (sums * scale).add_(shift).relu_().view(b, n * p, -1)
        return torch.bmm(x, self.last).view(b, n, p).expand(-1, len(areas), -1)

    def start_from(self, field: Float[Tensor, "b h w"]) -> None:
        """Gives the field to the means of the grids' features, whose differences stay as they were drawn.

        It may only be called before a fit: it uses that the network is still linear.
        """
        values = torch.cat([values.flatten(1) for values in spread(field, self.sides)], dim=1)
        table = self.table.data
        table += (values / self.gain).unsqueeze(-1) - table.mean(-1, keepdim=True)


def linear_start(draw: torch.Generator, inputs: int, *, width: int, depth: int) -> list[Float[Tensor, "i o"]]:
    """Returns weights of a ReLU network without biases that computes the sum of its inputs.

    The hidden layers are [R, -R], then [[M, -M], [-M, M]]; R has orthonormal rows and every M is orthogonal, so that a
    product leaves the length of its inputs unchanged. The last one is (v, -v), with v the sum of the rows of R M ... M.
    """
    half = width // 2
    products = [torch.linalg.qr(torch.randn(half, inputs, generator=draw)).Q.mT]
    products += [torch.linalg.qr(torch.randn(half, half, generator=draw)).Q for _ in range(depth - 1)]
    last = torch.linalg.multi_dot([torch.ones(1, inputs), *products]).mT
    pairs = [torch.cat([product, -product], dim=1) for product in products]
    hidden = [torch.cat([pair, -pair]) for pair in pairs[1:]]
    return [pairs[0], *hidden, torch.cat([last, -last])]

"""What tests of faithfulness share: a smooth score in double precision, images, and maps with and without ties."""

import torch

from inr_xai.seeding import generator
from inr_xai.types import Images, Targets
from tests.conftest import pictures, tiny_network

NETWORK = tiny_network().double().eval()
TARGETS = torch.tensor([1, 3, 0])


@torch.no_grad()
def score(images: Images, targets: Targets) -> torch.Tensor:
    """Softmax probability under a small random network; images of any size from 9 x 9."""
    return NETWORK(images.double()).softmax(1).gather(1, targets.unsqueeze(1))[:, 0]


def asked(image: torch.Tensor, target: int) -> float:
    """The score of one image by itself."""
    return float(score(image.unsqueeze(0), torch.tensor([target])))


def photos(count: int = 3, side: int = 24) -> torch.Tensor:
    """Different smooth images in double precision."""
    return pictures(count, side).double()


def distinct_maps(count: int = 3, side: int = 24) -> torch.Tensor:
    """Maps without ties, of both signs."""
    return torch.randn(count, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


def tied_maps(count: int = 3, side: int = 24) -> torch.Tensor:
    """Maps of five values: ties everywhere."""
    drawn = torch.randint(0, 5, (count, side, side), generator=torch.Generator().manual_seed(6))
    return drawn.double() / 4


def draws(count: int, seed: int = 0) -> list[torch.Generator]:
    return [generator(seed, image) for image in range(count)]


def order(values: torch.Tensor, draw: torch.Generator) -> list[int]:
    """Pixels by falling value; tied ones in the order of the generator's permutation."""
    flat = values.flatten().tolist()
    return sorted(torch.randperm(len(flat), generator=draw).tolist(), key=lambda pixel: -flat[pixel])

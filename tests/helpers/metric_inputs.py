"""Inputs of tests of metrics: a smooth score in double precision, images, masks, and maps with and without ties."""

import torch

from inr_xai.seeding import generator
from inr_xai.types import Images, Targets
from tests.conftest import pictures, tiny_network

NETWORK = tiny_network().double().eval()
TARGETS = torch.tensor([1, 3, 0])


@torch.no_grad()
def score(images: Images, targets: Targets) -> torch.Tensor:
    """Returns softmax probabilities of a small random network, for images of any size from 9 x 9."""
    return NETWORK(images.double()).softmax(1).gather(1, targets.unsqueeze(1))[:, 0]


def score_alone(image: torch.Tensor, target: int) -> float:
    """Returns the score of one image by itself."""
    return float(score(image.unsqueeze(0), torch.tensor([target])))


def photos(count: int = 3, side: int = 24) -> torch.Tensor:
    """Returns different smooth images in double precision."""
    return pictures(count, side).double()


def distinct_maps(count: int = 3, side: int = 24) -> torch.Tensor:
    """Returns maps of both signs without ties."""
    return torch.randn(count, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


def tied_maps(count: int = 3, side: int = 24) -> torch.Tensor:
    """Returns maps of five values, with ties everywhere."""
    drawn = torch.randint(0, 5, (count, side, side), generator=torch.Generator().manual_seed(6))
    return drawn.double() / 4


def draws(count: int, seed: int = 0) -> list[torch.Generator]:
    """Returns one generator per image."""
    return [generator(seed, image) for image in range(count)]


def order(values: torch.Tensor, draw: torch.Generator) -> list[int]:
    """Returns the pixels by falling value; tied ones are in the order of the generator's permutation."""
    flat = values.flatten().tolist()
    return sorted(torch.randperm(len(flat), generator=draw).tolist(), key=lambda pixel: -flat[pixel])


def tied_masks() -> torch.Tensor:
    """Returns masks of seven values, with ties everywhere: three images, three areas, 9 x 11 pixels."""
    drawn = torch.randint(0, 7, (3, 3, 9, 11), generator=torch.Generator().manual_seed(0))
    return drawn.double() / 6

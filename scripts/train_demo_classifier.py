"""Trains the demo classifier on synthetic scenes, and prints its accuracy with each cue alone.

A third of the scenes lack the object and a third have a plain ground, so that both cues are learnt. Parts of most
scenes are replaced, as in the scoring of masks, and some show the object of one class on the ground of another. The
target is soft: it is shared among the classes whose cues can be seen (CutMix: Yun et al., ICCV 2019), two parts for an
object and one for a ground, and uniform if no cue can be seen.
"""

import argparse
import logging
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from safetensors.torch import save
from torch import Tensor

from inr_xai.classifier.demo_network import CLASSES, MEAN, SIZE, STD, DemoNetwork
from inr_xai.data.scenes.scene import CHANCES, Scenes, draw
from inr_xai.data.scenes.shapes import SHAPES, shape_distance
from inr_xai.seeding import generator
from inr_xai.types import Images

log = logging.getLogger("train_demo_classifier")
Field = Float[Tensor, "b h w"]

OBJECT_WEIGHT, GROUND_WEIGHT = 1.0, 0.5
"""How the target is shared if cues of two classes can be seen."""
WHOLE = 0.38
"""Share of the scenes of which nothing is replaced at the end; in the first epoch these are all scenes."""
MIXED = 0.25
"""Share of the scenes whose ground is of another class than the object."""


def main() -> None:
    arguments = parsed()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.manual_seed(arguments.seed)
    torch.use_deterministic_algorithms(True)
    network = DemoNetwork()
    shared = {"seed": arguments.seed, "test_images": arguments.test_images}
    train(network, epochs=arguments.epochs, images=arguments.images, batch=arguments.batch, **shared)
    report(network, **shared)
    write(network, arguments.output)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    default = Path(__file__).resolve().parents[1] / "inr_xai" / "weights" / "demo.safetensors"
    parser.add_argument("--seed", type=int, default=0, help="of the weights and the training scenes")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--images", type=int, default=8192, help="new scenes in an epoch")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--test-images", type=int, default=2048, help="for each accuracy")
    parser.add_argument("--output", type=Path, default=default)
    return parser.parse_args()


def train(network: DemoNetwork, *, epochs: int, images: int, batch: int, seed: int, test_images: int) -> None:
    steps = images // batch
    optimizer = torch.optim.AdamW(network.parameters(), lr=4e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=4e-3, total_steps=epochs * steps, pct_start=0.1, cycle_momentum=False
    )
    random = generator(seed, "train")
    start = time.perf_counter()
    for epoch in range(1, epochs + 1):
        network.train()
        whole = max(WHOLE, 1.2 - 0.2 * epoch)
        total = 0.0
        for _ in range(steps):
            scenes, targets = training_batch(batch, random, whole=whole)
            loss = F.cross_entropy(network(normalised(scenes)), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += float(loss.detach())
        network.eval()
        both, figure, ground = (accuracy(network, images=min(256, test_images), seed=seed, cues=cues) for cues in CUES)
        of_figure, of_ground = conflict(network, images=min(256, test_images), seed=seed)
        spent = time.perf_counter() - start
        log.info(
            "epoch %d/%d loss %.3f both %.3f object %.3f background %.3f in conflict %.2f %.2f (%.0f s)",
            *(epoch, epochs, total / steps, both, figure, ground, of_figure, of_ground, spent),
        )


# Scenes -------------------------------------------------------------------------------------------------------------

CUES = {"both": (True, True), "object": (True, False), "background": (False, True)}


def scenes_of(
    kinds: Int[Tensor, " b"],
    random: torch.Generator,
    *,
    with_object: Bool[Tensor, " b"],
    with_texture: Bool[Tensor, " b"],
    grounds: Int[Tensor, " b"] | None = None,
) -> Scenes:
    chances = torch.rand(len(kinds), CHANCES, generator=random)
    noise = torch.randn(len(kinds), 3, SIZE, SIZE, generator=random)
    return draw(kinds, chances, noise, with_object=with_object, with_texture=with_texture, grounds=grounds)


def training_batch(count: int, random: torch.Generator, *, whole: float = WHOLE) -> tuple[Images, Float[Tensor, "b n"]]:
    """Returns scenes of which parts are replaced, and their soft targets."""
    kinds = torch.randint(CLASSES, (count,), generator=random)
    cues = torch.randint(3, (count,), generator=random)
    with_object, with_texture = cues != 2, cues != 1
    mixed = torch.rand(count, generator=random) < MIXED
    grounds = torch.where(mixed, torch.randint(CLASSES, (count,), generator=random), kinds)
    scenes = scenes_of(kinds, random, with_object=with_object, with_texture=with_texture, grounds=grounds)
    keep = keep_masks(scenes.coverage, with_texture, random, whole=whole)
    other, of_neighbour = replacements(scenes.images, random)
    images = keep[:, None] * scenes.images + (1 - keep[:, None]) * other
    share = evidence(kinds, grounds, keep, scenes.coverage, with_texture)
    rest = evidence(kinds.roll(1), grounds.roll(1), 1 - keep, scenes.coverage.roll(1, 0), with_texture.roll(1))
    return images, soft_targets(share + rest * of_neighbour[:, None, None])


def keep_masks(coverage: Field, with_texture: Bool[Tensor, " b"], random: torch.Generator, *, whole: float) -> Field:
    """Returns masks (1 keeps) that keep all of a scene, a part by one of three kinds of mask, or nothing."""
    count = len(coverage)
    replaced, kind = torch.rand(2, count, 1, 1, generator=random)
    silhouette = silhouettes(count, random)
    around = around_object(coverage, with_texture, random)
    keep = smooth_masks(count, random)
    has_object = coverage.amax((1, 2), True) > 0
    keep = torch.where((kind > 0.42) & (kind < 0.54) & with_texture[:, None, None], silhouette, keep)
    keep = torch.where((kind > 0.54) & (kind < 0.88) & has_object, around, keep)
    keep = torch.where(kind > 0.88, torch.zeros_like(keep), keep)
    return torch.where(replaced < whole, torch.ones_like(keep), keep)


def smooth_masks(count: int, random: torch.Generator) -> Field:
    cells = int(torch.randint(3, 9, (), generator=random))
    coarse = torch.randn(count, 1, cells, cells, generator=random)
    field = F.interpolate(coarse, size=(SIZE, SIZE), mode="bicubic", align_corners=False).squeeze(1)
    order = field[:, ::4, ::4].flatten(1).sort(dim=1, descending=True).values
    area = 0.03 + 0.87 * torch.rand(count, generator=random)
    threshold = order.gather(1, (area * order.shape[1]).long()[:, None])
    softness = 0.02 + 0.3 * torch.rand(count, generator=random).square()
    return torch.sigmoid((field - threshold[:, :, None]) / softness[:, None, None])


def silhouettes(count: int, random: torch.Generator) -> Field:
    """Returns windows with the outline of any shape, because a texture inside such an outline is not an object."""
    kinds = torch.randint(len(SHAPES), (count,), generator=random)
    side, across, down, angle, softness = torch.rand(5, count, 1, 1, generator=random)
    side = 0.2 + 0.5 * side
    axis = (torch.arange(SIZE) + 0.5) / SIZE
    x, y = axis[None, None, :] - 0.2 - 0.6 * across, axis[None, :, None] - 0.2 - 0.6 * down
    cosine, sine = torch.cos(math.tau * angle), torch.sin(math.tau * angle)
    distance = shape_distance(kinds, (cosine * x + sine * y) / side, (cosine * y - sine * x) / side) * side * SIZE
    return torch.sigmoid(-distance / (0.3 + 3 * softness))


def around_object(coverage: Field, with_texture: Bool[Tensor, " b"], random: torch.Generator) -> Field:
    """Returns masks that keep the object, exactly or with a margin; or, on a textured ground, all but that."""
    count = len(coverage)
    wide = blurred(coverage[:, None], 1.5 + 4 * float(torch.rand((), generator=random))).squeeze(1)
    level, softness, exact, flip = torch.rand(4, count, 1, 1, generator=random)
    keep = torch.sigmoid((wide - 0.05 - 0.5 * level) / (0.01 + 0.1 * softness))
    keep = torch.where(exact < 0.4, coverage, keep)
    return torch.where((flip < 0.3) & with_texture[:, None, None], 1 - keep, keep)


def replacements(images: Images, random: torch.Generator) -> tuple[Images, Bool[Tensor, " b"]]:
    """Returns what replaces pixels (blur, colour, noise or, twice as often, the next scene), and where a scene does."""
    count = len(images)
    choice = torch.randint(5, (count,), generator=random).clamp_max(3)
    blur = blurred(images, 5 + 7 * float(torch.rand((), generator=random)))
    random_colour = torch.rand(count, 3, 1, 1, generator=random)
    colour = torch.where(torch.rand(count, 1, 1, 1, generator=random) < 0.5, images.mean((2, 3), True), random_colour)
    deviation = 0.1 + 0.25 * torch.rand(count, 1, 1, 1, generator=random)
    noise = (colour + deviation * torch.randn(images.shape, generator=random)).clamp(0, 1)
    neighbour = images.roll(1, 0)
    table = torch.stack([blur, colour.expand_as(images), noise, neighbour])
    return table[choice, torch.arange(count)], choice == 3


def blurred(images: Images, sigma: float) -> Images:
    """Returns images with Gaussian blur, by two matrix products and with reflected borders."""
    reach = math.ceil(2.5 * sigma)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma).square())
    unit = F.pad(torch.eye(SIZE)[:, None], (reach, reach), mode="reflect")
    matrix = F.conv1d(unit, (kernel / kernel.sum())[None, None]).squeeze(1)
    return matrix.T @ images @ matrix


# Targets ------------------------------------------------------------------------------------------------------------


def evidence(
    kinds: Int[Tensor, " b"], grounds: Int[Tensor, " b"], keep: Field, coverage: Field, with_texture: Bool[Tensor, " b"]
) -> Float[Tensor, "b 2 n"]:
    """Returns how well each scene's object and ground can be seen, 0 to 1, at the index of their classes."""
    seen = ((keep - 0.15) / 0.7).clamp(0, 1)
    figure = (seen * coverage).sum((1, 2)) / coverage.sum((1, 2)).clamp_min(1e-6)
    ground = (seen * (1 - coverage)).mean((1, 2)) * with_texture
    levels = torch.stack([(figure - 0.35) / 0.4, (ground - 0.03) / 0.09], dim=1).clamp(0, 1)
    return levels[:, :, None] * F.one_hot(torch.stack([kinds, grounds], dim=1), CLASSES)


def soft_targets(share: Float[Tensor, "b 2 n"]) -> Float[Tensor, "b n"]:
    """Returns targets as certain as the best cue, shared among the classes by their cues; the rest is uniform."""
    certain = share.amax((1, 2)).clamp(0, 1)[:, None]
    weighted = OBJECT_WEIGHT * share[:, 0] + GROUND_WEIGHT * share[:, 1]
    divided = weighted / weighted.sum(1, keepdim=True).clamp_min(1e-6)
    return certain * divided + (1 - certain) / CLASSES


# Figures ------------------------------------------------------------------------------------------------------------


def report(network: DemoNetwork, *, seed: int, test_images: int) -> None:
    for cues in CUES:
        reached = accuracy(network, images=test_images, seed=seed, cues=cues)
        log.info("test accuracy, %s: %.4f (%d images)", cues, reached, test_images)
    for name, confidence in confidences(network, count=min(256, test_images), seed=seed):
        log.info("mean confidence on %s: %.3f (uniform %.3f)", name, confidence, 1 / CLASSES)
    log.info(
        "object of one class on the ground of another: %.3f and %.3f",
        *conflict(network, images=min(256, test_images), seed=seed),
    )


@torch.no_grad()
def accuracy(network: DemoNetwork, *, images: int, seed: int, cues: str) -> float:
    random = generator(seed, "test", cues)
    right = 0
    for start in range(0, images, 128):
        kinds = torch.arange(start, min(start + 128, images)) % CLASSES
        with_object, with_texture = (torch.full(kinds.shape, here) for here in CUES[cues])
        scenes = scenes_of(kinds, random, with_object=with_object, with_texture=with_texture)
        right += int((network(normalised(scenes.images)).argmax(1) == kinds).sum())
    return right / images


@torch.no_grad()
def confidences(network: DemoNetwork, *, count: int, seed: int) -> Iterator[tuple[str, float]]:
    """Yields the mean confidence on whole scenes, and on images in which nothing can be seen."""
    random = generator(seed, "nothing")
    both = torch.ones(count, dtype=torch.bool)
    scenes = scenes_of(torch.arange(count) % CLASSES, random, with_object=both, with_texture=both).images
    colour = scenes.mean((2, 3), True).expand_as(scenes)
    noise = (colour + 0.25 * torch.randn(scenes.shape, generator=random)).clamp(0, 1)
    blur = blurred(scenes, 20 * SIZE / 224)
    for name, images in {"whole scenes": scenes, "blurred scenes": blur, "noise": noise, "one colour": colour}.items():
        yield name, float(network(normalised(images)).softmax(1).amax(1).mean())


@torch.no_grad()
def conflict(network: DemoNetwork, *, images: int, seed: int) -> tuple[float, float]:
    """Returns the mean probabilities of the object's class and of the ground's class, which differ."""
    random = generator(seed, "conflict")
    figure, ground = torch.arange(images) % CLASSES, (torch.arange(images) + 3) % CLASSES
    both = torch.ones(images, dtype=torch.bool)
    scenes = scenes_of(figure, random, with_object=both, with_texture=both, grounds=ground)
    answers = network(normalised(scenes.images)).softmax(1)
    of_figure, of_ground = (float(answers.gather(1, kinds[:, None]).mean()) for kinds in (figure, ground))
    return of_figure, of_ground


def normalised(images: Images) -> Images:
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    return (images - mean) / std


def write(network: DemoNetwork, path: Path) -> None:
    """Writes the weights atomically: a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    partial.write_bytes(save(network.state_dict()))
    partial.replace(path)
    log.info("wrote %s (%d bytes)", path, path.stat().st_size)


if __name__ == "__main__":
    main()

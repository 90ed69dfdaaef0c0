"""Trains the classifiers of ShapesInContext, and prints the test accuracy of each and what it relies on.

All settings draw from one pool of scenes. In half of them shape and ground are of one class, in the other half they
are independent; some scenes lack the object or have a plain ground. A setting uses the scenes of its own kind, in which
shape and ground agree as often as its correlation says.

In the setting "both", shape and ground determine the label. Either alone would be enough, and a network learns the
easier one. So this setting also uses scenes in which they are of different classes, with half of the target for each.
All other settings start from its network, which sees both cues, so it does not matter which cue is learnt first.

A network hardly relies on a cue that only correlates with the label if another cue is certain: the certain one had 0.96
of the reliance after 40 steps when the other agreed with it in 91 % of the scenes. In the graded settings the target is
therefore shared between the classes of the two cues, with the greater part for the certain one, so that the answer
stays right.
"""

import argparse
import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from safetensors.torch import load_file, save
from torch import Tensor

from inr_xai.audit.intervention import intervene
from inr_xai.classifier import FrozenClassifier
from inr_xai.classifier.context import MEAN, SIZE, STD, ContextNetwork, classifier_of
from inr_xai.config import exit_status
from inr_xai.data.scenes.context_scene import CHANCES, DISTRACTORS, Kinds, draw
from inr_xai.data.scenes.shapes_in_context import CLASSES, SETTINGS, ShapesInContext
from inr_xai.errors import UserError
from inr_xai.runs.files import markdown_table
from inr_xai.seeding import generator
from inr_xai.types import Images

log = logging.getLogger("train_context_classifiers")
PACKAGED = Path(__file__).resolve().parents[1] / "inr_xai" / "weights" / "shapes_in_context"
FIRST = "both"
"""The setting whose network the others start from."""
BATCH, PART = 64, 2048
AGREE = 0.5
"""Share of the pool's scenes whose ground is of the shape's class for certain."""
WEAKER_SHARE = {"object_context_25": 0.2, "context_object_25": 0.2, "object_context_95": 0.4, "context_object_95": 0.35}
"""In graded settings, the part of the target for the cue that is not certain."""
LACKING = 16
"""One scene in this many lacks the object, and one has a plain ground."""


def main() -> int:
    """Trains and measures the classifiers, or only measures them; returns the exit status."""
    arguments = parsed()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.set_num_threads(1)
    return exit_status(lambda: (measure if arguments.measure else train_all)(arguments))


def measure(arguments: argparse.Namespace) -> int:
    """Prints a row of the table for each network in the folder; returns the number of failures, 0."""
    networks = {setting: stored_network(arguments.output, setting) for setting in arguments.settings}
    rows = [
        measured(classifier_of(network), setting, images=arguments.test_images, seed=arguments.seed)
        for setting, network in networks.items()
    ]
    print(markdown_table(HEADINGS, rows, tight_rules=True), end="")
    return 0


def train_all(arguments: argparse.Namespace) -> int:
    """Trains and writes the networks; returns the number of failures, 0."""
    pool = drawn_pool(arguments.scenes, seed=arguments.seed)
    for setting in sorted(arguments.settings, key=lambda name: name != FIRST):
        first = setting == FIRST
        network = fresh_network(seed=arguments.seed) if first else first_network(arguments.output)
        steps = arguments.steps if first else arguments.tuning_steps * (3 if setting in WEAKER_SHARE else 1)
        chances, targets = chances_and_targets(pool, SETTINGS[setting], weaker_share=WEAKER_SHARE.get(setting))
        train(network, pool.images, chances, targets, steps=steps, seed=arguments.seed)
        write(network, weights_file(arguments.output, setting))
        row = measured(classifier_of(network), setting, images=arguments.test_images, seed=arguments.seed)
        log.info("%s", ", ".join(f"{heading}: {cell}" for heading, cell in zip(HEADINGS, row, strict=True)))
    return 0


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--settings", nargs="+", choices=list(SETTINGS), default=list(SETTINGS), metavar="NAME")
    parser.add_argument("--seed", type=int, default=0, help="seed of the weights and the training scenes")
    parser.add_argument("--steps", type=int, default=900, help=f"number of steps for {FIRST}, of {BATCH} scenes each")
    parser.add_argument(
        "--tuning-steps",
        type=int,
        default=250,
        help=f"number of steps for each other setting, which starts from the network of {FIRST} in --output, or else "
        "from that of the package; graded settings have three times as many",
    )
    parser.add_argument(
        "--scenes", type=int, default=16384, help="number of scenes in the pool that all settings share"
    )
    parser.add_argument(
        "--test-images", type=int, default=512, help="number of scenes that the networks are measured on"
    )
    parser.add_argument("--measure", action="store_true", help="train nothing, measure the networks of --output")
    parser.add_argument("--output", type=Path, default=PACKAGED, help="folder of the weights")
    return parser.parse_args()


# Scenes -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pool:
    """Scenes of 8 bits, and what each shows of the two cues."""

    images: UInt8[Tensor, "n 3 h w"]
    shapes: Int[Tensor, " n"]
    grounds: Int[Tensor, " n"]
    with_object: Bool[Tensor, " n"]
    with_texture: Bool[Tensor, " n"]


@torch.inference_mode()
def drawn_pool(scenes: int, *, seed: int) -> Pool:
    """Draws the pool; each part of `PART` scenes has its own random generator."""
    parts = []
    for start in range(0, scenes, PART):
        random = generator(seed, f"train{start // PART}")
        last = min(start + PART, scenes)
        parts += [drawn_batch(min(BATCH, last - first), random) for first in range(start, last, BATCH)]
        log.info("drew %d of %d scenes", last, scenes)
    return Pool(*(torch.cat(column) for column in zip(*parts, strict=True)))


def drawn_batch(count: int, random: torch.Generator) -> tuple[Tensor, ...]:
    """Draws scenes; returns the columns of a Pool."""
    shapes = torch.randint(CLASSES, (count,), generator=random)
    agree = torch.rand(count, generator=random) < AGREE
    patterns, others = torch.randint(CLASSES, (2, count), generator=random)
    grounds = torch.where(agree, shapes, others)
    distractors = torch.randint(len(DISTRACTORS), (count,), generator=random)
    chances = torch.rand(count, CHANCES, generator=random)
    noise = torch.randn(count, 3, SIZE, SIZE, generator=random)
    lacks = torch.randint(LACKING, (count,), generator=random)
    with_object, with_texture = lacks != 0, lacks != 1
    kinds = Kinds(shapes, patterns, grounds, distractors)
    images = draw(kinds, chances, noise, with_object=with_object, with_texture=with_texture).images
    return (255 * images).round().to(torch.uint8), shapes, grounds, with_object, with_texture


def chances_and_targets(
    pool: Pool, cues: dict[str, float], *, weaker_share: float | None = None
) -> tuple[Float[Tensor, " n"], Float[Tensor, "n c"]]:
    """Returns how likely a setting uses each scene of the pool, up to a factor, and the scene's target.

    Args:
        weaker_share: the part of the target for the cue that only correlates with the label. If a cue cannot be seen,
            its part is spread over all classes. None shares the target among the visible cues that determine the label.
    """
    strengths = torch.tensor([cues.get(cue, 0.0) for cue in ("object_shape", "background_texture")])
    visible = torch.stack([pool.with_object, pool.with_texture], dim=1)
    if weaker_share is None:
        shares = (visible * (strengths == 1)).float()
        shares = shares / shares.sum(1, keepdim=True).clamp_min(1)
    else:
        shares = visible * torch.where(strengths == 1, 1 - weaker_share, weaker_share)
    targets = (shares[:, :, None] * F.one_hot(torch.stack([pool.shapes, pool.grounds], dim=1), CLASSES)).sum(1)
    chances = targets.sum(1)
    weaker = float(strengths.min())
    if weaker < 1:
        whole, agree = pool.with_object & pool.with_texture, pool.shapes == pool.grounds
        agreement = weaker + (1 - weaker) / CLASSES
        balance = torch.where(agree, agreement / (whole & agree).sum(), (1 - agreement) / (whole & ~agree).sum())
        chances = balance * (chances if weaker_share is None else 1)
    if weaker_share is not None:
        targets = targets + (1 - targets.sum(1, keepdim=True)) / CLASSES
    return chances, targets


# Training -----------------------------------------------------------------------------------------------------------


def fresh_network(*, seed: int) -> ContextNetwork:
    """Returns a new network, whose first filters do not see mean colours: they vary most and carry no information."""
    torch.manual_seed(seed)
    network = ContextNetwork()
    (first, *_) = (part for part in network.modules() if isinstance(part, torch.nn.Conv2d))
    with torch.no_grad():
        first.weight -= first.weight.mean(dim=(2, 3), keepdim=True)
    return network.to(memory_format=torch.channels_last)


def first_network(folder: Path) -> ContextNetwork:
    """Returns the network from which other settings start: the folder's, or the package's if the folder has none."""
    exists = weights_file(folder, FIRST).is_file()
    if not exists:
        log.info("%s has no network of %s; starting from that of the package", folder, FIRST)
    return stored_network(folder if exists else PACKAGED, FIRST)


def stored_network(folder: Path, setting: str) -> ContextNetwork:
    """Returns the network of a setting that was written to the folder. Raises UserError if there is none."""
    file = weights_file(folder, setting)
    if not file.is_file():
        raise UserError(
            f"{file} does not exist; give the --output that it was written to, or train it: --settings {setting}"
        )
    network = ContextNetwork()
    network.load_state_dict(load_file(file))
    return network.to(memory_format=torch.channels_last)


def weights_file(folder: Path, setting: str) -> Path:
    return folder / f"{setting}.safetensors"


def train(
    network: ContextNetwork,
    scenes: UInt8[Tensor, "n 3 h w"],
    chances: Float[Tensor, " n"],
    targets: Float[Tensor, "n c"],
    *,
    steps: int,
    seed: int,
) -> None:
    """Trains a network on scenes drawn by their chances; half of them are mirrored."""
    random = generator(seed, "shapes in context", "batches")
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=3e-3, total_steps=steps, pct_start=0.15, cycle_momentum=False
    )
    network.train()
    start, total = time.perf_counter(), 0.0
    for step in range(1, steps + 1):
        rows = torch.multinomial(chances, BATCH, replacement=True, generator=random)
        mirrored = torch.rand(BATCH, 1, 1, 1, generator=random) < 0.5
        images = scenes[rows].float() / 255
        logits = network(normalised(torch.where(mirrored, images.flip(3), images)))
        loss = F.cross_entropy(logits, targets[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        total += float(loss.detach())
        if step % 20 == 0:
            log.info("step %d/%d loss %.3f (%.0f s)", step, steps, total / 20, time.perf_counter() - start)
            total = 0.0
    network.eval()


def normalised(images: Images) -> Images:
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    return ((images - mean) / std).contiguous(memory_format=torch.channels_last)


# Figures ------------------------------------------------------------------------------------------------------------


HEADINGS = (
    "Classifier",
    "Accuracy",
    "p_t lost: object swapped",
    "ground swapped",
    "Accuracy lost: object",
    "ground",
    "Object's share",
)


def measured(classifier: FrozenClassifier, setting: str, *, images: int, seed: int) -> list[str]:
    """Returns the cells of a row of the table.

    They are measured on scenes outside the training set, with two other kinds for each swap.
    """
    data = ShapesInContext(setting, size=images, seed=seed)
    result = intervene(classifier, data, data.ids, draws=2, seed=seed)
    columns = result.object_effect, result.background_effect, result.object_errors, result.background_errors
    effects = [f"{column.mean():.3f}" for column in columns]
    return [f"`{setting}`", f"{100 * result.right.mean():.1f} %", *effects, f"{result.object_share:.3f}"]


def write(network: ContextNetwork, path: Path) -> None:
    """Rounds the network to half precision and writes it atomically: a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    tensors = {name: value.contiguous() for name, value in network.state_dict().items()}
    stored = {name: value.half() if value.is_floating_point() else value for name, value in tensors.items()}
    network.load_state_dict(stored)
    partial.write_bytes(save(stored))
    partial.replace(path)
    log.info("wrote %s (%d bytes)", path, path.stat().st_size)


if __name__ == "__main__":
    raise SystemExit(main())

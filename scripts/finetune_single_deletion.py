"""Fine-tunes the demo classifier on scenes with one deleted patch, so that single deletion is in its domain.

    python scripts/finetune_single_deletion.py --output outputs/demo_single_deletion.safetensors
    inr-xai classifier=custom classifier.model._target_=inr_xai.classifier.demo_network.demo_network \\
        classifier.checkpoint=outputs/demo_single_deletion.safetensors classifier.input_size=96 classifier.resize=96 \\
        'classifier.mean=[0.5,0.5,0.5]' 'classifier.std=[0.25,0.25,0.25]' 'evaluate=[single_deletion]'

The second command explains the fine-tuned classifier and measures it. As in Hesse, Schaub-Meyer, Roth, NeurIPS 2024,
half of the training images have one random patch of a 4 x 4 grid at the mean colour, and the target stays as it was.
Images and targets are those of the demo's own training. It prints the accuracy and the mean
probability of the class on whole scenes, and on scenes without the patch that has most of the object, before and after.
"""

import argparse
import logging
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int
from torch import Tensor
from train_demo_classifier import normalised, scenes_of, training_batch, write

from inr_xai.classifier.demo_network import CLASSES, SIZE, DemoNetwork, demo_network
from inr_xai.seeding import generator
from inr_xai.types import Images

log = logging.getLogger("finetune_single_deletion")
CELLS = 4
DELETED = 0.5
"""Share of the training images that lack a patch."""


def main() -> None:
    """Fine-tunes, reports and writes the network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="of the scenes and the patches (%(default)s)")
    parser.add_argument("--steps", type=int, default=400, help="batches of 64 new scenes (%(default)s)")
    parser.add_argument("--test-images", type=int, default=512, help="for each accuracy (%(default)s)")
    parser.add_argument("--output", type=Path, required=True, help="file of the weights, .safetensors")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.manual_seed(arguments.seed)
    torch.use_deterministic_algorithms(True)
    network = demo_network()
    report(network, "before", images=arguments.test_images, seed=arguments.seed)
    finetune(network, steps=arguments.steps, seed=arguments.seed)
    report(network, "after", images=arguments.test_images, seed=arguments.seed)
    write(network, arguments.output)


def finetune(network: DemoNetwork, *, steps: int, seed: int, batch: int = 64, rate: float = 4e-4) -> None:
    """Trains the network on scenes of which half lack a patch, at a rate that falls to 0; it ends in eval mode."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, steps))
    random = generator(seed, "single deletion")
    network.train()
    for step in range(1, steps + 1):
        scenes, targets = training_batch(batch, random)
        loss = F.cross_entropy(network(normalised(without_patches(scenes, random))), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 50 == 0:
            log.info("step %d/%d loss %.3f", step, steps, float(loss.detach()))
    network.eval()


def without_patches(images: Images, random: torch.Generator) -> Images:
    """Returns the images, half of them with a random patch at the mean colour; each patch is equally likely."""
    count = len(images)
    chosen = torch.randint(CELLS**2, (count,), generator=random)
    deleted = torch.rand(count, generator=random) < DELETED
    return delete(images, patches()[chosen] & deleted[:, None, None])


def delete(images: Images, pixels: Bool[Tensor, "b h w"]) -> Images:
    """Returns images with these pixels at the mean colour, which is 0 after the normalisation."""
    return images.masked_fill(pixels[:, None], 0.5)


def patches() -> Bool[Tensor, "n h w"]:
    """Returns a mask of each patch of the grid, row by row."""
    place = torch.arange(SIZE) * CELLS // SIZE
    rows = place[:, None] * CELLS + place
    return rows == torch.arange(CELLS**2)[:, None, None]


@torch.no_grad()
def report(network: DemoNetwork, when: str, *, images: int, seed: int) -> None:
    """Logs accuracy and mean probability on whole scenes, and without the patch that has most of the object."""
    random, sums = generator(seed, "test of single deletion"), torch.zeros(2, 2)
    for start in range(0, images, 128):
        kinds: Int[Tensor, " b"] = torch.arange(start, min(start + 128, images)) % CLASSES
        both = torch.ones(len(kinds), dtype=torch.bool)
        scenes = scenes_of(kinds, random, with_object=both, with_texture=both)
        covered = (scenes.coverage[:, None] * patches()).sum((2, 3)).argmax(1)
        for place, shown in enumerate((scenes.images, delete(scenes.images, patches()[covered]))):
            answers = network(normalised(shown)).softmax(1)
            sums[place, 0] += (answers.argmax(1) == kinds).sum()
            sums[place, 1] += answers.gather(1, kinds[:, None]).sum()
    log.info(
        "%s: accuracy %.4f and probability %.3f; without the patch of the object %.4f and %.3f (%d scenes)",
        *(when, *(sums / images).flatten().tolist(), images),
    )


if __name__ == "__main__":
    main()

"""What a classifier of photos leans on, by intervention: the object of each photo, or its ground, is swapped.

    python benchmarks/audit_photos.py NAME data=image_folder data.root=PHOTOS data.segmentations=MASKS \\
        classifier=timm classifier.name=NAME classifier.checkpoint=FILE          RESULTS/NAME.csv
    python benchmarks/audit_photos.py NAME --quick ...                           the first photos only
    python benchmarks/audit_photos_table.py                                      the tables of what is measured

Photos need a class and the mask of their object. Samples whose file names begin alike, up to an underscore, are crops
of one photo. A row has the probability of the photo's class after every intervention; `photo_swaps` says which there
are. What is measured already is not measured again, and a photo that fails is tried again the next time.
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from omegaconf import DictConfig
from photo_swaps import GROUNDS, OBJECTS, Photos, Variants, photo_of, swaps_of
from torch import Tensor

from inr_xai.audit.estimates import add_seam
from inr_xai.audit.groups import class_groups
from inr_xai.classifier import FrozenClassifier
from inr_xai.compare.comparison import map_facts
from inr_xai.config import composed, exit_status
from inr_xai.config.environment import stored_form
from inr_xai.digests import digest
from inr_xai.evaluate.results import DIGEST, Results
from inr_xai.fitting.trainers import device_of
from inr_xai.instantiate import build_data_and_classifier, plain
from inr_xai.limits import require_probabilities
from inr_xai.runs.loop import each_image
from inr_xai.types import Row

RESULTS = Path("benchmarks/results/audit_photos_truth")
VERSION = 1  # counts the changes of what is measured
QUICK = 2
"""How many photos --quick measures."""
EVEN, ODD, EVERY = "even", "odd", "all"
"""The photos with even numbers, on which alone anything was chosen; those with odd numbers; and both."""
log = logging.getLogger("benchmarks.audit_photos")


def main() -> int:
    """Measures the photos that the command line names, and returns the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="name of the classifier's CSV")
    parser.add_argument("overrides", nargs="*", help="options of a run: the data and the classifier")
    parser.add_argument("--quick", action="store_true", help=f"measure the first {QUICK} photos only")
    parser.add_argument("--threads", type=int, help="threads of the processor")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the CSVs (%(default)s)")
    args = parser.parse_intermixed_args()
    if args.threads is not None:
        torch.set_num_threads(args.threads)

    def work() -> int:
        cfg = composed(*args.overrides)
        photos, classifier = read_photos(cfg)
        key = digest(facts(cfg, photos))
        results = Results(args.results / f"{args.name}.csv")
        sample_ids = first_of_each_photo(photos.cuts)[:QUICK] if args.quick else list(photos.cuts)
        missing = [name for name in sample_ids if results.digest(name) != key or results.failed(name)]
        device = device_of(plain(cfg.trainer))

        def add_row(sample_id: str, place: str) -> int:
            log.info("%s", place)
            row = measure_row(photos, sample_id, classifier, device, at_once=cfg.masks_per_forward)
            results.add(sample_id, {"difficult": 0, **row, DIGEST: key}, anew=True)
            return 0

        failures = each_image(missing, add_row, note=lambda sample_id, reason: None)  # the log has the reason
        results.tidy()
        log.info("%s: %d of %d photos", results.file, len(results.rows), len(photos.cuts))
        return failures

    return exit_status(work)


def read_photos(cfg: DictConfig) -> tuple[Photos, FrozenClassifier]:
    """Returns the photos with their objects cut out, in the frame of the classifier, and the classifier."""
    data, classifier = build_data_and_classifier(cfg)
    require_probabilities(classifier.head, "an intervention")
    groups = class_groups(classifier.class_names, classifier.count_classes())
    return Photos(data.ids, data, classifier.preprocessing, groups, seed=cfg.seed), classifier


def facts(cfg: DictConfig, photos: Photos) -> Row:
    """Returns what the rows depend on."""
    drawn = {"version": VERSION, "seed": photos.seed, "grounds": GROUNDS, "objects": OBJECTS}
    return drawn | {"photos": photos.targets, "options": map_facts(stored_form(cfg))}


def first_of_each_photo(sample_ids: Sequence[str]) -> list[str]:
    """Returns one sample of each photo."""
    first = {photo_of(name): name for name in sorted(sample_ids, reverse=True)}
    return sorted(first.values())


def in_split(sample_id: str, split: str) -> bool:
    """Returns whether a sample is of the photos with even numbers, of those with odd ones, or of all.

    A photo whose name is no number counts by the number of its letters' codes, added up.
    """
    name = photo_of(sample_id)
    number = int(name) if name.isdecimal() else sum(name.encode())
    return split == EVERY or (split == EVEN) == (number % 2 == 0)


@torch.no_grad()
def measure_row(
    photos: Photos, sample_id: str, classifier: FrozenClassifier, device: torch.device, *, at_once: int
) -> Row:
    """Returns the probabilities of a photo's class after every intervention, and the areas of what was cut out."""
    swaps, target = swaps_of(photos, sample_id), photos.targets[sample_id]
    variants = swaps.variants()
    images = torch.stack([image for group in variants.values() for image in group])
    with classifier.frozen(device, images.dtype):
        logits = torch.cat([classifier(part.to(device)).float().cpu() for part in images.split(at_once)])
    probabilities = classifier.probability(logits, torch.full((len(images),), target))
    areas = {"object_area": swaps.cut.part, "object_size": add_seam(swaps.cut.part), "blob_area": swaps.blob.part}
    row: Row = {"target": target, "right": int(logits[0].argmax() == target)}
    row |= {name: float(mask.double().mean()) for name, mask in areas.items()}
    return row | packed(variants, probabilities)


def packed(variants: Variants, values: Tensor) -> Row:
    """Returns the numbers of every intervention as the text of one cell."""
    parts = values.split([len(images) for images in variants.values()])
    return {
        name: " ".join(f"{value:.6f}" for value in part.tolist()) for name, part in zip(variants, parts, strict=True)
    }


if __name__ == "__main__":
    raise SystemExit(main())

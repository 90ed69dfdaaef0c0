"""What maps of other methods, as `inr-xai compare` stored and scored them, say of where a photo's class lies.

    inr-xai compare --set SET --methods gradcam,occlusion DATA CLASSIFIER
    python benchmarks/audit_photos_maps.py NAME --set SET --methods gradcam,occlusion DATA CLASSIFIER
    python benchmarks/audit_photos_table.py

NAME is that of the classifier's CSV (benchmarks/audit_photos.py). A map is made hard at an area; its removal test is
the share of that region on the object, with a seam, times the part of the probability that is lost without it.
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from audit_photos import RESULTS
from photo_estimates import MAPS, USED
from torch import Tensor

from inr_xai.audit.measure import object_with_seam
from inr_xai.compare.comparison import DEFAULTS, MapMaker, map_facts
from inr_xai.compare.methods.base import Explainer, MethodMaps
from inr_xai.compare.methods.registry import MethodSetup, build_other_method
from inr_xai.compare.scorer import harden
from inr_xai.compare.store import MapCache, RowStore
from inr_xai.config import composed, exit_status
from inr_xai.config.environment import stored_form
from inr_xai.errors import UserError
from inr_xai.fitting.trainers import device_of
from inr_xai.instantiate import build_data_and_classifier, plain
from inr_xai.runs.csv_store import TextRow
from inr_xai.runs.files import format_csv, write_bytes
from inr_xai.types import Row, Sample

AREA = 0.1
"""The area of a region by default: that of the audit."""
log = logging.getLogger("benchmarks.audit_photos_maps")


def main() -> int:
    """Measures the maps that the command line names, and returns the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="name of the classifier's CSV")
    parser.add_argument("overrides", nargs="*", help="options of the comparison: the data and the classifier")
    parser.add_argument("--set", required=True, help="name of the comparison's set of photos")
    parser.add_argument("--methods", default="gradcam,occlusion", help="names with commas between (%(default)s)")
    parser.add_argument("--layer", help="module that class activation maps read, as in the comparison")
    parser.add_argument("--area", type=float, default=AREA, help="area of a region (%(default)s)")
    parser.add_argument("--rows", type=Path, default=Path("benchmarks/results"), help="where the comparison's CSVs are")
    parser.add_argument("--cache", type=Path, default=Path("outputs/compare"), help="where its maps are")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the CSVs (%(default)s)")
    return exit_status(lambda: measure(parser.parse_intermixed_args()))


def measure(args: argparse.Namespace) -> int:
    """Writes a CSV for each method, and returns 0, the number of failures. Raises UserError if there are no maps."""
    cfg = composed(*DEFAULTS, *args.overrides)
    data, classifier = build_data_and_classifier(cfg)
    maker = MapMaker(MapCache(args.cache / args.set), map_facts(stored_form(cfg)))
    rows, areas = RowStore(args.rows / args.set), list(cfg.areas)
    if args.area not in areas:
        raise UserError(
            f"--area {args.area:g} was not compared; choose one of {', '.join(f'{area:g}' for area in areas)}"
        )
    setup = MethodSetup(classifier, device_of(plain(cfg.trainer)), tuple(areas), layer=args.layer, seed=cfg.seed)
    for method in args.methods.split(","):
        explainer, scored = build_other_method(method, setup), rows.read(method)
        found = []
        for sample_id in data.ids:
            at_area = [
                row for row in scored.get(sample_id, []) if not row["failed"] and float(row["area"]) == args.area
            ]
            maps = stored_maps(maker, method, explainer, at_area)
            if maps is None:
                continue
            sample = data.load(sample_id, classifier.preprocessing)
            region = harden(maps, areas, sample_id, seed=cfg.seed)[:, areas.index(args.area)]
            found.append({"sample_id": sample_id} | map_row(sample, maps, region, at_area[0]))
        if not found:
            raise UserError(f"there are no scored maps of {method!r} in set {args.set!r}; run inr-xai compare first")
        file = args.results / MAPS / f"{args.name}.{method}.csv"
        write_bytes(file, format_csv(found).encode())
        log.info("%s: %d photos", file, len(found))
    return 0


def stored_maps(maker: MapMaker, method: str, explainer: Explainer, scored: Sequence[TextRow]) -> MethodMaps | None:
    """Returns the stored maps of a photo that was scored; None if it was not, or its maps are not there."""
    if len(scored) != 1:
        return None
    return maker.stored(method, explainer, int(scored[0]["target"]), scored[0]["image_id"])


def map_row(sample: Sample, maps: MethodMaps, region: Tensor, scored: TextRow) -> Row:
    """Returns what a map says of a sample.

    Args:
        region: the hard mask, or those of several draws.
        scored: the row of the comparison at the area of the region.
    """
    truth = object_with_seam(sample)
    if truth is None:
        raise UserError(f"{sample.sample_id!r} has no object; give data.segmentations")
    share = float((region & truth).sum() / region.sum())
    left = sum(float(scored[f"deletion_hard_{name}"]) for name in USED) / len(USED) / float(scored["p_full"])
    heat = maps.heatmaps.double().mean(0).clamp_min(0)
    mass = float(heat[truth].sum() / heat.sum().clamp_min(torch.finfo(heat.dtype).tiny))
    return {"on the object": f"{mass:.6f}", "removal test": f"{share * (1 - left):.6f}"}


if __name__ == "__main__":
    raise SystemExit(main())

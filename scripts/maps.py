"""Heatmaps of other methods for the images of a finished run, for `python -m inr_xai.evaluate RUN --maps FOLDER`.

    python scripts/maps.py RUN --methods gradcam,layercam,occlusion           into RUN/maps/<method>/<image_id>.npy
    python scripts/maps.py RUN --methods torchray --limit 40 data.root=PATH   of the first images; they have moved

Every map explains the class that the run explains. Of a method with a mask per area, the map is the sum of its masks.
What is there already is not computed again; maps of other settings than RUN/maps/<method>/settings.json are refused.
"""

import argparse
import io
import json
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np

from inr_xai.assembly import build, plain
from inr_xai.config import exit_status
from inr_xai.errors import UserError
from inr_xai.evaluate import configuration, facts_of
from inr_xai.files import read_json, write_bytes, write_json
from inr_xai.peers.explainer import Explainer
from inr_xai.peers.grid import heatmaps
from inr_xai.peers.methods import OTHERS, Conditions, build_other
from inr_xai.render import Run, load
from inr_xai.results import differences
from inr_xai.trainers import device_of
from inr_xai.types import Image

SETTINGS = "settings.json"
log = logging.getLogger(__name__)


def main() -> int:
    """Makes the maps; the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("overrides", nargs="*", help="options of the run to change, such as data.root=PATH")
    parser.add_argument("--methods", default="gradcam", help=f"some of {', '.join(OTHERS)}")
    parser.add_argument("--layer", help="module that class activation maps read (the last feature map)")
    parser.add_argument("--limit", type=int, help="explain the first so many images alone")
    args = parser.parse_intermixed_args()
    return exit_status(lambda: make_maps(args))


def make_maps(args: argparse.Namespace) -> int:
    """The maps of every method and image; how many failed."""
    run = load(args.run)
    cfg = configuration(run, args.overrides)
    data, classifier, device = build(cfg.data), build(cfg.classifier), device_of(plain(cfg.trainer))
    conditions = Conditions(classifier, device, tuple(cfg.areas), layer=args.layer, seed=cfg.seed)
    methods = {name: build_other(name, conditions) for name in args.methods.split(",")}
    settings = {name: {"method": dict(method.settings)} | facts_of(plain(cfg)) for name, method in methods.items()}
    for name in methods:
        require_same(folder_of(args.run, name), settings[name])
    for name in methods:
        write_json(folder_of(args.run, name) / SETTINGS, settings[name])
    failures = 0
    for sample_id in list(run)[: args.limit]:
        waiting = {name: one for name, one in methods.items() if not map_file(args.run, name, sample_id).exists()}
        if not waiting:
            continue
        try:
            image = data.load(sample_id, classifier.preprocessing).image.to(device)
        except Exception as error:  # an image that cannot be read costs its own maps alone
            log.warning("%s cannot be explained: %s", sample_id, error)
            failures += len(waiting)
            continue
        failures += sum(not explained(args.run, run, name, one, sample_id, image) for name, one in waiting.items())
    return failures


def folder_of(run: Path, method: str) -> Path:
    return run / "maps" / method


def map_file(run: Path, method: str, sample_id: str) -> Path:
    return folder_of(run, method) / f"{sample_id}.npy"


def require_same(folder: Path, settings: dict[str, Any]) -> None:
    """Raises UserError where the folder has maps of other settings. Maps older than their settings' file are kept."""
    if not (folder / SETTINGS).is_file() or next(folder.rglob("*.npy"), None) is None:
        return
    if different := differences(read_json(folder / SETTINGS), json.loads(json.dumps(settings))):
        raise UserError(
            f"{folder} has maps of other settings, which differ in {', '.join(different)}; give the old ones, or move "
            "the folder away to make its maps again"
        )


def explained(folder: Path, run: Run, name: str, method: Explainer, sample_id: str, image: Image) -> bool:
    """Whether the map of one image could be made; it is written then."""
    try:
        maps = method.explain(image, run[sample_id].target, sample_id)
    except Exception as error:  # whatever another package raises costs this method this image alone
        log.warning("%s failed on %s: %s", name, sample_id, error)
        return False
    stream = io.BytesIO()
    np.save(stream, heatmaps(maps)[0].float().numpy())  # of several draws the first
    write_bytes(map_file(folder, name, sample_id), stream.getvalue())
    log.info("%s: %s, %.1f s", sample_id, name, maps.seconds)
    return True


if __name__ == "__main__":
    sys.exit(main())

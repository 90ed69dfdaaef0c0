"""Heatmaps of other methods for the images of a finished run, for `inr-xai evaluate RUN --maps FOLDER`.

    inr-xai maps RUN --methods gradcam,layercam,occlusion           into RUN/maps/<method>/<image_id>.npy
    inr-xai maps RUN --methods torchray --limit 40 data.root=PATH   of the first images, whose folder has moved

Every map explains the class that the run explains. If a method makes a mask for each area, the map is the sum of its
masks. A map that is there already is not made again; a folder of maps of other settings, as its settings.json has them,
is refused.
"""

import argparse
import io
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from inr_xai.compare.methods.base import Explainer
from inr_xai.compare.methods.registry import OTHER_METHODS, MethodSetup, build_other_method
from inr_xai.config import exit_status
from inr_xai.config.environment import stored_form
from inr_xai.data.names import id_file
from inr_xai.errors import UserError
from inr_xai.fitting.trainers import device_of
from inr_xai.instantiate import build_data_and_classifier, plain, stored_configuration
from inr_xai.moved import with_new_paths, with_old_paths
from inr_xai.runs.files import read_json, write_bytes, write_json
from inr_xai.runs.folder import differences, facts_of
from inr_xai.runs.load import load
from inr_xai.runs.loop import each_image, each_part
from inr_xai.types import Image

SETTINGS_FILE = "settings.json"
log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(
        prog="inr-xai maps", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("overrides", nargs="*", help="options of the run to change, such as data.root=PATH")
    parser.add_argument("--methods", default="gradcam", help=f"some of {', '.join(OTHER_METHODS)}")
    parser.add_argument("--layer", help="module that class activation maps read (the last feature map)")
    parser.add_argument("--limit", type=int, help="explain only the first so many images")
    args = parser.parse_intermixed_args(arguments)
    return exit_status(lambda: make_maps(args))


def make_maps(args: argparse.Namespace) -> int:
    """Makes the maps of every method and image, and returns how many failed."""
    run = load(args.run)
    cfg = stored_configuration(run.config, args.overrides)
    (data, classifier), device = build_data_and_classifier(cfg), device_of(plain(cfg.trainer))
    setup = MethodSetup(classifier, device, tuple(cfg.areas), layer=args.layer, seed=cfg.seed)
    methods = {name: build_other_method(name, setup) for name in args.methods.split(",")}
    settings = {
        name: {"method": dict(method.settings)} | facts_of(stored_form(cfg)) for name, method in methods.items()
    }
    folders = {name: args.run / "maps" / name for name in methods}
    for name, folder in folders.items():
        require_same_settings(folder, settings[name], root=cfg.data.get("root"))
    for name, folder in folders.items():
        write_json(folder / SETTINGS_FILE, settings[name])

    def explain_image(sample_id: str, place: str) -> int:
        files = {name: id_file(folder, sample_id, ".npy") for name, folder in folders.items()}
        due = {name: file for name, file in files.items() if not file.exists()}
        if not due:
            return 0
        log.info("%s", place)
        return each_part(
            sample_id,
            due,
            read=lambda: data.load(sample_id, classifier.preprocessing).image.to(device),
            work=lambda name, image: write_map(due[name], methods[name], image, run[sample_id].target, sample_id),
            note=note_nothing,
        )

    return each_image(list(run)[: args.limit], explain_image, note=note_nothing)


def note_nothing(sample_id: str, reason: str) -> None:
    """Notes no failure: the missing map shows it, and the log has the reason."""


def require_same_settings(folder: Path, settings: dict[str, Any], *, root: str | None) -> None:
    """Raises UserError if the folder has maps of other settings. Maps without a file of settings are accepted.

    Args:
        root: the folder of the run's photos; None if it has no such folder.
    """
    if not (folder / SETTINGS_FILE).is_file() or next(folder.rglob("*.npy"), None) is None:
        return
    before = with_todays_paths(read_json(folder / SETTINGS_FILE), root=root)
    now = with_old_paths(json.loads(json.dumps(settings)))
    if different := differences(before, now):
        raise UserError(
            f"{folder} has maps of other settings, which differ in {', '.join(different)}; give the old ones, or move "
            "the folder away to make its maps again"
        )


def with_todays_paths(stored: Mapping[str, Any], *, root: str | None) -> dict[str, Any]:
    """Returns stored settings as a run of today has them; classes that moved are named as in digests.

    Args:
        stored: the content of a file of settings: the method's settings, and options with dots in their names.
        root: the folder of the run's photos, which decides what replaces a former target (`inr_xai.moved`).
    """
    config: dict[str, Any] = {"data": {"root": root}, "classifier": {"root": root}}
    for key, value in stored.items():
        *groups, option = key.split(".")
        node = config
        for group in groups:
            node = node.setdefault(group, {})
        node[option] = value
    replaced = with_new_paths(config)
    settings: dict[str, Any] = with_old_paths({"method": replaced.get("method", {})} | facts_of(replaced))
    return settings


def write_map(file: Path, method: Explainer, image: Image, target: int, sample_id: str) -> None:
    """Makes and writes the map of one image; of several draws the first."""
    maps = method.explain(image, target, sample_id)
    stream = io.BytesIO()
    np.save(stream, maps.heatmaps[0].float().numpy())
    write_bytes(file, stream.getvalue())
    log.info("  %s: %.1f s", file.parent.name, maps.seconds)


if __name__ == "__main__":
    sys.exit(main())

"""`inr-xai explain PHOTO ...`: the options of a run that explains single photos.

    inr-xai explain photo.jpg                                      what a ResNet-50 sees in a photo
    inr-xai explain a.jpg b.jpg --classifier vit_tiny_patch16_224 --checkpoint FILE
    inr-xai explain photo.jpg --classifier torchvision:resnet18 --target 207 --preset fast areas=[0.1,0.3]

It is a run like any other, with its folder, and takes every option of a run as KEY=VALUE.
"""

import argparse
import secrets
import time
from collections.abc import Sequence
from pathlib import Path

from inr_xai.errors import UserError

SOURCES = ("timm", "torchvision", "hugging_face", "demo")
DEFAULTS = ("data=image_folder", "logger=none", "name=explain")


def overrides_of(arguments: Sequence[str]) -> tuple[list[str], Path]:
    """Returns the options of the run that the arguments of the verb ask for, and its folder.

    Raises:
        UserError: there is no photo among them.
    """
    parser = argparse.ArgumentParser(
        prog="inr-xai explain", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", nargs="+", metavar="PHOTO", help="photos, or one folder of photos; and KEY=VALUE")
    parser.add_argument(
        "--classifier",
        default="timm",
        metavar="NAME",
        help="a model of timm, or torchvision:NAME, hugging_face:NAME_OR_FOLDER",
    )
    parser.add_argument("--checkpoint", metavar="FILE", help="local weights of it (.safetensors or .pth)")
    parser.add_argument("--classes", metavar="FILE", help="the names of its classes, one a line")
    parser.add_argument("--target", default="predicted", help="which class: predicted, label, wrong or an index")
    parser.add_argument("--explanations", metavar="K", help="masks for each area, which do not overlap; or auto")
    parser.add_argument("--preset", help="fast, best or gpu")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="default: a new one under outputs/explain")
    args = parser.parse_intermixed_args(arguments)
    photos = [value for value in args.photos if Path(value).exists() or "=" not in value]
    options = [value for value in args.photos if value not in photos]
    if not photos:
        raise UserError("inr-xai explain needs a photo: inr-xai explain photo.jpg")
    token = f"{time.strftime('%Y-%m-%d_%H-%M-%S')}_{secrets.token_hex(3)}"
    folder = args.out or Path("outputs") / "explain" / token
    root = quoted(photos[0]) if len(photos) == 1 else f"[{','.join(map(quoted, photos))}]"
    chosen = [f"data.root={root}", f"data.targets={args.target}", f"out={quoted(str(folder))}"]
    chosen += classifier_options(args.classifier, args.checkpoint, args.classes)
    if args.explanations is not None:
        chosen.append(f"explanations={args.explanations}")
    if args.preset is not None:
        chosen.append(f"+preset={args.preset}")
    return [*DEFAULTS, *chosen, *options], folder


def quoted(value: str) -> str:
    """Returns a text as Hydra takes it for a value, whatever characters it has.

    >>> print(quoted("it's.jpg"))
    'it\\'s.jpg'
    """
    return "'" + value.replace("'", r"\'") + "'"


def classifier_options(name: str, checkpoint: str | None, classes: str | None) -> list[str]:
    """Returns the options of a classifier, which is one of timm's unless its name begins with another source."""
    source, _, model = name.partition(":")
    if source not in SOURCES:
        source, model = "timm", name
    options = [f"classifier={source}"]
    if model:
        options.append(f"classifier.name={quoted(model)}")
    if source == "torchvision" or checkpoint is not None:
        options.append(f"classifier.pretrained={'true' if checkpoint is None else 'false'}")
    if checkpoint is not None:
        options.append(f"classifier.checkpoint={quoted(checkpoint)}")
    if classes is not None:
        options.append(f"classifier.classes={quoted(classes)}")
    return options

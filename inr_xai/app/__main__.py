"""A page in the browser: drop a photo, choose classifier and class, and watch the masks form.

    inr-xai app                                             the classifiers that come with the package
    inr-xai app --classifier vit_tiny_patch16_224 --checkpoint FILE
    inr-xai app --classifier torchvision:resnet18 areas=[0.1,0.3] trainer.accelerator=cpu

It takes the options of a run as KEY=VALUE. Only this computer can open the page, unless --host says otherwise; photos
and results are removed at the end.
"""

import argparse
import logging
import sys
import threading
from collections.abc import Sequence
from contextlib import closing
from functools import partial

from inr_xai.config import exit_status
from inr_xai.config.compose import composed
from inr_xai.config.photos import classifier_options
from inr_xai.errors import UserError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves the page until a signal ends it, and returns the exit status."""
    logging.basicConfig(format="%(message)s")
    logging.getLogger("inr_xai").setLevel(logging.INFO)  # and no other: Gradio and matplotlib tell much
    parser = argparse.ArgumentParser(
        prog="inr-xai app", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("options", nargs="*", metavar="KEY=VALUE", help="options of a run")
    parser.add_argument(
        "--classifier", metavar="NAME", help="a model of timm, or torchvision:NAME, hugging_face:NAME_OR_FOLDER"
    )
    parser.add_argument("--checkpoint", metavar="FILE", help="local weights of it (.safetensors or .pth)")
    parser.add_argument("--classes", metavar="FILE", help="the names of its classes, one a line")
    parser.add_argument("--preset", help="fast, best or gpu, as the default of the page")
    parser.add_argument("--host", default="127.0.0.1", help="address of this machine (default: %(default)s)")
    parser.add_argument("--port", type=int, help="default: the first free one from 7860 on")
    args = parser.parse_intermixed_args(arguments)
    return exit_status(partial(_serve, args))


def wait() -> None:
    """Waits for a signal."""
    threading.Event().wait()


def _serve(args: argparse.Namespace) -> int:
    """Builds what is asked for, serves the page, and waits."""
    from inr_xai.app.page import build_page, serve  # first of all: it needs a package that may be missing

    options = _options(args)
    cfg = composed("logger=none", *options)

    from inr_xai.app.classifiers import Classifiers, embedded
    from inr_xai.app.desk import Desk
    from inr_xai.fitting.trainers import device_of
    from inr_xai.instantiate import build_method, instantiate, plain, threads_of

    device = device_of(plain(cfg.trainer))
    given = {}
    if any(option.lstrip("+").startswith("classifier") for option in options):
        given[args.classifier or str(cfg.classifier.get("name", "the given one"))] = partial(
            instantiate, cfg.classifier
        )
    classifiers = Classifiers(given | embedded(), device)
    classifiers[classifiers.names[0]]  # a checkpoint that does not fit is refused now
    desk = Desk(classifiers, build_method(cfg), partial(threads_of, cfg))
    with closing(desk), closing(build_page(desk, accelerator=device.type != "cpu")) as page:
        address = serve(desk, page, host=args.host, port=args.port)
        if args.host not in LOOPBACK:
            log.warning("whoever reaches %s can use this computer for explanations; there is no password", address)
        log.info("The page is at %s; Ctrl-C ends it.", address)
        wait()
    return 0


def _options(args: argparse.Namespace) -> list[str]:
    """Returns the options of a run that the arguments ask for. Raises UserError if one is none."""
    for option in args.options:
        if "=" not in option:
            raise UserError(f"{option!r} is no option; give KEY=VALUE, such as areas=[0.1,0.3]; photos go to the page")
    if args.classifier is None and (args.checkpoint or args.classes):
        raise UserError("--checkpoint and --classes are those of a classifier; give --classifier NAME too")
    chosen = [] if args.classifier is None else classifier_options(args.classifier, args.checkpoint, args.classes)
    preset = [] if args.preset is None else [f"+preset={args.preset}"]
    return [*chosen, *args.options, *preset]


if __name__ == "__main__":
    sys.exit(main())

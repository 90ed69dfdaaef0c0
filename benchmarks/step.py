"""What a step of a fit costs beside the classifier's own passes, on this processor or on a GPU.

    OMP_NUM_THREADS=2 python benchmarks/step.py                    all classifiers, about a quarter of an hour
    python benchmarks/step.py --quick                              a sample of under a minute
    python benchmarks/step.py --device cuda --precision bf16-mixed --parts steps --cuda-graphs on
    python benchmarks/step.py --models squeezenet --images 1,8 --parts steps,exponents

Prints a report and stores it as JSON and as Markdown under the name of the device. Its parts: steps (time, operators,
reads by the host, memory, photos a second), peers (methods of TorchRay, captum and grad-cam, which need the extra
peers), startup (time until the first step) and exponents (how the cost grows). Trained weights are read from the folder
that the environment variable INR_XAI_DATA names; without it, weights are random.
"""

import argparse
import logging
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import step_models
import torch
from step_cells import Setting, measure
from step_counter import count_operators
from step_exponents import SIZES, measure_exponents
from step_peers import NAMES, TIMED_ITERATIONS, measure_peers
from step_startup import measure_startup
from step_table import format_report

from inr_xai.config import exit_status
from inr_xai.fitting.trainers import device_of
from inr_xai.method import Method
from inr_xai.runs.files import write_bytes, write_json

FOLDER = Path("benchmarks/results/step")
PARTS = ("steps", "peers", "startup", "exponents")
IMAGES = (1, 8, 32)
REPEATS = {1: 16, 8: 6, 32: 3}
"""Number of images -> how often a step is timed; others as the next larger one."""
LONGEST_FIT = 40.0
LONG_ON_CPU = {("resnet50", 32)}
PRECISIONS = {"32": "32-true", "64": "64-true", "bf16-mixed": "bf16-mixed"}
OPTIONS = ("compile", "cuda_graphs", "channels_last")
"""Options of a method that change the speed alone."""
SAMPLE: Mapping[str, Any] = {
    "models": ("squeezenet",),
    "images": (1, 2),
    "repeats": 3,
    "longest_fit": 0.0,
    "peers": ("torchray", "gradcam"),
    "iterations": (1, 3),
    "side": 96,
    "sizes": {"images": (1, 2, 3), "areas": (1, 2, 4), "explanations": (1, 2, 3), "resolution": (64, 96, 128)},
}
"""What --quick measures."""
log = logging.getLogger("benchmarks.step")


def main(arguments: Sequence[str] | None = None) -> int:
    """Reads the command line, measures, prints and stores the report, and returns the exit status."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    log.setLevel(logging.INFO)
    args = parse(arguments)

    def work() -> int:
        if args.threads is not None:
            torch.set_num_threads(args.threads)
        # A UserError if there is no such device.
        device_of({"accelerator": "gpu" if args.device == "cuda" else "cpu", "devices": 1})
        method = Method(compile=args.compile, cuda_graphs=args.cuda_graphs, channels_last=args.channels_last)
        setting = Setting(torch.device(args.device), method, PRECISIONS[args.precision])
        found = measure_all(args, setting)
        folder, name = args.out or FOLDER, file_name(found)
        write_json(folder / f"{name}.json", found)
        write_bytes(folder / f"{name}.md", format_report(found).encode())
        print(format_report(found), end="")
        return 0

    return exit_status(work)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Returns the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a sample: one classifier, few images, few repeats")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="(%(default)s)")
    parser.add_argument("--precision", choices=list(PRECISIONS), default="32", help="(%(default)s)")
    for option in OPTIONS:
        default, flag = getattr(Method(), option), f"--{option.replace('_', '-')}"
        parser.add_argument(flag, type=on_or_off, metavar="on|off", default=default, help=f"the method's {option}")
    parser.add_argument("--models", type=names_of(step_models.MODELS), help=f"some of {','.join(step_models.MODELS)}")
    parser.add_argument("--images", type=positive_numbers, help="numbers of images, with commas between (1,8,32)")
    parser.add_argument("--parts", type=names_of(PARTS), default=PARTS, help=f"some of {','.join(PARTS)}")
    parser.add_argument("--threads", type=int, metavar="N", help="threads of the processor")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help=f"where the report is stored ({FOLDER})")
    return parser.parse_args(arguments)


def names_of(known: Sequence[str] | Mapping[str, Any]) -> Any:
    """Returns the type of an option that names some of the known, with commas between."""

    def names(text: str) -> tuple[str, ...]:
        chosen = tuple(text.split(","))
        if unknown := [name for name in chosen if name not in known]:
            raise argparse.ArgumentTypeError(f"there is no {unknown[0]!r}; choose some of {', '.join(known)}")
        return chosen

    return names


def on_or_off(text: str) -> bool:
    """Returns the value of an option that is on or off.

    >>> on_or_off("on"), on_or_off("off")
    (True, False)
    """
    if text not in ("on", "off"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither on nor off")
    return text == "on"


def positive_numbers(text: str) -> tuple[int, ...]:
    """Returns the numbers of images of the command line."""
    numbers = tuple(int(part) for part in text.split(","))
    if min(numbers) < 1:
        raise argparse.ArgumentTypeError(f"{min(numbers)} is no number of images")
    return numbers


def measure_all(args: argparse.Namespace, setting: Setting) -> dict[str, Any]:
    """Returns everything that the report says; `left_out` holds sentences of what is not measured."""
    sample = SAMPLE if args.quick else {}
    names = args.models or sample.get("models") or tuple(step_models.MODELS)
    numbers = args.images or sample.get("images") or IMAGES
    cells, peers, exponents = [], [], []
    left_out: list[str] = []
    counts = {count: count_operators(count, setting) for count in numbers if {"steps", "peers"} & set(args.parts)}
    for name in names:
        classifier, weights = step_models.build(name)
        for count in numbers if {"steps", "peers"} & set(args.parts) else ():
            if setting.device.type == "cpu" and args.models is None and (name, count) in LONG_ON_CPU:
                left_out.append(f"{name} with {count} images takes minutes on a CPU; --models {name} measures it")
                continue
            log.info("%s, %d images", name, count)
            least = min((number for number in REPEATS if number >= count), default=max(REPEATS))
            cell = measure(
                classifier,
                step_models.images(count),
                setting,
                repeats=sample.get("repeats", REPEATS[least]),
                longest_fit=sample.get("longest_fit", LONGEST_FIT),
            )
            cells.append({"model": name, "weights": weights} | cell | counts[count])
        own = [cell["passes_least_ms"] / cell["copies"] for cell in cells if cell["model"] == name]
        if "peers" in args.parts and own:
            log.info("%s, other methods", name)
            rows, missing = measure_peers(
                classifier,
                areas=setting.method.areas,
                device=setting.device,
                own_pass=min(own) / 1000,
                names=sample.get("peers", NAMES),
                iterations=sample.get("iterations", TIMED_ITERATIONS),
            )
            peers += [{"model": name} | row for row in rows]
            left_out += [f"{name}: {sentence}" for sentence in missing]
        if "exponents" in args.parts and name == names[0]:
            log.info("%s, exponents", name)
            exponents = measure_exponents(
                classifier,
                setting,
                repeats=sample.get("repeats", 7),
                side=sample.get("side", step_models.SIDE),
                sizes=sample.get("sizes", SIZES),
            )
    return describe(setting) | {
        "of_exponents": {"model": names[0], "side": sample.get("side", step_models.SIDE)},
        "cells": cells,
        "peers": peers,
        "startup": measure_startup(args.device) if "startup" in args.parts else {},
        "exponents": exponents,
        "left_out": left_out,
    }


def describe(setting: Setting) -> dict[str, Any]:
    """Returns what the report says of the machine and of the fits."""
    method = setting.method
    return {
        "device": device_name(setting.device),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "precision": setting.precision,
        "options": {option: getattr(method, option) for option in OPTIONS},
        "method": {"areas": list(method.areas), "steps": method.steps, "passes": method.passes},
    }


def device_name(device: torch.device) -> str:
    """Returns the name of the GPU, or of the processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return (names or [platform.processor() or platform.machine()])[0]


def file_name(found: Mapping[str, Any]) -> str:
    """Returns the name of the report's files: of the device, and of what differs from the usual.

    >>> options = {"compile": False, "cuda_graphs": True, "channels_last": None}
    >>> file_name({"device": "NVIDIA H200", "precision": "bf16-mixed", "options": options})
    'nvidia_h200_bf16_mixed_cuda_graphs'
    """
    precision = [] if found["precision"] == "32-true" else [found["precision"]]
    usual = Method()
    options = [
        name if value else f"no_{name}" for name, value in found["options"].items() if value is not getattr(usual, name)
    ]
    words = "_".join([found["device"], *precision, *options])
    return re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")


if __name__ == "__main__":
    sys.exit(main())

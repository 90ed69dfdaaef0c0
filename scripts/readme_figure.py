"""Makes docs/figures/demo.png, the README's picture: one sample of the demo run."""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Runs the demo and copies one of its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", default="00005-ring", help="which of the demo's samples to show")
    parser.add_argument("--output", type=Path, default=CHECKOUT / "docs" / "figures" / "demo.png")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(CHECKOUT / "train.py"), "logger=none", f"out={folder}"]
        subprocess.run(command, check=True)
        args.output.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(Path(folder) / "figures" / f"{args.sample}.png", args.output)


if __name__ == "__main__":
    main()

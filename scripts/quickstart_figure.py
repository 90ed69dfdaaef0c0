"""Makes docs/figures/chelsea.png, the README's second picture: a photo of scikit-image, explained for a model of timm.

    python scripts/quickstart_figure.py --weights FILE

The photo is Chelsea the cat by Stefan van der Walt, CC0. What `print(explanation)` says is stored in the picture, under
`Description`, so that a test can compare it with the README.
"""

import argparse
from io import BytesIO
from pathlib import Path

import timm
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from skimage import data

import inr_xai
from inr_xai.figures import figure_bytes

CHECKOUT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Explains the photo as the README does, and writes the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True, help="file with the weights of the model")
    parser.add_argument("--model", default="vit_tiny_patch16_224", help="a model of timm")
    parser.add_argument("--areas", type=float, nargs="+", default=[0.1, 0.2, 0.4])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--output", type=Path, default=CHECKOUT / "docs" / "figures" / "chelsea.png")
    args = parser.parse_args()
    model = timm.create_model(args.model, checkpoint_path=args.weights)
    explanation = inr_xai.explain(
        model, Image.fromarray(data.chelsea()), areas=args.areas, steps=args.steps, names=["chelsea"]
    )
    print(explanation)
    write(explanation, args.output)


def write(explanation: inr_xai.Explanation, output: Path) -> None:
    """Writes the figure in few colours, with what the explanation says of itself."""
    picture = Image.open(BytesIO(figure_bytes(explanation.plot(), "png", dpi=130))).convert("RGB")
    note = PngInfo()
    note.add_text("Description", repr(explanation))
    picture.quantize(256, dither=Image.Dither.NONE).save(output, pnginfo=note, optimize=True)


if __name__ == "__main__":
    main()

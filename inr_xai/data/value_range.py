"""Which values of a photo are black and white, if it has more than 8 bits.

The rule, for integers and floats alike: black is 0, and white is the full scale of the smallest kind that holds all
values: 1 (floats only), 255, 4,095 (12 bits) or 65,535. A photo with negative, larger or no finite values has no such
scale and fails; the option data.range=[LOW,HIGH] settles it for all photos. Values of 8 bits are always 0 to 255.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float
from PIL import Image

from inr_xai.data.image_file import row_strips
from inr_xai.errors import UserError

Range = tuple[float, float]
"""The values that become black and white."""
FULL_SCALES = (1, 255, 4095, 65535)
LARGEST = 1e38
"""The largest value of black or white, up to what a photo of floats can hold."""
AMBIGUOUS = {True: (255, 4095), False: (4095,)}
"""Whether values are integers -> full scales that are a guess, since such files mostly have 16 bits or unit range."""


def parse_range(option: object) -> Range | None:
    """Returns the option data.range as two numbers; None for the rule. Raises UserError for anything else.

    >>> parse_range([0, 4095])
    (0.0, 4095.0)
    """
    if option is None:
        return None
    numbers = list(option) if isinstance(option, Sequence) and not isinstance(option, str) else []
    real = all(isinstance(number, int | float) and not isinstance(number, bool) for number in numbers)
    if len(numbers) != 2 or not real or not numbers[0] < numbers[1] or not all(abs(end) <= LARGEST for end in numbers):
        raise UserError(
            f"data.range={option!r} is not allowed; give the values of black and white, such as data.range=[0,4095], "
            "or null"
        )
    return float(numbers[0]), float(numbers[1])


def is_wide(image: Image.Image) -> bool:
    """Returns whether the image has grey values of more than 8 bits."""
    return image.mode.startswith(("I", "F"))


def values_seen(image: Image.Image) -> Range:
    """Returns the smallest and the largest value; NaN if one is NaN."""
    ends = [(values.min(), values.max()) for _, values in value_strips(image)]
    low, high = np.min([low for low, _ in ends]), np.max([high for _, high in ends])
    return float(low), float(high)


def range_of(image: Image.Image) -> tuple[Range, str]:
    """Returns the range by the rule, and a warning if it is a guess, else an empty text.

    Raises:
        ValueError: a value is negative, too large, or not finite.
    """
    low, high = values_seen(image)
    integers = image.mode != "F"
    shown = "NaN" if math.isnan(low) else f"{low:g} to {high:g}"
    if not (low >= 0 and high <= FULL_SCALES[-1]):
        raise ValueError(
            f"its values are {shown}, which has no known black and white; give them by data.range=[LOW,HIGH], such as "
            "data.range=[-1000,1000]"
        )
    top = next(scale for scale in FULL_SCALES[int(integers) :] if high <= scale)
    guess = top in AMBIGUOUS[integers] and high > 0
    warning = f"its values are {shown} and are read as 0 to {top}; data.range=[LOW,HIGH] sets black and white"
    return (0.0, float(top)), warning if guess else ""


def wide_to_rgb(image: Image.Image, limits: Range) -> Image.Image:
    """Returns a grey photo in RGB, in which `limits` are 0 and 255; values outside are clipped, and NaN is black."""
    low, high = limits
    result = Image.new("RGB", image.size)
    for top, values in value_strips(image):
        known = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
        scaled = np.rint((known.clip(low, high) - low) * (255.0 / (high - low)))
        result.paste(Image.fromarray(scaled.astype(np.uint8)).convert("RGB"), (0, top))
    return result


def value_strips(image: Image.Image) -> Iterator[tuple[int, Float[np.ndarray, "h w"]]]:
    """Yields the first row and the values of strips of the image, in double precision."""
    for top, strip in row_strips(image):
        yield top, np.asarray(strip, dtype=np.float64)

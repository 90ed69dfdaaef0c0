"""The colour science of the tests: WCAG's contrast, CIE L*a*b*, CIEDE2000, and how the colour-blind see.

- sRGB to and from linear light: IEC 61966-2-1. Relative luminance and contrast: WCAG 2.1.
- CIEDE2000: Sharma, Wu and Dalal, "The CIEDE2000 color-difference formula", Color Research and Application 30, 2005.
- Deuteranopia and protanopia: Machado, Oliveira and Fernandes, "A physiologically-based model for simulation of color
  vision deficiency", IEEE TVCG 15, 2009, severity 1.0, applied to linear light.
"""

import numpy as np

LUMINANCE = np.array([0.2126, 0.7152, 0.0722])
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
WHITE = np.array([0.95047, 1.0, 1.08883])  # D65
VISION = {
    "normal": np.eye(3),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
}
"""How someone sees linear red, green and blue."""


def srgb(colour: str) -> np.ndarray:
    """Returns a colour such as "#ff0080" as three values in [0, 1]."""
    return np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255


def linear(colours: np.ndarray) -> np.ndarray:
    """Returns the linear light of sRGB values in [0, 1], of shape ... x 3."""
    colours = np.asarray(colours, dtype=float)
    return np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)


def encoded(light: np.ndarray) -> np.ndarray:
    """Returns the sRGB values of linear light, which is clipped to [0, 1]."""
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def contrast(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Returns WCAG's contrast of sRGB colours, from 1 to 21."""
    one, other = linear(first) @ LUMINANCE, linear(second) @ LUMINANCE
    return (np.maximum(one, other) + 0.05) / (np.minimum(one, other) + 0.05)


def seen(colours: np.ndarray, vision: str) -> np.ndarray:
    """Returns the sRGB colours that normal eyes see as someone with that vision sees these."""
    return encoded(linear(colours) @ VISION[vision].T)


def lab(colours: np.ndarray) -> np.ndarray:
    """Returns L*, a* and b* of sRGB colours under D65."""
    ratio = linear(colours) @ TO_XYZ.T / WHITE
    f = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


def ciede2000(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Returns the CIEDE2000 difference of L*a*b* colours, of shape ... x 3."""
    (l1, a1, b1), (l2, a2, b2) = np.moveaxis(np.asarray(first, float), -1, 0), np.moveaxis(np.asarray(second), -1, 0)
    mean = (np.hypot(a1, b1) + np.hypot(a2, b2)) / 2
    stretch = 1.5 - 0.5 * np.sqrt(mean**7 / (mean**7 + 25.0**7))
    c1, c2 = np.hypot(stretch * a1, b1), np.hypot(stretch * a2, b2)
    h1, h2 = (np.degrees(np.arctan2(b, stretch * a)) % 360 for a, b in ((a1, b1), (a2, b2)))
    grey = c1 * c2 == 0
    turn = np.where(grey, 0, (h2 - h1 + 180) % 360 - 180)
    turn = np.where((turn == -180) & (h2 > h1), 180, turn)
    hue = np.where(grey, h1 + h2, np.where(abs(h1 - h2) <= 180, (h1 + h2) / 2, (h1 + h2 + 360) / 2 % 360))
    lightness, chroma = (l1 + l2) / 2, (c1 + c2) / 2
    waves = ((-0.17, 1, -30), (0.24, 2, 0), (0.32, 3, 6), (-0.20, 4, -63))
    weight = 1 + sum(size * np.cos(np.radians(times * hue + shift)) for size, times, shift in waves)
    s_l = 1 + 0.015 * (lightness - 50) ** 2 / np.sqrt(20 + (lightness - 50) ** 2)
    s_c, s_h = 1 + 0.045 * chroma, 1 + 0.015 * chroma * weight
    rotation = -2 * np.sqrt(chroma**7 / (chroma**7 + 25.0**7))
    rotation = rotation * np.sin(np.radians(60 * np.exp(-(((hue - 275) / 25) ** 2))))
    d_l, d_c = (l2 - l1) / s_l, (c2 - c1) / s_c
    d_h = 2 * np.sqrt(c1 * c2) * np.sin(np.radians(turn / 2)) / s_h
    return np.sqrt(d_l**2 + d_c**2 + d_h**2 + rotation * d_c * d_h)


def smallest_difference(colours: np.ndarray, vision: str) -> float:
    """Returns the smallest CIEDE2000 difference of two of the sRGB colours, n x 3, as someone sees them."""
    found = lab(seen(colours, vision))
    first, second = np.triu_indices(len(found), 1)
    return float(ciede2000(found[first], found[second]).min())

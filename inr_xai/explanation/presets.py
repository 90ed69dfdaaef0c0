"""The presets of the command line (conf/preset) as options of `Method`; a test compares the two."""

from collections.abc import Callable
from typing import Any

from inr_xai.area import AreaProjection
from inr_xai.classifier.start import NoStart
from inr_xai.errors import UserError, did_you_mean
from inr_xai.inr import PyramidINR
from inr_xai.perturbation import Jitter, Mixture, Reveal

PRESETS: dict[str, Callable[[], dict[str, Any]]] = {
    "fast": lambda: {"steps": 25, "decay": 0.5, "area_rule": AreaProjection(0.5)},
    "best": lambda: {"steps": 200},
    "gpu": lambda: {"masks_per_forward": 256, "cuda_graphs": True, "channels_last": True},
    "pyramid": lambda: {
        "inr": PyramidINR,
        "start": NoStart(),
        "perturbation": Mixture(counts=[1] * 5),
        "decay": 1.0,
        "jitter": Jitter(),
        "reveal": Reveal(),
    },
}
"""Name -> what makes its options."""


def preset_options(name: str | None) -> dict[str, Any]:
    """Returns the options of a preset; none for None. Raises UserError if there is no such preset."""
    if name is None:
        return {}
    if name not in PRESETS:
        raise UserError(f"preset={name!r} is none of {', '.join(PRESETS)}{did_you_mean(str(name), PRESETS)}")
    return PRESETS[name]()

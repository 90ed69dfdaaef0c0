"""Where a fit starts: nowhere, from one gradient of the classifier, from windows too, or from maps in a folder.

A `Start` gives each image a map once, and each explanation the field that its INR draws at the first step. An amortised
network is one more subclass: it sees the classifier, the images, their targets, the free pixels and the areas.
"""

from abc import ABC, abstractmethod
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from inr_xai.blur import gaussian_blur
from inr_xai.classifier.feature_maps import evidence_maps
from inr_xai.classifier.frozen import in_parts
from inr_xai.errors import UserError
from inr_xai.limits import require_numbers
from inr_xai.types import Areas, Batch, Classifier, Free

StartMaps = tuple[Float[Tensor, "b h w"] | None, dict[int, str]]
"""A map for each image, of any scale; None if no image has one. And position in the batch -> why it cannot have one."""
FLAT = 1e-6
"""Free pixels whose standard deviation is less than this part of the largest value are constant up to rounding."""


WINDOWS, WINDOW, EDGE = 4, 0.42, 0.018
"""Windows along each axis, their side and the deviation of the blur of their edges, as parts of the image's side."""


class Start(ABC):
    """What the INR of an image draws at the first step."""

    passes: float = 0.0
    """Classifier passes (forward and backward) for each image, once for all its explanations."""
    scale: float = 0.5
    """Standard deviation of the field at the first step."""
    explains_any_class: bool = True
    """Whether it starts fits of any image, class and model, and not only of those that it was given maps of."""

    @abstractmethod
    def maps(self, classifier: Classifier, batch: Batch, *, at_once: int) -> StartMaps:
        """Returns a map for each image, which is larger where its target is; NaN where an image has none.

        Args:
            classifier: frozen on the device and in the dtype of the images.
            at_once: images that may go through the classifier together; fewer do if the memory does not suffice.
        """

    def field(
        self,
        maps: Float[Tensor, "b h w"],
        classifier: Classifier,
        batch: Batch,
        *,
        areas: Areas,
        free: Free | None,
    ) -> Float[Tensor, "b h w"]:
        """Returns the field of the next explanation: the map, with mean 0 and deviation `scale` on the free pixels.

        It is 0 on pixels that are free at no area, so that what an earlier explanation took draws no attention, and NaN
        for an image whose free pixels have no map, or a constant one: its INR starts as it was drawn.

        Args:
            maps: what `maps` has returned for these images.
            free: the pixels that the explanation may use; None for all.
        """
        usable = torch.ones_like(maps, dtype=torch.bool) if free is None else free.any(1)
        values, counts = maps.where(usable, 0), usable.sum((-2, -1), keepdim=True)
        centred = (maps - values.sum((-2, -1), keepdim=True) / counts).where(usable, 0)
        deviation = (centred.square().sum((-2, -1), keepdim=True) / counts).sqrt()
        flat = ~(deviation > FLAT * values.abs().amax((-2, -1), keepdim=True))  # also if it is NaN
        return (self.scale * centred / deviation).masked_fill(flat, torch.nan)


class NoStart(Start):
    """Every INR starts as it was drawn."""

    def maps(self, classifier: Classifier, batch: Batch, *, at_once: int) -> StartMaps:
        return None, {}


class GradientStart(Start):
    """Starts where one gradient of the target's logit points: LayerCAM of the deepest feature map, see `feature_maps`.

    It draws nothing, and costs one pass for each image.

    Args:
        scale: standard deviation of the field at the first step.
    """

    passes = 1.0

    def __init__(self, *, scale: float = 0.5):
        require_numbers("start", scale=scale)
        self.scale = scale

    def maps(
        self, classifier: Classifier, batch: Batch, *, at_once: int, reference: Float[Tensor, "c 1 1"] | None = None
    ) -> StartMaps:
        """Returns the maps of `feature_maps.evidence_maps`.

        Args:
            reference: the colour whose activations are taken off; None takes off nothing.
        """

        def trace(some: slice) -> Tensor:
            images = batch.images[some]
            plain = None if reference is None else reference.expand_as(images)
            return evidence_maps(classifier, images, batch.targets[some], reference=plain)

        return torch.cat(in_parts(trace, len(batch), at_once, of=classifier)), {}


class WindowStart(Start):
    """Starts where windows of the image keep the class, and where one gradient points at what the image adds.

    Square windows on the mean colour take turns over the image, and each pixel has the mean log-probability of those
    that show it. The LayerCAM of what the image adds to its mean colour (see `feature_maps`) is added, both with
    deviation 1: it says where in a window, and the windows say where its evidence is enough for the class.

    It draws nothing. Forward passes count half.

    Args:
        scale: standard deviation of the field at the first step.
        gradient: weight of the feature map, whose deviation is 1 as that of the windows is; 0 leaves it out.
    """

    def __init__(self, *, scale: float = 0.5, gradient: float = 1.0):
        require_numbers("start", scale=scale, gradient=gradient)
        self.scale, self.gradient = scale, gradient

    @property
    def passes(self) -> float:  # type: ignore[override]
        return WINDOWS**2 / 2 + (1.5 if self.gradient else 0)

    def maps(self, classifier: Classifier, batch: Batch, *, at_once: int) -> StartMaps:
        colour = batch.images.new_tensor(classifier.colour_mean)[:, None, None]
        maps = _standardised(window_maps(classifier, batch, colour, at_once=at_once))
        if not self.gradient:
            return maps, {}
        cams, _ = GradientStart().maps(classifier, batch, at_once=at_once, reference=colour)
        assert cams is not None
        return maps.nan_to_num(0.0) + self.gradient * _standardised(cams).nan_to_num(0.0), {}


def window_maps(
    classifier: Classifier, batch: Batch, colour: Float[Tensor, "c 1 1"], *, at_once: int
) -> Float[Tensor, "b h w"]:
    """Returns for each pixel the mean log-probability of the target over the windows that show it.

    Args:
        colour: what stands around a window.
        at_once: windows that may go through the classifier together.
    """
    windows = window_masks((batch.images.shape[-2], batch.images.shape[-1])).to(batch.images)
    count = len(windows)
    places = torch.cartesian_prod(torch.arange(len(batch)), torch.arange(count)).to(batch.targets)

    @torch.no_grad()
    def ask(some: slice) -> Tensor:
        image, window = places[some].unbind(1)
        logits = classifier(torch.lerp(colour, batch.images[image], windows[window].unsqueeze(1)))
        shown = classifier.probability(logits, batch.targets[image])
        scores = shown if classifier.head == "none" else shown.clamp(min=torch.finfo(shown.dtype).tiny).log()
        return scores.to(windows)

    kept = torch.cat(in_parts(ask, len(places), at_once, of=classifier)).view(len(batch), count, 1, 1)
    return (kept * windows).sum(1) / windows.sum(0)


def window_masks(size: tuple[int, int]) -> Float[Tensor, "n h w"]:
    """Returns masks of square windows of soft edges, evenly spaced, which together show every pixel."""
    sides = [round(WINDOW * side) for side in size]
    masks = torch.zeros(WINDOWS**2, *size)
    for place, mask in enumerate(masks):
        top, left = (
            round(number * (side - window) / (WINDOWS - 1))
            for number, side, window in zip(divmod(place, WINDOWS), size, sides, strict=True)
        )
        mask[top : top + sides[0], left : left + sides[1]] = 1
    return gaussian_blur(masks.unsqueeze(1), EDGE * min(size)).squeeze(1)


def _standardised(maps: Float[Tensor, "b h w"]) -> Float[Tensor, "b h w"]:
    """Returns maps of mean 0 and deviation 1; NaN for a constant one."""
    centred = maps - maps.mean((-2, -1), keepdim=True)
    deviation = centred.square().mean((-2, -1), keepdim=True).sqrt()
    return (centred / deviation).masked_fill(~(deviation > FLAT * maps.abs().amax((-2, -1), keepdim=True)), torch.nan)


class MapStart(Start):
    """Starts from maps of the input that another tool made: `<folder>/<sample id>.npy`, or .safetensors of one tensor.

    Args:
        folder: path of the maps.
        scale: standard deviation of the field at the first step.

    Raises:
        UserError: there is no such folder.
    """

    explains_any_class = False

    def __init__(self, folder: str, *, scale: float = 0.5):
        require_numbers("start", scale=scale)
        if not Path(folder).is_dir():
            raise UserError(f"start.folder={folder} is no folder; give one with <image_id>.npy or .safetensors files")
        self.folder, self.scale = folder, scale

    def maps(self, classifier: Classifier, batch: Batch, *, at_once: int) -> StartMaps:
        maps, failures = torch.full_like(batch.images[:, 0], torch.nan), {}
        for place, sample_id in enumerate(batch.sample_ids):
            try:
                stored = self._read(sample_id, (maps.shape[-2], maps.shape[-1]))
            except UserError as error:
                failures[place] = str(error)
            else:
                maps[place] = stored.to(maps)
        return maps, failures

    def _read(self, sample_id: str, size: tuple[int, int]) -> Float[Tensor, "h w"]:
        from inr_xai.data.stored_maps import find_map, read_map  # late: other starts read no file

        file = find_map(Path(self.folder), sample_id)
        if file is None:
            raise UserError(
                f"start.folder={self.folder} has no map of {sample_id!r}; name its file after the image's id, or leave "
                "the image out"
            )
        stored = read_map(file)
        if tuple(stored.shape) != size:
            raise UserError(
                f"start.folder: {str(file)!r} holds a map of {stored.shape[0]} x {stored.shape[1]} pixels, and the "
                f"input has {size[0]} x {size[1]}; resize it to the input"
            )
        return stored

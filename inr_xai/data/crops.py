"""The photo of which an image is a crop, as the image's id tells it."""

import re

from inr_xai.errors import UserError


class CropNames:
    """Reads the photo of a crop from the crop's id.

    >>> CropNames(r"(\\d+)_crop").photo_of("horses/0034_crop2")
    '0034'

    Args:
        pattern: a regular expression whose first group is the photo's name; None if every image is a photo of its own.

    Raises:
        UserError: it is no regular expression, or has no group.
    """

    def __init__(self, pattern: str | None):
        try:
            self._pattern = None if pattern is None else re.compile(pattern)
        except re.error as error:
            raise UserError(
                f"data.photo={pattern!r} is no regular expression ({error}); give one such as '(.*)_'"
            ) from error
        if self._pattern is not None and not self._pattern.groups:
            raise UserError(
                f"data.photo={pattern!r} has no group that names the photo; put its name into (), as in '(.*)_'"
            )

    def photo_of(self, image_id: str) -> str:
        """Returns the name of the photo; the id itself where the pattern is not found, or finds no name."""
        found = None if self._pattern is None else self._pattern.search(image_id)
        return image_id if found is None else found[1] or image_id

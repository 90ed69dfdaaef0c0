"""Whether a map or mask lies on the object, as a segmentation or boxes mark it."""

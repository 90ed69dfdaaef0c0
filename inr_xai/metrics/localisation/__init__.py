"""Whether a map or mask lies on the object that a segmentation or boxes mark."""

"""Whether an explanation stays the same under small changes, and depends on the model and the class."""

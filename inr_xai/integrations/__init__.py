"""Other people's tools: our masks as methods of their packages, and as a callback of their training.

Each module is imported by its name, since it may need the package that it is for.
"""

SHARED_ID = "image"
"""The name from which the random draws of every image derive where tests explain changed images, if none are given."""

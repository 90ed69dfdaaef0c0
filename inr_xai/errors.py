"""The one exception for what a user can mend: a sentence that names the cause and the remedy. And exit statuses."""

REFUSED, IMAGES_FAILED, INTERRUPTED = 2, 3, 130
"""How the programs exit beside 0 (done) and 1 (a bug, with its traceback)."""


class UserError(ValueError):
    """Raised for bad input; the command line prints its message alone, without a traceback."""

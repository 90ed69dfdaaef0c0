"""The one exception for what a user can mend: a sentence that names the cause and the remedy."""


class UserError(ValueError):
    """Raised for bad input; the command line prints its message alone, without a traceback."""

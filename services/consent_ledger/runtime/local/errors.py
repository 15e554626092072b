"""The one error of local servers."""


class LocalServerError(Exception):
    """A local server cannot start; the text says why and what to do, and never holds data."""

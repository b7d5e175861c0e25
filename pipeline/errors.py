"""The one exception that stands for a mistake in the book's sources or in a command."""


class BookError(Exception):
    """Something the author or the caller can mend; its text says what and where, and is all that they see."""

"""Text that strangers wrote, fit to be shown."""


def printable(text: str) -> str:
    """A text in which nothing ends a line or commands a terminal: letters that cannot be printed are written as escapes."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)

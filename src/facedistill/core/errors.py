"""The one exception a user may cause: bad input. The command line prints it in one line and exits with code 2."""


class InputError(Exception):
    """What the user gave is missing, broken or not allowed: one line with the file or key, what is wrong, what is allowed."""

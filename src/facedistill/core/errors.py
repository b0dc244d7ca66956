"""The one exception a user may cause: bad input. The command line prints it in one line and exits with code 2."""


class InputError(Exception):
    """Something the user gave is missing, broken or not allowed.

    The message is one line that names the file or key, says what is wrong and what is allowed.
    """

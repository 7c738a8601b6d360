"""The one exception that users are meant to see."""


class RbdmlError(Exception):
    """Bad input or a bad environment, told in one line: the cause, then the remedy.

    The command line prints the message without a traceback and exits with code 2. Anything else that
    escapes is a bug of ours and keeps its traceback.
    """


class DivergedError(RbdmlError):
    """Training came to a loss that is not finite; going on from its checkpoint would come to the same."""

"""The errors that xpnet raises on purpose.

Every message says what was given, what is allowed and how to go on. A wrong value for an argument
is a plain `ValueError` or `TypeError`; the classes here are for what a program may want to catch.
"""


class XpnetError(Exception):
    """The base of xpnet's own errors."""


class BackendUnavailable(XpnetError, RuntimeError):  # noqa: N818 - the name users read in a traceback
    """A backend or device cannot be used here; the message is one sentence with reason and fix."""


class DataError(XpnetError, ValueError):
    """Data that is missing, corrupt or inconsistent; the message names the file or argument."""


class DataWarning(UserWarning):
    """Data that can be used, but is probably not what was meant; said once in a training."""


class CheckpointError(XpnetError, ValueError):
    """A saved network that cannot be read, or does not fit the model it is loaded into."""


class ExportError(XpnetError, ValueError):
    """A network that a format cannot hold; the message names the layer or array."""


class RunError(XpnetError, OSError):
    """A run folder that cannot be written, or that does not hold what a finished run holds."""


class TrainingDiverged(XpnetError, ArithmeticError):  # noqa: N818 - a state of the training
    """The loss became infinite or not a number."""


class OutOfMemory(XpnetError, MemoryError):  # noqa: N818 - as MemoryError, which it is
    """A training needs more memory than the device, or the host, has."""


def one_line(error: BaseException) -> str:
    """What an error says, on one line, to be quoted in a message."""
    return " ".join(str(error).split())

# SPDX-License-Identifier: Apache-2.0
"""Every error that bad input can cause. Catching `JahpError` catches them all; the message says what was wrong and where."""


class JahpError(Exception):
    """Base of all errors raised for bad input of any kind."""


class DeviceError(JahpError):
    """A compute device is missing, is not supported, or ran out of memory."""


class FormatError(JahpError):
    """A .jahp stream is damaged, truncated, lying or of an unknown version."""


class MissingExtra(JahpError, ImportError):
    """A part needs a package that is not installed; the message names the extra that brings it."""


class ModelError(JahpError):
    """A model file or checkpoint does not hold what it should."""


class UnknownModel(JahpError):
    """No model of that name or id is found; the message says where it was looked for."""


class UnsupportedImage(JahpError):
    """An image whose mode, type or size cannot be encoded."""


class UsageError(JahpError):
    """An argument or environment variable has a value that means nothing here."""


def first_line(error: BaseException) -> str:
    """What an error of another library says, on one line; its class where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def one_line(error: BaseException) -> str:
    """What an error says, for a terminal: names with line feeds or control characters in them are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(error))


class LossWarning(UserWarning):
    """Something of a picture is not kept that somebody may want: the message says what, and the remedy."""


__all__ = [
    "DeviceError", "FormatError", "JahpError", "LossWarning", "MissingExtra", "ModelError", "UnknownModel", "UnsupportedImage",
    "UsageError",
]  # fmt: skip

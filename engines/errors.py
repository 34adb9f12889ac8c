"""Errors that a person can act on; raised in any thread or process, imports nothing of ours."""

from __future__ import annotations


class InputError(ValueError):
    """Something the user gave cannot be used.

    ``str(error)`` is one sentence that says what is wrong, why, and what to do. The command line prints it and
    exits with code 2; the window shows it inline. Everything else that is raised is a fault of ours.

    Attributes
    ----------
    remedy : str
        What the window can offer to do about it, ``"fetch:mnist"`` for one; empty when nothing.
    """

    remedy: str = ""


class SettingError(InputError):
    """A setting has a name or a value that the paper's settings do not allow.

    Attributes
    ----------
    field : str
        Name of the setting, for the form to mark; empty when the whole set is at fault.
    """

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field

    def __reduce__(self) -> tuple[type[SettingError], tuple[str, str]]:
        return type(self), (str(self), self.field)


class DataError(InputError):
    """A data set cannot be read, fetched or used."""


class RunError(InputError):
    """A run folder, keyframe or checkpoint cannot be read or written."""


class StepError(InputError):
    """A step of training cannot be done, and the state is what it was before it: the run pauses, and may go on."""

"""Numbers at the ticks of matplotlib's axes; any thread."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.ticker import ScalarFormatter


@cache
def _number_formatter() -> type[ScalarFormatter]:
    from matplotlib.ticker import ScalarFormatter

    class Numbers(ScalarFormatter):
        """Plain numbers, with the power of ten that they have in common as mathtext.

        Matplotlib's own switch sets every single number as mathtext too, which looks the same and takes several times
        as long.
        """

        def __init__(self) -> None:
            super().__init__(useMathText=False)

        def get_offset(self) -> str:
            self.set_useMathText(True)
            try:
                return super().get_offset()
            finally:
                self.set_useMathText(False)

    return Numbers


def numbers() -> ScalarFormatter:
    """A formatter for one axis; made inside `lab.export.parameters.drawing`."""
    return _number_formatter()()


__all__ = ["numbers"]

"""Where an axis has ticks and how their values are written; plain numbers in, no Qt, any thread."""

from __future__ import annotations

import math

import numpy as np

from engines.figures import Axis

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number_text(value: float, digits: int = 4) -> str:
    """A value with ``digits`` significant figures, as a person writes it: ``1,240``, ``0.0312``, ``−2.5·10⁻⁷``."""
    if math.isnan(value):
        return "not a number"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    size = abs(value)
    if not 1e-4 <= size < 1e7:
        exponent = math.floor(math.log10(size))
        mantissa = f"{value / 10.0**exponent:.{max(digits - 2, 0)}f}".rstrip("0").rstrip(".")
        if mantissa in ("10", "-10"):
            mantissa, exponent = mantissa[:-1], exponent + 1
        power = "10" + str(exponent).translate(_SUPERSCRIPTS)
        text = power if mantissa == "1" else f"-{power}" if mantissa == "-1" else f"{mantissa}·{power}"
    else:
        decimals = max(digits - 1 - math.floor(math.log10(size)), 0)
        text = f"{value:,.{decimals}f}"
        if decimals:
            text = text.rstrip("0").rstrip(".")
    return text.replace("-", "−")


def linear_ticks(low: float, high: float, count: int) -> list[tuple[float, str]]:
    """At most about ``count`` round values in ``low``..``high`` with their texts."""
    span = high - low
    if not math.isfinite(span) or span <= 0 or count < 1:
        return []
    raw = span / count
    power = 10.0 ** math.floor(math.log10(raw))
    steps = [factor * power for factor in (0.5, 1.0, 2.0, 5.0, 10.0)]
    chosen = next((index for index, step in enumerate(steps) if index and step >= raw * 0.75), 4)
    first, last = _multiples(low, high, steps[chosen])
    if last - first < 1:
        # One value alone does not say how long a unit is.
        chosen -= 1
        first, last = _multiples(low, high, steps[chosen])
    step = steps[chosen]
    if last - first > 100:
        return []
    values = [index * step for index in range(first, last + 1)]
    return list(zip(values, _linear_texts(values, step), strict=True))


def _multiples(low: float, high: float, step: float) -> tuple[int, int]:
    return math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6)


def _linear_texts(values: list[float], step: float) -> list[str]:
    largest = max((abs(value) for value in values), default=0.0)
    exponent = math.floor(math.log10(largest)) if largest > 0 else 0
    if -4 <= exponent < 6:
        decimals = max(-math.floor(math.log10(step) + 1e-6), 0)
        return [f"{value + 0.0:,.{decimals}f}".replace("-", "−") for value in values]
    decimals = max(exponent - math.floor(math.log10(step) + 1e-6), 0)
    power = "10" + str(exponent).translate(_SUPERSCRIPTS)
    return [
        "0" if value == 0 else f"{value / 10.0**exponent:.{decimals}f}·{power}".replace("-", "−")
        for value in values
    ]


def log_ticks(low: float, high: float, count: int) -> list[tuple[float, str]]:
    """Ticks of a logarithmic axis; ``low``, ``high`` and the positions are decimal logarithms."""
    span = high - low
    if not math.isfinite(span) or span <= 0 or count < 1 or max(abs(low), abs(high)) > 300:
        return []
    decades = range(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1)
    if len(decades) >= 3 or (len(decades) == 2 and count < 4):
        stride = max(1, math.ceil(len(decades) / count))
        return [(float(decade), _power_text(decade)) for decade in decades if decade % stride == 0]
    if span > 0.5:
        factors = (1, 2, 5) if count >= 3 else (1, 3)
        inside = [
            (math.log10(factor) + decade, number_text(factor * 10.0**decade, 3))
            for decade in range(math.floor(low), math.ceil(high) + 1)
            for factor in factors
        ]
        inside = [(position, text) for position, text in inside if low - 1e-9 <= position <= high + 1e-9]
        if len(inside) >= 2:
            return inside
    return [
        (math.log10(value), text) for value, text in linear_ticks(10.0**low, 10.0**high, count) if value > 0
    ]


def _power_text(decade: int) -> str:
    if -2 <= decade <= 3:
        return number_text(10.0**decade)
    return "10" + str(decade).translate(_SUPERSCRIPTS)


def axis_ticks(axis: Axis, low: float, high: float, count: int) -> list[tuple[float, str]]:
    """The ticks of ``axis`` for a view from ``low`` to ``high`` in view coordinates, which are log10 on a log axis."""
    if axis.ticks is not None:
        positions = [(to_view(position, axis), text) for position, text in axis.ticks]
        return [(position, text) for position, text in positions if low <= position <= high]
    if axis.scale == "log":
        return log_ticks(low, high, count)
    return linear_ticks(low, high, count)


def to_view(value: float, axis: Axis) -> float:
    """A value on an axis in view coordinates: log10 of it on a log axis, NaN where that does not exist."""
    if axis.scale == "log":
        return math.log10(value) if value > 0 else math.nan
    return float(value)


def from_view(position: float, axis: Axis) -> float:
    """The value at a position in view coordinates."""
    if axis.scale == "log":
        return float(10.0 ** np.clip(position, -300, 300))
    return float(position)


__all__ = ["axis_ticks", "from_view", "linear_ticks", "log_ticks", "number_text", "to_view"]

"""What words on the command line mean: steps, times, sizes; main thread, imports nothing heavy."""

from __future__ import annotations

import argparse


def step(text: str) -> int:
    """A step of a run."""
    try:
        value = int(text.replace(",", ""))
    except ValueError:
        value = -1
    if value < 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a step: give a whole number, 0 or more")
    return value


def megabytes(text: str) -> float:
    """An amount of space; 0 is allowed."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e9:
        raise argparse.ArgumentTypeError(f"'{text}' is not an amount: give megabytes, 0 keeps no keyframes")
    return value


def seconds(text: str) -> float:
    """A time above 0."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1e7:
        raise argparse.ArgumentTypeError(f"'{text}' is not a time: give seconds above 0")
    return value


def count(text: str) -> int:
    """A whole number above 0."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if not 1 <= value <= 4096:
        raise argparse.ArgumentTypeError(f"'{text}' is not a count: give a whole number above 0")
    return value


def size(text: str) -> tuple[int, int]:
    """Width and height of a window in pixels."""
    width, _, height = text.lower().partition("x")
    if not (width.isdigit() and height.isdigit()) or not (
        1000 <= int(width) <= 8000 and 700 <= int(height) <= 8000
    ):
        raise argparse.ArgumentTypeError(
            f"'{text}' is not a size: give WIDTHxHEIGHT in pixels, at least 1000x700"
        )
    return int(width), int(height)

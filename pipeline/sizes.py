"""Sizes of pictures: what the newer models allow, and what comes nearest to a size that they do not."""

from __future__ import annotations

import itertools
import math
import re

# The rules of gpt-image-2 and later for a size (vendor's API reference, 2026-11).
EDGE_STEP = 16
MAX_EDGE = 3_840
MAX_RATIO = 3.0
MIN_PIXELS = 655_360
MAX_PIXELS = 8_294_400
SQUARE = (1024, 1024)

_SIZE = re.compile(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})\Z")


def given_size(size: str) -> tuple[int, int] | None:
    """Width and height in pixels of a size such as ``1024x1536``; None for ``auto`` and for what is no size."""
    match = _SIZE.match(size)
    return (int(match[1]), int(match[2])) if match else None


def parse_size(size: str) -> tuple[int, int]:
    """Width and height in pixels; those of ``1024x1024`` where none are given."""
    return given_size(size) or SQUARE


def allowed(width: int, height: int) -> bool:
    """Whether gpt-image-2 and later can make it."""
    return (
        width % EDGE_STEP == height % EDGE_STEP == 0
        and max(width, height) <= min(MAX_EDGE, MAX_RATIO * min(width, height))
        and MIN_PIXELS <= width * height <= MAX_PIXELS
    )


def nearest_allowed(width: int, height: int) -> str:
    """The allowed size that comes nearest."""
    ratio = min(max(width / height, 1 / MAX_RATIO), MAX_RATIO)
    pixels = min(max(width * height, MIN_PIXELS), MAX_PIXELS)
    across = round(math.sqrt(pixels * ratio) / EDGE_STEP)
    down = round(math.sqrt(pixels / ratio) / EDGE_STEP)
    # Rounding both edges can step just outside a bound: look at the neighbours on the grid.
    around = itertools.product(range(across - 3, across + 4), range(down - 3, down + 4))
    candidates = [(wide * EDGE_STEP, high * EDGE_STEP) for wide, high in around if wide > 0 and high > 0]
    best = min((size for size in candidates if allowed(*size)), key=lambda size: distance(size, (width, height)), default=SQUARE)
    return f"{best[0]}x{best[1]}"


def smallest_allowed(width: int, height: int) -> str:
    """The allowed size of that shape with the fewest pixels."""
    shrink = min(1.0, math.sqrt(MIN_PIXELS / (width * height)))
    return nearest_allowed(round(width * shrink), round(height * shrink))


def orientation(width: int, height: int) -> int:
    """1 for lying, -1 for standing, 0 for square."""
    return (width > height) - (width < height)


def distance(one: tuple[int, int], other: tuple[int, int]) -> float:
    """How far two sizes are apart: in shape first, in pixels second."""
    by_shape = abs(math.log(one[0] / one[1] / (other[0] / other[1])))
    return 8 * by_shape + abs(math.log(one[0] * one[1] / (other[0] * other[1])))

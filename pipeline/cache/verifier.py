"""The learned verifier: boosted trees over the differences of two prompts, shipped as plain JSON with the evidence for its thresholds.

``benchmarks/train_verifier.py`` makes the file. Whoever uses another encoder trains another file: cosines do not compare between encoders.
"""

from __future__ import annotations

import json
import math
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from headrace.cache.features import NAMES
from headrace.errors import UsageError

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

VERSION = 1
_LARGEST_BYTES = 16_000_000


@attrs.frozen(kw_only=True)
class OperatingPoint:
    """A threshold, and what was measured with it on prompts that were not trained with."""

    budget: float
    threshold: float
    false_hit_rate: float
    recall: float


@attrs.frozen
class _Tree:
    """Nodes by number; a leaf has feature -1 and its value in ``thresholds``."""

    features: tuple[int, ...]
    thresholds: tuple[float, ...]
    left: tuple[int, ...]
    right: tuple[int, ...]


@attrs.frozen(eq=False)
class Verifier:
    """Says how likely it is that two prompts ask for the same picture."""

    encoder: str
    """Fingerprint of the encoder whose cosines it was trained with."""
    points: tuple[OperatingPoint, ...]
    """The strictest first."""
    evidence: Mapping[str, Any]
    """What it was trained and measured with."""
    _base: float
    _trees: tuple[_Tree, ...]

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None = None) -> Verifier:
        """The shipped verifier, or the one in a file.

        Raises:
            UsageError: the file cannot be read, or is no verifier for these features.
        """
        name = "the shipped verifier" if path is None else f"the verifier {path}"
        try:
            file = resources.files("headrace.cache").joinpath("verifier.json") if path is None else Path(path)
            with file.open("rb") as stream:
                data = stream.read(_LARGEST_BYTES + 1)
        except OSError as error:
            raise UsageError(f"{name} cannot be read ({error.strerror or error})") from None
        try:
            if len(data) > _LARGEST_BYTES:
                raise ValueError("it is too large")  # noqa: TRY301 - told like all that is wrong with it
            return _structured(json.loads(data))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            said = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise UsageError(f"{name} cannot be used: {said}") from None

    def check(self, fingerprint: str) -> None:
        """Refuse another encoder.

        Raises:
            UsageError: it was trained with another one.
        """
        if fingerprint != self.encoder:
            raise UsageError(
                f"the verifier was trained with the encoder {self.encoder} and knows nothing of {fingerprint}: "
                "train one for it, or choose another policy"
            )

    def probability(self, features: Sequence[float]) -> float:
        """How likely it is the same picture, from 0 to 1."""
        total = self._base
        for tree in self._trees:
            node = 0
            while (feature := tree.features[node]) >= 0:
                node = tree.left[node] if features[feature] <= tree.thresholds[node] else tree.right[node]
            total += tree.thresholds[node]
        return 1 / (1 + math.exp(-total)) if total >= 0 else math.exp(total) / (1 + math.exp(total))

    def threshold(self, false_hit_budget: float) -> float:
        """The probability from which on a hit is within the budget.

        Raises:
            ValueError: the budget is below the smallest that was measured.
        """
        fitting = [point for point in self.points if point.budget <= false_hit_budget]
        if not fitting:
            raise ValueError(f"a false-hit budget is {self.points[0].budget:g} at the least, not {false_hit_budget:g}")
        return fitting[-1].threshold


def _structured(table: Any) -> Verifier:
    if not isinstance(table, dict) or table.get("version") != VERSION:
        raise ValueError(f"it is not of version {VERSION}")
    if table["features"] != list(NAMES):
        raise ValueError("it was made for other features")
    points = tuple(
        OperatingPoint(**{name: _number(point[name]) for name in ("budget", "threshold", "false_hit_rate", "recall")})
        for point in table["points"]
    )
    if not points or list(points) != sorted(points, key=lambda point: point.budget):
        raise ValueError("its operating points are not in order")
    if not isinstance(table["encoder"], str):
        raise TypeError("its encoder is no text")
    trees = tuple(_tree(tree) for tree in table["trees"])
    return Verifier(table["encoder"], points, dict(table["evidence"]), _number(table["base"]), trees)


def _tree(rows: Any) -> _Tree:
    # A row is [value] or [feature, threshold, right]; the left child is the next row, so that no walk can run in circles.
    features, thresholds, left, right = [], [], [], []
    for place, row in enumerate(rows):
        leaf = len(row) == 1
        feature, after = (-1, place) if leaf else (row[0], row[2])
        if not leaf and not (type(feature) is int and 0 <= feature < len(NAMES) and type(after) is int and place + 1 < after < len(rows)):
            raise ValueError("a tree has a node that leads nowhere")
        features.append(feature)
        thresholds.append(_number(row[0] if leaf else row[1]))
        left.append(place + 1)
        right.append(after)
    if not features:
        raise ValueError("a tree is empty")
    return _Tree(tuple(features), tuple(thresholds), tuple(left), tuple(right))


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{value!r:.40} is no number")
    return float(value)

"""Requests of one kind, counted: what they take of limits and of a budget follows from their number."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import attrs

from headrace.models import catalogue
from headrace.records import Request

if TYPE_CHECKING:
    from collections.abc import Iterable


@attrs.frozen
class Kind:
    """What requests ask for, but for their words."""

    model: str
    size: str
    quality: str
    n: int
    given: frozenset[str] = frozenset()
    """Which of these the line itself names: a profile does not change them."""

    @property
    def request(self) -> Request:
        """A request of this kind, without words."""
        return Request(prompt="", model=self.model, size=self.size, quality=self.quality, n=self.n)


@attrs.frozen(kw_only=True)
class Work:
    """Requests of one kind."""

    kind: Kind
    requests: int = 0
    input_tokens: int = 0
    """Of all of them."""
    image_tokens: int = 0
    """Those of the input tokens that pictures to be edited take."""

    @property
    def images(self) -> int:
        """Pictures that are asked for."""
        return self.requests * self.kind.n

    @property
    def output_tokens(self) -> int:
        """Tokens that the pictures will be billed for, by the vendor's table or formula."""
        return self.requests * catalogue().model(self.kind.model).output_tokens(self.kind.request)

    @property
    def tokens(self) -> int:
        """Tokens charged to a tokens-a-minute limit."""
        return self.input_tokens + self.output_tokens

    @property
    def cost_usd(self) -> float | None:
        """None where the model's price is unknown."""
        return catalogue().model(self.kind.model).cost_usd(self.input_tokens, self.output_tokens, self.image_tokens)

    def plus(self, input_tokens: int, image_tokens: int = 0) -> Work:
        """With one more request, whose words and pictures have so many tokens."""
        return attrs.evolve(
            self,
            requests=self.requests + 1,
            input_tokens=self.input_tokens + input_tokens,
            image_tokens=self.image_tokens + image_tokens,
        )

    def of(self, kind: Kind) -> Work:
        """As many with the same words, and of another kind."""
        return attrs.evolve(self, kind=kind)


def total_cost_usd(works: Iterable[Work]) -> float | None:
    """What all of them cost; None where the price of one is unknown."""
    costs = [work.cost_usd for work in works if work.requests]
    known = [cost for cost in costs if cost is not None]
    return sum(known) if len(known) == len(costs) else None


def sums(works: Iterable[Work]) -> dict[str, int]:
    """Prompts, pictures and tokens of all of them."""
    total: defaultdict[str, int] = defaultdict(int)
    for work in works:
        for name, value in (
            ("prompts", work.requests),
            ("images", work.images),
            ("input_tokens", work.input_tokens),
            ("output_tokens", work.output_tokens),
        ):
            total[name] += value
    return {name: total[name] for name in ("prompts", "images", "input_tokens", "output_tokens")}

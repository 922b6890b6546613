from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@attrs.define(eq=False)
class FakeStore:
    """What ``claims.lua`` does, on trio's clock; ``test_claims_script.py`` compares the two."""

    values: dict[str, tuple[str, float]] = attrs.field(factory=dict)
    """By key, with when it ends."""
    calls: list[str] = attrs.field(factory=list)
    up: bool = True

    def get(self, key: str) -> str | None:
        value, ends = self.values.get(key, ("", float("-inf")))
        return value if ends > trio.current_time() else None

    def set(self, key: str, value: str, lasts_ms: str) -> None:
        self.values[key] = value, trio.current_time() + float(lasts_ms) / 1000

    def run(self, keys: Sequence[str], asked: str, *args: str) -> Any:
        self.calls.append(asked)
        return getattr(self, f"_{asked}")(list(keys), *args)

    def _claim(self, keys: list[str], token: str, lease: str, spoilt: str) -> list[Any]:
        answers, flights = keys[: len(keys) // 2], keys[len(keys) // 2 :]
        for number, key in enumerate(answers, 1):
            if (answer := self.get(key)) is not None:
                if hashlib.sha1(answer.encode()).hexdigest() != spoilt:  # noqa: S324 - as Redis does
                    return [number, answer.encode()]
                del self.values[key]
        if any(self.get(key) is not None for key in flights):
            return [-1]
        for key in flights:
            self.set(key, token, lease)
        return [0]

    def _end(self, keys: list[str], answers: str, text: str, lasts: str, *tokens: str) -> int:
        for key in keys[: int(answers)]:
            self.set(key, text, lasts)
        for key, token in zip(keys[int(answers) :], tokens, strict=True):
            if self.get(key) == token:
                del self.values[key]
        return 1

    def _renew(self, keys: list[str], lease: str, again: str, *tokens: str) -> list[int]:
        holders = [self.get(key) for key in keys]
        for key, token, holder in zip(keys, tokens, holders, strict=True):
            if holder == token or (holder is None and again):
                self.set(key, token, lease)
        return [int(holder is None) for holder in holders]

    def _place(self, keys: list[str], new: str, lasts: str) -> bytes:
        if new and self.get(keys[0]) is None:
            self.set(keys[0], new, lasts)
        return (self.get(keys[0]) or "").encode()

    def _wait(self, keys: list[str]) -> list[int]:
        return [int(self.get(key) is not None) for key in keys]


@attrs.define(eq=False)
class FakeLink:
    """One process's way to a :class:`FakeStore`."""

    store: FakeStore
    up: bool = True
    trip_s: float = 0.01
    back_at: float = float("-inf")
    _turned: trio.Event = attrs.field(factory=trio.Event)

    async def run(self, _: str, keys: Sequence[str], *args: str) -> Any:
        await trio.sleep(self.trip_s / 2)
        if not self.store.up:
            self.turn(up=False)
            return None
        said = self.store.run(keys, *args)
        await trio.sleep(self.trip_s / 2)
        return said

    async def tried(self, script: str, keys: Sequence[str], *args: str) -> None:
        await self.run(script, keys, *args)

    async def turned(self, within_s: float) -> None:
        with trio.move_on_after(within_s):
            await self._turned.wait()

    def turn(self, *, up: bool) -> None:
        """The store is lost, or back."""
        if up != self.up:
            self.up = up
            self.back_at = trio.current_time() if up else self.back_at
            self._turned.set()
            self._turned = trio.Event()


@pytest.fixture
def store() -> FakeStore:
    """A store on the virtual clock."""
    return FakeStore()


@pytest.fixture
def link_to() -> Callable[[FakeStore], FakeLink]:
    """``link_to(store)``: another process's way to it."""
    return FakeLink

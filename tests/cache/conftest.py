from __future__ import annotations

import hashlib
from contextlib import closing
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import pytest

from headrace.cache.entry import Entry
from headrace.cache.keys import canonical_key, exact_key, scope_key
from headrace.cache.store import Store
from headrace.records import Picture, Request, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

DAY_S = 86_400.0
DIMENSIONS = 64
REQUEST = Request(prompt="a fox", model="gpt-image-2", size="1024x1024", quality="low")


def _picture(root: Path, content: bytes = b"a picture") -> Picture:
    digest = hashlib.sha256(content).hexdigest()
    name = f"images/{digest[:2]}/{digest}.png"
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(content)
    return Picture(path=name, sha256=digest, format="png", width=8, height=8, bytes=len(content))


def _entry(root: Path, prompt: str = "a fox", *contents: bytes, namespace: str = "", **fields: Any) -> Entry:
    request = attrs.evolve(REQUEST, prompt=prompt)
    scope = scope_key(request, 0, namespace, "test")
    made = Entry(
        key=exact_key(scope, prompt),
        scope=scope,
        canonical=canonical_key(scope, prompt),
        namespace=namespace,
        request=request,
        origin="7",
        pictures=tuple(_picture(root, content) for content in contents or (prompt.encode(),)),
        usage=Usage(input_tokens=10, output_tokens=196),
        cost_usd=0.006,
    )
    return attrs.evolve(made, **fields)


@pytest.fixture(scope="session")
def picture() -> Callable[..., Picture]:
    """``picture(root, content)`` lies below ``root``."""
    return _picture


@pytest.fixture(scope="session")
def entry() -> Callable[..., Entry]:
    """``entry(root, prompt, *contents, namespace=..., **fields)``: an answer whose picture files lie below ``root``."""
    return _entry


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An output folder."""
    return tmp_path / "out"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The cache's folder."""
    return tmp_path / "cache"


@pytest.fixture
def store(folder: Path) -> Iterator[Store]:
    """A store on ``folder``."""
    with closing(Store(folder, DAY_S)) as made:
        yield made


@attrs.define
class HashedWords:
    """Prompts with the same words have the same vector, and with many of them a near one."""

    fingerprint: str = "hashed:1"
    encoded: list[str] = attrs.field(factory=list)
    """All texts that it was ever given."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.encoded += texts
        vectors = np.zeros((len(texts), DIMENSIONS), dtype=np.float32)
        for place, text in enumerate(texts):
            for word in text.split():
                seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8])
                vectors[place] += np.random.default_rng(seed).standard_normal(DIMENSIONS, dtype=np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)  # type: ignore[no-any-return]  # it is an array


@pytest.fixture
def encoder() -> HashedWords:
    """An encoder that needs no model."""
    return HashedWords()

"""Pairs of prompts that ask for one picture or for two, and their vectors: what the verifier is trained and measured with.

DATA holds ``paraphrase_triples.jsonl``, ``PartiPrompts.tsv``, ``geneval_prompts.txt``, ``user_prompts_10k.txt``, ``t2i_compbench/*.txt``.
A quarter of all prompts, by hash, is held out of the training.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from edits import ROLES, different
from rewrites import same
from templates import EXCHANGED, TOLD_OTHERWISE, told_otherwise

from headrace.cache.encoder import load
from headrace.cache.words import read

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from draft import Edit
    from numpy.typing import NDArray

SEED = 20261123
LICENCES = {
    "paraphrase_triples.jsonl": "MIT (SugarCrepe++; captions: COCO, CC BY 4.0)",
    "PartiPrompts.tsv": "Apache-2.0",
    "geneval_prompts.txt": "MIT",
    "t2i_compbench": "MIT",
    "user_prompts_10k.txt": "Apache-2.0 (prompts: DiffusionDB, CC0)",
}
PARAPHRASE = "paraphrase"
_OF_EACH_FILE, _OF_USERS, _SCENES = 200, 1_600, 4_000


class Pair(NamedTuple):
    """Two prompts, and whether they ask for the same picture."""

    family: str
    asked: str
    known: str
    same: bool
    origin: str
    """The prompt that both were made from: folds keep it together."""


def held_out(origin: str) -> bool:
    """Whether a prompt is kept out of the training: a quarter is."""
    return hashlib.sha256(origin.encode()).digest()[0] % 4 == 0


def pairs(data: Path, *, held: bool) -> list[Pair]:
    """All pairs of the prompts that are held out, or of the others."""
    found: list[Pair] = []
    with (data / "paraphrase_triples.jsonl").open(encoding="utf-8") as lines:
        triples = [json.loads(line) for line in lines]
    for triple in triples:
        if held_out(triple["caption"]) is held:
            found += _of_triple(triple)
    seen = {triple["caption"] for triple in triples}
    for base in _prompts(data):
        if base not in seen and held_out(base) is held:
            found += _of_prompt(base, 7, 4)
    for base in _user_prompts(data)[:_OF_USERS]:
        if held_out(base) is held:
            found += _of_prompt(base, 4, 1)
    for number in range(_SCENES):
        if held_out(f"scene {number}") is held:
            found += _of_scene(number)
    # Some negatives of the data are their caption, letter by letter.
    return [pair for pair in dict.fromkeys(found) if pair.same or pair.asked != pair.known]


def _of_triple(triple: dict[str, str]) -> Iterator[Pair]:
    caption, paraphrase, negative = triple["caption"], triple["paraphrase"], triple["negative"]
    family = triple["set"].replace("_", " ")
    yield Pair(PARAPHRASE, caption, paraphrase, True, caption)
    yield Pair(f"{family}, caption", caption, negative, False, caption)
    yield Pair(f"{family}, paraphrase", negative, paraphrase, False, caption)
    for edit in _some(different(caption, SEED), 3):
        yield Pair(edit.family, edit.text, caption, False, caption)
    for edit in _some(_sure(different(caption, SEED + 1), caption, paraphrase), 3):
        yield Pair(f"{edit.family}, paraphrase", edit.text, paraphrase, False, caption)
    roles = (edit for edit in different(paraphrase, SEED) if edit.family in ROLES)
    for edit in _some(_sure(roles, paraphrase, caption), 3):
        yield Pair(f"{edit.family}, paraphrase", edit.text, caption, False, caption)
    for edit in _some(same(negative, SEED), 1):
        yield Pair(f"{family}, rewrite", caption, edit.text, False, caption)
    for edit in _some(same(caption, SEED), 2):
        yield Pair(edit.family, caption, edit.text, True, caption)
    for edit in _some(same(paraphrase, SEED), 1):
        if edit.family != "typo":
            yield Pair(f"{PARAPHRASE}, rewrite", caption, edit.text, True, caption)


def _sure(edits: Iterable[Edit], base: str, other: str) -> Iterator[Edit]:
    # What brings a prompt nearer to its paraphrase is no other picture: "next to" made "behind", where the paraphrase says "in front of".
    for edit in edits:
        if not edit.family.startswith(("attribute", "relation")) or _distance(edit.text, other) >= _distance(base, other):
            yield edit


def _distance(one: str, other: str) -> int:
    asked, known = read(one), read(other)
    return len(asked.attributes ^ known.attributes) + len(asked.relations ^ known.relations)


def _of_prompt(base: str, others: int, rewrites: int) -> Iterator[Pair]:
    for edit in _some(different(base, SEED), others):
        yield Pair(edit.family, base, edit.text, False, base)
    for edit in _some(same(base, SEED), rewrites):
        yield Pair(edit.family, base, edit.text, True, base)


def _of_scene(number: int) -> Iterator[Pair]:
    one, other, exchanged = told_otherwise(number)
    yield Pair(TOLD_OTHERWISE, one, other, True, f"scene {number}")
    for text in exchanged:
        yield Pair(EXCHANGED, one, text, False, f"scene {number}")


def _some(edits: Iterable[Edit], most: int) -> list[Edit]:
    # By hash, so that a new family does not change what is drawn of the others.
    return sorted(edits, key=lambda edit: hashlib.sha256(repr(edit).encode()).digest())[:most]


def _prompts(data: Path) -> list[str]:
    found = [line.split("\t")[0] for line in (data / "PartiPrompts.tsv").read_text("utf-8").splitlines()[1:]]
    found += (data / "geneval_prompts.txt").read_text("utf-8").splitlines()
    for file in sorted((data / "t2i_compbench").glob("*.txt")):
        found += file.read_text("utf-8").splitlines()[:_OF_EACH_FILE]
    return list(dict.fromkeys(prompt.strip() for prompt in found if prompt.strip()))


def _user_prompts(data: Path) -> list[str]:
    return list(dict.fromkeys(line for line in (data / "user_prompts_10k.txt").read_text("utf-8").splitlines() if line.strip()))


def digests(data: Path) -> dict[str, dict[str, str]]:
    """SHA-256 and licence of each file, or of all files of a folder."""
    found = {}
    for name, licence in LICENCES.items():
        files = sorted((data / name).glob("*.txt")) if (data / name).is_dir() else [data / name]
        found[name] = {"sha256": hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest(), "licence": licence}
    return found


class Vectors:
    """Vectors of texts, each encoded once.

    Args:
        encoder: name or path of the model.
        file: where vectors are kept from one run to the next.
    """

    def __init__(self, encoder: str, file: Path | None = None) -> None:
        self.encoder = load(encoder)
        self._file = file
        self._known: dict[bytes, NDArray[np.float32]] = {}
        if file is not None and file.exists():
            with np.load(file, allow_pickle=False) as kept:
                if str(kept["encoder"]) == self.encoder.fingerprint:
                    self._known = dict(zip(map(bytes, kept["keys"]), kept["vectors"].astype(np.float32), strict=True))

    def cosines(self, asked: Sequence[str], known: Sequence[str]) -> NDArray[np.float64]:
        """Of each pair."""
        self._encode({*asked, *known})
        found = [float(self._known[_key(one)] @ self._known[_key(other)]) for one, other in zip(asked, known, strict=True)]
        return np.array(found, np.float64)

    def _encode(self, texts: Iterable[str]) -> None:
        new = sorted((text for text in texts if _key(text) not in self._known), key=lambda text: (len(text), text))
        for start in range(0, len(new), 256):
            some = new[start : start + 256]
            self._known.update(zip(map(_key, some), self.encoder.encode(some), strict=True))
        if new and self._file is not None:
            keys = np.frombuffer(b"".join(self._known), np.uint8).reshape(len(self._known), -1)
            np.savez(self._file, encoder=self.encoder.fingerprint, keys=keys, vectors=np.stack(list(self._known.values())))


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()[:16]

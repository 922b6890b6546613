"""Input as it comes from the world: each kind of bad line between good ones, which must not suffer from it."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING

import trio

from headrace.lines import read_lines
from headrace.records import Kind, Status
from headrace.simulator import SimulatorSettings
from reliability.simulation import Simulation, chance
from reliability.trial import folder, one_line, settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from headrace.lines import Line
    from headrace.records import Result

_MARK = b"\xef\xbb\xbf"
INPUTS: dict[str, tuple[bytes, ...]] = {
    "NUL": (b'{"prompt": "a \\u0000 cat"}', b'{"prompt": "a \x00 cat"}', b"\x00", b'{"prompt": "a cat", "id": "\\u0000"}'),
    "lone surrogates": (b'{"prompt": "a \\ud83d cat"}', b'{"prompt": "a cat", "id": "\\udc00"}', b'"\xed\xa0\x80"', b'{"\\ud800": 1}'),
    "a line of 10 MB": (b'{"prompt": "' + b"a" * 10_000_000 + b'"}', b"x" * 10_000_000),
    "duplicate ids": (b'{"prompt": "a cat", "id": "same"}', b'{"prompt": "a cat", "id": "same"}', b'{"prompt": "a dog", "id": "same"}'),
    "ids that are paths": (
        b'{"prompt": "a cat", "id": "../../x"}',
        b'{"prompt": "a cat", "id": "/etc/passwd"}',
        b'{"prompt": "a dog", "id": "..\\\\..\\\\x", "namespace": "../../y"}',
    ),
    "empty lines": (b"", b"   ", b"\t", b'""', b'{"prompt": ""}', b'{"prompt": "  "}'),
    "wrong types": (
        b"17",
        b"null",
        b"[]",
        b"{}",
        b'{"prompt": 17}',
        b'{"prompt": "a cat", "n": "two"}',
        b'{"prompt": "a cat", "n": 1e400}',
        b'{"prompt": "a cat", "n": NaN}',
        b'{"prompt": "a cat", "id": true}',
        b'{"prompt": "a cat", "size": ["1x1"]}',
        b'{"prompt": "a cat", "variation": -1}',
        b'{"prompt": "a cat", "colour": "red"}',
        b'{"prompt": ["a cat"]}',
        b'{"prompt": {"text": "a cat"}}',
        b'{"id": 1' + b"0" * 5_000 + b', "prompt": "a cat"}',
    ),
    "broken JSON": (b"{", b'{"prompt": "a cat"', b'{"prompt": "a cat"}}', b"[" * 100_000, b"\xff\xfe{\x00", b'{"prompt": "\xff"}'),
    "byte order mark": (_MARK, _MARK + b'{"prompt": "a cat"}'),
    "CRLF": (b'{"prompt": "a cat"}\r', b"\r", b'{"prompt": "a \\r cat"}\r', b'{"prompt": "a\rcat"}'),
    "no final newline": (),
}
"""Lines that stand between good ones; the good ones have ``good`` in their ids."""
_ENDS = (b"\n", b"\r\n")


def bad_input(name: str, seed: int) -> list[str]:
    """Good lines and bad ones in any order: every line that is not blank has one result, and the good ones are ok."""
    dice = chance(seed, name)
    good = [b'{"prompt": "a cat", "id": "good %d"}' % number for number in range(6)]
    bad = list(dice.sample(INPUTS[name], min(len(INPUTS[name]), dice.randint(1, 4)))) if INPUTS[name] else []
    rest = [*good[1:], *bad]
    dice.shuffle(rest)
    end = dice.choice(_ENDS)
    text = (_MARK if dice.random() < 0.5 or name == "byte order mark" else b"") + end.join([good[0], *rest])  # noqa: PLR2004 - a coin
    lines = _read(text if dice.random() < 0.5 or name == "no final newline" else text + end)  # noqa: PLR2004 - a coin
    prompts = sum(line.too_long or bool(line.text.strip()) for line in lines)

    def check(results: list[Result]) -> Iterator[str]:
        if (ok := sum(result.id.startswith("good") and result.status is Status.OK for result in results)) != len(good):
            yield f"{ok} of {len(good)} good lines are ok"
        for result in results:
            if result.error is not None and result.error.kind is not Kind.BAD_LINE:
                yield f"line {result.seq} is no prompt for the reason {result.error}"

    with folder() as place:
        simulation = Simulation(seed, settings(place, dice), SimulatorSettings(latency_s=10.0))
        broken = one_line(simulation, lines, prompts=prompts, check=check)
        return broken + [f"seed {seed}: the file {path} was made" for path in _strange_files(place)]


def _read(text: bytes) -> list[Line]:
    """The lines as they are read from a file; before the simulation, because that takes a thread."""

    async def main() -> list[Line]:
        with tempfile.TemporaryFile() as file:
            file.write(text)
            file.seek(0)
            handle = os.dup(file.fileno())
            try:
                return [line async for line in read_lines(handle)]
            finally:
                os.close(handle)

    return trio.run(main)


def _strange_files(place: Path) -> Iterator[Path]:
    """What is neither a picture nor the cache's nor the journal's."""
    for path in place.rglob("*"):
        own = path.relative_to(place).parts
        if path.is_file() and own[0] != "cache" and own[1] != "images" and not own[1].startswith("journal."):
            yield path

"""Any bytes as input, from a file and from a pipe: what is in one line costs no other line its result."""

from __future__ import annotations

import json
import os
import tempfile
from typing import TYPE_CHECKING

import trio
from hypothesis import strategies as st

from headrace.lines import LONGEST, read_lines
from headrace.records import Status
from headrace.simulator import SimulatorSettings
from reliability.mutations import TEXTS, VALUES, changed_bytes, changed_tree
from reliability.simulation import Simulation, chance
from reliability.trial import folder, one_line, settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from headrace.lines import Line
    from headrace.records import Result

GOOD = 4
_VALID = {
    "prompt": "a cat on a wall",
    "id": "bad",
    "model": "gpt-image-2",
    "size": "1024x1024",
    "quality": "low",
    "n": 1,
    "output_format": "webp",
    "output_compression": 70,
    "background": "opaque",
    "moderation": "low",
    "cache": "use",
    "variation": 0,
    "namespace": "mine",
    "metadata": {"row": [1, 2.5, None, {"deep": "er"}]},
}
_TOKENS = (
    b'"',
    b"{",
    b"}",
    b"[",
    b",",
    b"\\",
    b"\\ud800",
    b"\\u0000",
    b"\x00",
    b"\r",
    b"NaN",
    b"1e999",
    b"-",
    b"null",
    b"\xff",
    b"\xef\xbb\xbf",
)


def _dumped(value: object) -> bytes:
    return json.dumps(value).encode()


LINES = st.one_of(
    st.binary(max_size=200),
    changed_tree(_VALID).map(_dumped),
    changed_bytes(_dumped(_VALID), _TOKENS),
    st.fixed_dictionaries({"prompt": TEXTS}, optional={"id": VALUES, "metadata": VALUES, "namespace": TEXTS}).map(_dumped),
    VALUES.map(_dumped),
    st.builds(lambda mark, deep: mark * deep, st.sampled_from((b"[", b'{"a":', b'{"prompt":')), st.sampled_from((10, 1_000, 200_000))),
    st.sampled_from((b'{"prompt": "' + b"a" * 10_000_000 + b'"}', b" " * (LONGEST + 1), b"x" * LONGEST)),
)
INPUTS = st.tuples(st.lists(LINES, min_size=1, max_size=5), st.booleans(), st.integers(0, 10**6))


def bad_lines(example: tuple[list[bytes], bool, int]) -> list[str]:
    """Good lines with bad ones between them: every line has one result, and the good ones are ok."""
    bad, piped, seed = example
    good = [_dumped({"prompt": "a cat", "id": f"good {number}"}) for number in range(GOOD)]
    rest = [*good[1:], *bad]
    chance(seed, "order").shuffle(rest)
    lines = read(b"\n".join([good[0], *rest]) + b"\n" * (seed % 2), piped=piped)

    def check(results: list[Result]) -> Iterator[str]:
        names = {_dumped({"prompt": result.prompt, "id": result.id}) for result in results if result.status is Status.OK}
        if missing := [line for line in good if line not in names]:
            yield f"not ok: {missing}"

    return _run(lines, seed, check)


def any_bytes(example: tuple[bytes, bool, int]) -> list[str]:
    """Any bytes at all: every line that is not blank has one result."""
    data, piped, seed = example
    return _run(read(data, piped=piped), seed)


def _run(lines: list[Line], seed: int, check: Callable[[list[Result]], Iterable[str]] = lambda _: ()) -> list[str]:
    prompts = sum(line.too_long or bool(line.text.strip()) for line in lines)
    with folder() as place:
        simulation = Simulation(seed, settings(place, chance(seed, "settings")), SimulatorSettings(latency_s=10.0))
        return one_line(simulation, lines, prompts=prompts, check=check)


def read(data: bytes, *, piped: bool) -> list[Line]:
    """The lines as they are read from a file or from a pipe; before the simulation, because that takes real time."""

    async def main() -> list[Line]:
        if not piped:
            with tempfile.TemporaryFile() as file:
                file.write(data)
                file.seek(0)
                return [line async for line in read_lines(file.fileno())]
        source, sink = os.pipe()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_pour, sink, data)
                return [line async for line in read_lines(source)]
        finally:
            os.close(source)

    return trio.run(main)


async def _pour(sink: int, data: bytes) -> None:
    async with trio.lowlevel.FdStream(sink) as stream:
        await stream.send_all(data)

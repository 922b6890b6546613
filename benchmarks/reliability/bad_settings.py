"""Any configuration: it is taken, or refused in one line."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
from hypothesis import strategies as st

from headrace.cli import init
from headrace.errors import HeadraceError, UsageError, lone
from headrace.records import Result, Status
from headrace.settings import Settings
from headrace.simulator import SimulatorSettings
from reliability.mutations import changed_bytes, one_line_of_text
from reliability.simulation import Simulation

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn

# With every example that it shows in force.
TEMPLATE = re.sub(r"(?m)^# (?=[a-z_]+ = |\[)", "", Path(init.__file__).with_name("template.toml").read_text())
_VALUES = (
    *("0", "-1", "1e999", "nan", "inf", "-inf", "true", '""', '"x"', '"\\u0000"', "[]", "{}", "[[]]", "[{}]", "1979-05-27", "07:32:00"),
    *('"https://a b"', '"http://[::1"', '"https://u:p@h/"', '"ftp://h"', '"~nobody/x"', "9" * 5_000, '"' + "x" * 70_000 + '"', "'''"),
    *('["reduced_quality", 3]', "{ a = { b = 1 } }", '"sk-canary-0123456789"', "0x7fffffffffffffff", "[" * 5_000, "\u202e", "\x00"),
)
_TOKENS = (
    b"[",
    b"]",
    b"[[pool]]\n",
    b"[request]\n",
    b"=",
    b'"',
    b"'''",
    b".",
    b"#",
    b"\n",
    b"\r",
    b"\x00",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\\u",
)


@st.composite
def _edited(draw: DrawFn) -> bytes:
    """The template with some lines given another value or another name, taken out, doubled or moved."""
    lines = TEMPLATE.splitlines()
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, len(lines) - 1))
        change = draw(st.sampled_from(("value", "value", "value", "name", "remove", "double", "move")))
        name, equals, _ = lines[at].partition(" = ")
        if change == "value" and equals:
            lines[at] = f"{name} = {draw(st.sampled_from(_VALUES))}"
        elif change == "name":
            lines[at] = draw(st.sampled_from(("mdoel", "a.b", "'sk-canary-0123456789'", '"\\ud800"', "[a]", "[[request]]"))) + lines[at]
        elif change == "remove":
            del lines[at]
        elif change == "double":
            lines.insert(at, lines[at])
        else:
            lines.insert(draw(st.integers(0, len(lines) - 1)), lines.pop(at))
    return "\n".join(lines).encode()


FILES = st.one_of(st.binary(max_size=300), _edited(), changed_bytes(TEMPLATE.encode(), _TOKENS))


def bad_settings(data: bytes) -> list[str]:
    """Settings, or one line that names the file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "headrace.toml")
        path.write_bytes(data)
        try:
            found = Settings.load(path)
        except UsageError as error:
            said = str(error)
            if not one_line_of_text(said) or "headrace.toml" not in said or "canary" in said:
                return [f"it says {said!r}"]
            return []
        except Exception as error:  # noqa: BLE001 - whatever it is, a user would see it as a traceback
            return [f"it raises {type(error).__name__}: {error}"]
        return _used(found, folder)


def _used(found: Settings, folder: str) -> list[str]:
    """One prompt with settings that were taken; in a folder of its own, wherever they lead."""
    found = attrs.evolve(
        found,
        cache=attrs.evolve(found.cache, dir=f"{folder}/cache", policy="exact" if found.cache.policy != "off" else "off"),
        run=attrs.evolve(found.run, out_dir=f"{folder}/out", simulate=True, journal=True),
    )
    results = list[Result]()

    simulation = Simulation(0, found, SimulatorSettings(latency_s=10))

    async def main() -> None:
        async with simulation.open() as race, race.results(["a cat"]) as line:
            results.extend([result async for result in line])

    try:
        simulation.run(main)
    except Exception as error:  # noqa: BLE001 - see above
        if isinstance(only := lone(error), HeadraceError):
            return [] if one_line_of_text(str(only)) else [f"it says {only!s}"]
        return [f"it raises {only!r}"]
    return [f"{result.error}" for result in results if result.status is not Status.OK and result.error is None]

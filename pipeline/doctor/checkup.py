"""All checks beside each other, none of which can keep the others waiting."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import attrs
import trio

from headrace.doctor.disk import disk
from headrace.doctor.encoder import encoder
from headrace.doctor.finding import Finding, State
from headrace.doctor.keys import apis
from headrace.doctor.machine import clock, python, terminal
from headrace.doctor.place import place
from headrace.doctor.provider import provider
from headrace.doctor.store import store
from headrace.doctor.watchers import watchers
from headrace.doctor.wishes import limits, models
from headrace.errors import UsageError
from headrace.settings import DEFAULT_FILE, Settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from headrace.doctor.keys import Api

    Check = Callable[[], Awaitable[list[Finding]]]

PATIENCE_S = 30.0
"""For one check, and for one API; all run beside each other."""


def _now() -> datetime:
    return datetime.now(UTC)


async def checkup(
    config: Path | None, environ: Mapping[str, str], *, simulate: bool = False, wall: Callable[[], datetime] = _now
) -> list[Finding]:
    """What a run with this configuration would meet; a line or more for each check, always in the same order.

    Args:
        config: as in :meth:`headrace.settings.Settings.load`.
        environ: where keys and addresses are found.
        simulate: as in ``headrace run``.
        wall: the time of day, in UTC.
    """
    machine = _in_time({"python": _threaded(python), "terminal": _threaded(partial(terminal, environ))})
    try:
        settings = Settings.load(config)
    except UsageError as error:
        findings = [
            Finding("configuration", State.FAILED, str(error), "mend it; 'headrace init' writes one that loads"),
            Finding("the rest", State.SKIPPED, "keys, provider, limits, disk and encoder need a configuration that loads"),
        ]
        return [*findings, *clock(wall(), None), *await _all(machine)]
    if simulate:
        settings = attrs.evolve(settings, run=attrs.evolve(settings.run, simulate=True))
    outside = {"provider": partial(_outside, settings, environ, wall)}
    inside = _in_time({"store": partial(store, settings, environ), "place": partial(place, settings, environ)} | _inside(settings))
    return [_loaded(config), *await _all(outside | inside | machine)]


def _inside(settings: Settings) -> dict[str, Check]:
    checks = {"limits": limits, "disk": disk, "encoder": encoder, "alerts": watchers}
    return {name: _threaded(partial(check, settings)) for name, check in checks.items()}


async def _outside(settings: Settings, environ: Mapping[str, str], wall: Callable[[], datetime]) -> list[Finding]:
    today = wall().date()
    if settings.run.simulate:
        skipped = Finding("provider", State.SKIPPED, "this is a simulation: nothing is sent, and no key is needed")
        return [skipped, *clock(wall(), None), *models(settings, "", today)]
    found, findings = apis(settings, environ)
    told: list[tuple[list[Finding], float | None]] = [([_hung("provider")], None) for _ in found]

    async def ask(number: int, api: Api) -> None:
        with trio.move_on_after(PATIENCE_S):
            told[number] = await provider(api, wall)

    async with trio.open_nursery() as asking:
        for number, api in enumerate(found):
            asking.start_soon(ask, number, api)
    findings += [finding for some, _ in told for finding in some]
    off_s = next((ahead_s for _, ahead_s in told if ahead_s is not None), None)
    return [*findings, *clock(wall(), off_s), *models(settings, found[0].url if found else "", today)]


async def _all(checks: Mapping[str, Check]) -> list[Finding]:
    found: dict[str, list[Finding]] = {}

    async def look(name: str, check: Check) -> None:
        found[name] = await check()

    async with trio.open_nursery() as looking:
        for name, check in checks.items():
            looking.start_soon(look, name, check)
    return [finding for name in checks for finding in found[name]]


def _hung(name: str) -> Finding:
    return Finding(name, State.FAILED, f"no answer within {PATIENCE_S:g} s", "see whether a disk or the network hangs")


def _in_time(checks: Mapping[str, Check]) -> dict[str, Check]:
    async def look(name: str, check: Check) -> list[Finding]:
        with trio.move_on_after(PATIENCE_S):
            return await check()
        return [_hung(name)]

    return {name: partial(look, name, check) for name, check in checks.items()}


def _threaded(check: Callable[[], list[Finding]]) -> Check:
    return partial(trio.to_thread.run_sync, check, abandon_on_cancel=True)


def _loaded(config: Path | None) -> Finding:
    from pathlib import Path  # noqa: PLC0415

    if config is None and not Path(DEFAULT_FILE).is_file():
        return Finding("configuration", State.OK, f"there is no {DEFAULT_FILE} here: the defaults hold")
    return Finding("configuration", State.OK, f"{config or DEFAULT_FILE} loads")

"""What has to be true after every run, whatever went wrong in it; each check yields what is not, a line each."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import trio

from headrace.records import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from headrace.race import Race
    from headrace.records import Result
    from reliability.door import Call
    from reliability.simulation import Line

_CENT = 1e-9
_SYSTEM_TASKS = 3
"""Trio's own: the main task's parent, the root task's nursery and the queue of other threads' calls."""


def held(race: Race) -> Iterator[str]:
    """Nothing is held when no line runs: no permit, no place in a queue, no memory, no lead, no money set aside."""
    apis = [api for api in (race.primary, race.alternative) if api is not None]
    for api in apis:
        for pool in api.gate.statistics():
            if pool.in_flight:
                yield f"pool {pool.name} still has {pool.in_flight} permits out"
        if busy := [key.name for pool in api.gate.pools for key in pool.keys if key.in_flight]:
            yield f"keys are still busy: {busy}"
        if api.gate._queue:  # noqa: SLF001 - nobody else has to look inside
            yield f"{len(api.gate._queue)} requests still wait at the gate"  # noqa: SLF001
        if api.memory.free != api.memory.capacity:
            yield f"{api.memory.capacity - api.memory.free} bytes are still reserved for answers"
    if race.cache is not None and race.cache.in_flight._flights:  # noqa: SLF001
        yield "prompts are still led by a line that has ended"
    if abs(race.budget.reserved_usd) > _CENT:
        yield f"${race.budget.reserved_usd:.6f} is still set aside"


def running() -> Iterator[str]:
    """No task is left but the caller's own and trio's."""
    tasks = trio.lowlevel.current_statistics().tasks_living
    if tasks > _SYSTEM_TASKS:
        yield f"{tasks - _SYSTEM_TASKS} tasks are left"


def lost(line: Line, *, prompts: int | None = None, whole: bool = True, ordered: bool = False, most: int | None = None) -> Iterator[str]:
    """One result for each prompt that was read, in its place.

    Args:
        line: what was read and what came out.
        prompts: how many prompts there were in what was read, where not every item is one.
        whole: whether the line came to its end; one that was left early may owe results, and has none twice.
        ordered: whether results come in the order of the input.
        most: so many prompts may be between being read and being handed over.
    """
    seqs = [result.seq for result in line.results]
    read = line.items.read if prompts is None else prompts
    if twice := sorted(seq for seq, times in Counter(seqs).items() if times > 1):
        yield f"prompts {twice} have more than one result"
    if foreign := sorted(seq for seq in seqs if not 0 <= seq < read):
        yield f"results {foreign} belong to no prompt"
    if whole and (missing := sorted(set(range(read)) - set(seqs))):
        yield f"prompts {missing} have no result"
    if ordered and seqs != sorted(seqs):
        yield f"results are out of order: {seqs}"
    if most is not None and line.most_held[0] > most:
        yield f"{line.most_held[0]} prompts were held at once, {most} may be"


def unexplained(results: Iterable[Result], folder: Path) -> Iterator[str]:
    """Every result is ok with its pictures, or not ok with its reason."""
    for result in results:
        if result.status is Status.OK:
            if not result.images or result.error is not None:
                yield f"prompt {result.seq} is ok with {len(result.images)} pictures and the error {result.error}"
            for picture in result.images:
                path = folder / picture.path
                if not path.is_file() or path.stat().st_size != picture.bytes:
                    yield f"prompt {result.seq} names the picture {picture.path}, which is not there"
        elif result.error is None or not result.error.message:
            yield f"prompt {result.seq} is {result.status} without a reason"
        elif result.images:
            yield f"prompt {result.seq} is {result.status} and has pictures"


def unbalanced(calls: Iterable[Call], results: Iterable[Result], *, whole: bool = True) -> Iterator[str]:
    """What results say was paid is what was billed, but for calls of which nobody can know.

    Args:
        calls: what the API saw.
        results: of everything that ran against it; prices have to be estimated as they are billed.
        whole: whether every prompt has its result; otherwise more may be billed than results say.
    """
    said: dict[str, float] = defaultdict(float)
    sure: dict[str, float] = defaultdict(float)
    doubtful: dict[str, float] = defaultdict(float)
    for result in results:
        if result.cost_usd:
            said[result.prompt or ""] += result.cost_usd
    for call in calls:
        if call.billed:
            (doubtful if call.in_doubt or call.unreadable else sure)[call.prompt] += call.usd
    for prompt in {**said, **sure}:
        least, most = sure[prompt] if whole else 0.0, sure[prompt] + doubtful[prompt]
        if not least - _CENT <= said[prompt] <= most + _CENT:
            yield f"{prompt[:60]!r} costs ${said[prompt]:.6f} in the results, and was billed ${least:.6f} to ${most:.6f}"


def unjournalled(calls: Iterable[Call], status: Mapping[str, Any] | None) -> Iterator[str]:
    """What ``headrace status --json`` says agrees with the bill; nothing to say without a journal.

    Every call that was billed is in the books: as paid or spoilt where its answer came, and otherwise named among those in doubt.
    """
    if status is None:
        return
    attempts, billed = status["attempts"], [call for call in calls if call.billed]
    least = attempts["paid"] + attempts["spoilt"]
    most = least + attempts["unknown"] + attempts["open"]
    if not least <= len(billed) <= most:
        yield f"{len(billed)} calls were billed, and the journal has {least} to {most}"
    named = {entry["request_id"] for entry in (*status["in_doubt"], *status["perhaps_paid"])}
    if unnamed := [call.request_id for call in billed if call.in_doubt and call.request_id not in named]:
        yield f"billed, in doubt and not named by the journal: {unnamed}"
    ended = sum(status[name] for name in ("ok", "failed", "skipped", "unfinished"))
    if ended != status["prompts"]:
        yield f"{status['prompts']} prompts in the journal, and {ended} in its parts"


def overspent(calls: Iterable[Call], most_usd: float | None, *, together: bool = False) -> Iterator[str]:
    """No process spends more than the budget by more than what it has in flight; with a journal all of them ``together`` do not."""
    if most_usd is None:
        return
    lives: dict[int, list[Call]] = defaultdict(list)
    for call in calls:
        lives[0 if together else call.life].append(call)
    for own in lives.values():
        billed = sum(call.usd for call in own if call.billed)
        in_flight = max((sum(each.usd for each in own if each.at <= call.at < (each.ended or call.at + 1)) for call in own), default=0.0)
        if billed > most_usd + in_flight + _CENT:
            yield f"${billed:.4f} was billed, the budget is ${most_usd:.4f} and at most ${in_flight:.4f} was in flight"

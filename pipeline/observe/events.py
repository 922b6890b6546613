"""What the log is told of every call and every result; no words of prompts, and none of an API that may quote them, unless asked."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from headrace.log import heard, ids, log, prompts_heard
from headrace.records import rounded
from headrace.text import clean

if TYPE_CHECKING:
    from headrace.records import Call, Problem, Result

_SHOWN = 200


class LogWatcher:
    """A :class:`headrace.observe.watcher.Watcher` that tells the log."""

    def called(self, call: Call) -> None:
        """One event for each call."""
        if not heard():
            return
        problem = call.problem
        fields = {
            **ids(call.prompt),
            "pool": call.pool,
            "key": call.key,
            "request_id": call.request_id,
            "latency_s": round(call.ended - call.started, 3),
        }
        if problem is None:
            log.info("call_answered", **fields)
        else:
            log.info("call_failed", **fields, kind=problem.kind.value, status=problem.status, **_said(problem))

    def ended(self, result: Result) -> None:
        """One event for each prompt; what an earlier run finished is news to nobody."""
        level = logging.DEBUG if result.recalled else logging.INFO
        if not heard(level):
            return
        match, error = result.match, result.error
        words = {"asked": clean(result.prompt, _SHOWN)} if result.prompt is not None and prompts_heard() else {}
        log.log(
            level,
            "result",
            **ids(result),
            status=result.status.value,
            strategy=None if result.strategy is None else result.strategy.value,
            of=None if match is None else match.of,
            kind=None if error is None else error.kind.value,
            cost_usd=rounded(result.cost_usd, 6),
            saved_usd=rounded(result.saved_usd, 6),
            attempts=result.attempts,
            waited_s=rounded(result.waited_s, 3),
            recalled=result.recalled,
            **words,
            **({} if error is None else _said(error)),
        )


def _said(problem: Problem) -> dict[str, str]:
    return {"message": problem.message} if prompts_heard() else {}

"""OpenTelemetry spans: one for each prompt, and below it one for each of its calls. No words of prompts are in them.

Names of attributes are those of the semantic conventions where these have one. Only for where ``opentelemetry-api`` is installed.
"""

from __future__ import annotations

import time
from collections import deque
from importlib.metadata import version
from typing import TYPE_CHECKING

import trio
from opentelemetry.trace import SpanKind, Status, StatusCode, get_tracer, set_span_in_context

from headrace.records import Kind, Problem, Prompt, Result
from headrace.text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.trace import Span
    from opentelemetry.util.types import AttributeValue

    from headrace.records import Call

_NS = 1_000_000_000
LONGEST = 200
"""Characters of an attribute: prompts name models and sizes, and whoever wrote them anything."""
_Name = tuple[int, str, str | None]
"""A prompt's place, id and words: lines beside each other have the same places; prompts that are the same in all may change their spans."""


class Spans:
    """Makes the spans, with whatever provider the program has set."""

    def __init__(self) -> None:
        self._tracer = get_tracer("headrace", version("headrace"))
        self._open: dict[_Name, deque[Span]] = {}

    def began(self, record: Prompt | Result) -> None:
        """A prompt was read; a line that is no prompt has its result at once."""
        if isinstance(record, Prompt):
            name = (record.seq, record.id, record.request.prompt)
            self._open.setdefault(name, deque()).append(self._tracer.start_span("headrace.prompt"))

    def called(self, call: Call) -> None:
        """A call is over."""
        prompt, problem, usage = call.prompt, call.problem, call.usage
        waiting = self._open.get((prompt.seq, prompt.id, prompt.request.prompt))
        now_s, now_ns = trio.current_time(), time.time_ns()
        span = self._tracer.start_span(
            "headrace.call",
            context=set_span_in_context(waiting[0]) if waiting else None,
            kind=SpanKind.CLIENT,
            start_time=now_ns - int((now_s - call.started) * _NS),
            attributes=_known(
                {
                    "gen_ai.request.model": call.request.model,
                    "gen_ai.usage.input_tokens": None if usage is None else usage.input_tokens,
                    "gen_ai.usage.output_tokens": None if usage is None else usage.output_tokens,
                    "headrace.size": call.request.size,
                    "headrace.quality": call.request.quality,
                    "headrace.pool": call.pool,
                    "headrace.key": call.key,
                    "headrace.waited_s": call.waited_s,
                    "headrace.waited_for": call.waited_for,
                    "headrace.outcome": "ok" if problem is None else problem.kind.value,
                    "http.response.status_code": None if problem is None else problem.status,
                }
            ),
        )
        _fail(span, problem)
        span.end(now_ns - int((now_s - call.ended) * _NS))

    def ended(self, result: Result) -> None:
        """A prompt has its result."""
        name = (result.seq, result.id, result.prompt)
        waiting = self._open.get(name)
        span = waiting.popleft() if waiting else self._tracer.start_span("headrace.prompt")
        if not waiting:
            self._open.pop(name, None)
        span.set_attributes(
            _known(
                {
                    "headrace.seq": result.seq,
                    "headrace.id": result.id,
                    "headrace.status": result.status.value,
                    "headrace.strategy": None if result.strategy is None else result.strategy.value,
                    "headrace.attempts": result.attempts,
                    "headrace.waited_s": result.waited_s,
                    "headrace.cost_usd": result.cost_usd,
                    "headrace.saved_usd": result.saved_usd,
                    "headrace.recalled": result.recalled,
                    "gen_ai.response.model": result.model,
                }
            )
        )
        _fail(span, result.error)
        span.end()

    def end(self) -> None:
        """The run is over; prompts that were cancelled have no result."""
        for waiting in self._open.values():
            for span in waiting:
                _fail(span, Problem(kind=Kind.INTERRUPTED, message=""))
                span.end()
        self._open.clear()


def _fail(span: Span, problem: Problem | None) -> None:
    if problem is not None:
        # The kind alone: the message of an API may hold words of the prompt.
        span.set_attribute("error.type", problem.kind.value)
        span.set_status(Status(StatusCode.ERROR, problem.kind.value))


def _known(values: Mapping[str, AttributeValue | None]) -> dict[str, AttributeValue]:
    return {name: clean(value, LONGEST) if isinstance(value, str) else value for name, value in values.items() if value is not None}

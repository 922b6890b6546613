"""What can go wrong with a call: every fault by name, and which one a call gets.

A fault is asked for by a probability in the settings or by a marker in the prompt: ``[[fault:server_error]]`` on
every call, ``[[fault:server_error*2]]`` on the first two calls of that prompt; several markers take turns.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import TYPE_CHECKING

import attrs

from headrace.simulator import spoils
from headrace.simulator.errors import AFTER_ERRORS, BEFORE_ERRORS
from headrace.simulator.replies import Delivery, Reply

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping

    from headrace.records import Request

_MARKER = re.compile(r"\[\[fault:(\w+)(?:\*(\d+))?\]\]", re.ASCII)


class Stage(Enum):
    """When a fault strikes."""

    BEFORE = auto()
    """At once: the call is not let in and charged to no limit."""
    AFTER = auto()
    """After the latency, charged to the limits: an answer in place of the pictures."""
    PICTURES = auto()
    """The pictures were made and are spoilt on their way."""
    NEVER = auto()
    """The call is let in and charged, and never answered."""


@attrs.frozen(kw_only=True)
class Fault:
    """One thing that goes wrong."""

    stage: Stage
    reply: Callable[[], Reply] | None = None
    """The answer, for those that come without pictures."""
    ask: Callable[[Request], Request] = lambda request: request
    """What is drawn in place of what was asked for."""
    spoil: Callable[[Reply], Reply] = lambda reply: reply
    """What becomes of the good answer."""
    paid: bool = False
    """Whether the vendor made pictures and bills them."""


def _spoilt(spoil: Callable[[Reply], Reply] = lambda reply: reply, *, paid: bool = True) -> Fault:
    return Fault(stage=Stage.PICTURES, spoil=spoil, paid=paid)


def _sent(delivery: Delivery) -> Callable[[Reply], Reply]:
    return lambda reply: attrs.evolve(reply, delivery=delivery)


def _reset() -> Reply:
    return Reply(status=500, headers=(), chunks=(), delivery=Delivery.RESET)


FAULTS: Mapping[str, Fault] = {
    **{name: Fault(stage=Stage.BEFORE, reply=reply) for name, reply in BEFORE_ERRORS.items()},
    **{name: Fault(stage=Stage.AFTER, reply=reply) for name, reply in AFTER_ERRORS.items()},
    "error_in_200": Fault(stage=Stage.AFTER, reply=spoils.error_in_200),
    "html_200": Fault(stage=Stage.AFTER, reply=spoils.html_200),
    "deep_json": Fault(stage=Stage.AFTER, reply=spoils.deep_json),
    "empty_data": _spoilt(spoils.empty_data, paid=False),
    "bare_list": _spoilt(spoils.bare_list),
    "wrong_count": Fault(stage=Stage.PICTURES, ask=spoils.other_count, paid=True),
    "wrong_format": Fault(stage=Stage.PICTURES, ask=spoils.other_format, paid=True),
    "wrong_size": Fault(stage=Stage.PICTURES, ask=spoils.other_size, paid=True),
    "missing_b64": _spoilt(spoils.missing_b64),
    "broken_base64": _spoilt(spoils.broken_base64),
    "truncated_json": _spoilt(spoils.truncated_json),
    "truncated_png": _spoilt(spoils.truncated_picture),
    "oversized": _spoilt(spoils.oversized),
    "gzip": _spoilt(spoils.gzipped),
    "url_instead": _spoilt(spoils.url_instead),
    "data_url": _spoilt(spoils.data_url),
    "disconnect": _spoilt(_sent(Delivery.CUT)),
    "slow_body": _spoilt(_sent(Delivery.TRICKLE)),
    "reset": Fault(stage=Stage.BEFORE, reply=_reset),
    "stall": Fault(stage=Stage.NEVER),
}
"""Every fault by its name."""


def pick(prompt: str, calls: int, chances: Mapping[str, float], rng: random.Random) -> str | None:
    """Name of the fault that this call gets; ``calls`` is how often the prompt came through before.

    The name is whatever the marker says, known or not.
    """
    before = 0
    for name, times in _MARKER.findall(prompt) if "[[fault:" in prompt else ():
        before += int(times or 0)
        if not times or calls < before:
            return str(name)
    if not chances:
        return None
    roll = rng.random()
    for name, chance in chances.items():
        roll -= chance
        if roll < 0:
            return name
    return None

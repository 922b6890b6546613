from __future__ import annotations

import json
import logging
import traceback
from typing import TYPE_CHECKING, Any

import pytest
import trio

from headrace.provider.body import save
from headrace.provider.client import Client
from headrace.provider.failures import Reply, problem_of
from headrace.records import Problem, Request
from headrace.secret import Secret

if TYPE_CHECKING:
    from pathlib import Path

REQUEST = Request(prompt="a fox", model="gpt-image-2", size="64x64", quality="low")
KEYS = ("sk-proj-canary_Zm9vYmFy-0123456789", "c0ffee5ca1ab1e5ca1ab1ec0ffee1234", "canary/Zm9vYmFy/0123+456789==")
HEAD = b"HTTP/1.1 200 OK\r\n"


def faults(key: str) -> dict[str, list[bytes | str]]:
    echo = key.encode()
    bearer = b"Bearer " + echo
    said = json.dumps({"error": {"message": f"Incorrect API key provided: Bearer {key}.", "code": f"x {key}", "type": key}}).encode()
    slashed = said.replace(b"/", b"\\/")  # as PHP writes it

    def answer(status: int, body: bytes, *headers: bytes) -> bytes:
        lines = [b"HTTP/1.1 %d X" % status, *headers, b"Content-Length: %d" % len(body)]
        return b"\r\n".join(lines) + b"\r\n\r\n" + body

    return {
        "echoed in an error": ["read", answer(401, said)],
        "echoed in an error as PHP writes it": ["read", answer(401, slashed)],
        "echoed in an error as text": ["read", answer(400, b"bad header: " + bearer)],
        "echoed in a 200": ["read", answer(200, said)],
        "echoed in a 202": ["read", answer(202, said)],
        "echoed in a 202 as text": ["read", answer(202, b"Authorization: " + bearer)],
        "echoed in a header of an error": ["read", answer(401, b"", b"X-Your-Key: " + bearer)],
        "echoed in a header of a 200": ["read", answer(200, b"{}", b"X-Your-Key: " + bearer)],
        "echoed as the content coding": ["read", answer(200, b"{}", b"Content-Encoding: " + echo)],
        "echoed as the status line": ["read", b"HTTP/1.1 " + echo + b"\r\n\r\n"],
        "echoed as a broken header": ["read", HEAD + b"Authorization " + bearer + b"\r\n\r\n"],
        "echoed as a wait": ["read", answer(429, b"", b"Retry-After: " + echo)],
        "echoed as an address": ["read", answer(307, b"", b"Location: http://127.0.0.1:1/?" + echo)],
        "echoed as a wrong address": ["read", answer(307, b"", b"Location: http://[" + echo)],
        "echoed and cut off": ["read", HEAD + b"Content-Length: 999\r\n\r\n" + said],
        "closed": ["read"],
        "reset": ["read", "reset"],
        "reset in the body": ["read", HEAD + b"Content-Length: 9\r\n\r\n{", "reset"],
        "timeout": ["read", "stall"],
        "too large": ["read", answer(500, echo * 40_000)],
    }


@pytest.mark.parametrize("key", KEYS, ids=["vendor's", "hexadecimal", "base64"])
@pytest.mark.parametrize("fault", faults(""))
def test_no_fault_makes_the_key_appear(fault: str, key: str, on_the_wire: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="headrace")
    caplog.set_level(logging.INFO, logger="httpx")
    caplog.set_level(logging.INFO, logger="httpcore")

    async def test(wire: Any) -> None:
        outcome = await wire.post()
        shown = [repr(outcome), str(outcome)]
        if isinstance(outcome, Reply):
            shown.append(json.dumps(dict(outcome.headers)))
            end = save(outcome, REQUEST, tmp_path) if outcome.status == 200 else problem_of(outcome)
            assert isinstance(end, Problem)
            shown.append(repr(end))
        assert wire.seen[0].count(key.encode()) == 1
        assert not [text for text in (*shown, caplog.text) if key in text or key[4:24] in text]

    on_the_wire(test, faults(key)[fault], key=key, timeout_s=1.0)


def test_a_cancelled_call_leaves_a_traceback_without_the_key(on_the_wire: Any) -> None:
    async def test(wire: Any) -> None:
        seen: list[str] = []

        async def call() -> None:
            try:
                await wire.post()
            except trio.Cancelled:
                seen.append(traceback.format_exc())
                raise

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            await wire.stalled.wait()
            nursery.cancel_scope.cancel()
        assert "client.py" in seen[0]
        assert wire.key not in seen[0]

    on_the_wire(test, ["read", "stall"])


def test_a_client_does_not_show_its_key() -> None:
    client = Client(base_url="https://127.0.0.1/v1", secret=Secret(KEYS[0]), timeout_s=1)
    shown = f"{client!r} {vars(client)} {client._http!r} {vars(client._http)} {vars(client._http.auth)} {client._http.headers!r}"
    assert KEYS[0] not in shown
    trio.run(client.aclose)

from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
import trio

from headrace.simulator import World, make_app, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE_S = 20.0


@pytest.fixture(scope="session", autouse=True)
def _a_home_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What a run keeps by default is kept below HOME: nothing that a test does belongs among what real runs know."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="session")
def on_loopback() -> Iterator[Callable[[World], str]]:
    """``on_loopback(world)``: the base URL of a server, in a thread of its own until the session ends."""
    with ExitStack() as servers:
        yield lambda world: servers.enter_context(_server(world))


@contextmanager
def _server(world: World) -> Iterator[str]:
    listening = threading.Event()
    found: dict[str, Any] = {}

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            found["port"] = await nursery.start(serve, make_app(world), "127.0.0.1", 0)
            found["end"] = nursery.cancel_scope.cancel
            found["token"] = trio.lowlevel.current_trio_token()
            listening.set()

    def run() -> None:
        # hypercorn breaks its own protocol where an answer is cancelled in the middle; at the end that is nobody's business.
        with suppress(BaseExceptionGroup):
            trio.run(main)

    thread = threading.Thread(target=run)
    thread.start()
    assert listening.wait(PATIENCE_S)
    yield f"http://127.0.0.1:{found['port']}/v1"
    found["token"].run_sync_soon(found["end"])
    thread.join(PATIENCE_S)
    assert not thread.is_alive()

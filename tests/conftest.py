from __future__ import annotations

import gc
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
import trio

from headrace.quota.exchange import SCRIPT
from headrace.secret import Secret
from headrace.simulator import World, make_app, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PATIENCE_S = 20.0
REDIS = shutil.which("redis-server")
REDIS_REQUIRED = os.environ.get("HEADRACE_REDIS") == "required"
"""In CI a missing server is a failure."""


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


class RedisServer:
    """A Redis of its own, which can be stopped, killed and started again at the same place."""

    def __init__(self, folder: Path, password: str | None = None, certificate: Path | None = None) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.url = Secret(f"redis://127.0.0.1:{self.port}")
        port = ["--port", str(self.port)]
        if certificate is not None:
            self.url = Secret(f"rediss://127.0.0.1:{self.port}")
            files = ["--tls-cert-file", str(certificate), "--tls-key-file", str(certificate), "--tls-ca-cert-file", str(certificate)]
            port = ["--port", "0", "--tls-port", str(self.port), "--tls-auth-clients", "no", *files]
        self._command = [REDIS or "", *port, "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
        self._command += [] if password is None else ["--requirepass", password]
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)  # noqa: S603 - found on the path
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        raise AssertionError("redis-server does not listen")

    def stop(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture(scope="session")
def _one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = _served(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


@pytest.fixture
def redis(_one: RedisServer) -> RedisServer:
    """One for the session: each test takes keys of its own."""
    return _one


@pytest.fixture
def opened_books(monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """New books of a limit let in at once, which is a second for each test that is not about limits; what is changed in the script."""
    pause, none = "now < opened + OPENING", "now < opened"
    assert pause in SCRIPT
    monkeypatch.setattr("headrace.quota.turnstile.SCRIPT", SCRIPT.replace(pause, none))
    return pause, none


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """One that the test may break."""
    server = _served(tmp_path)
    yield server
    server.kill()
    gc.collect()  # what the test left must not be found in another


@pytest.fixture
def locked_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """One with the password ``hush-hush``."""
    server = _served(tmp_path, "hush-hush")
    yield server
    server.kill()


def _served(folder: Path, password: str | None = None) -> RedisServer:
    if REDIS is None and not REDIS_REQUIRED:
        pytest.skip("there is no redis-server")
    return RedisServer(folder, password)

from __future__ import annotations

import gc
import os
import shutil
import signal
import socket
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from headrace.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROGRAM = shutil.which("redis-server")
REQUIRED = os.environ.get("HEADRACE_REDIS") == "required"
"""In CI a missing server is a failure."""
PATIENCE_S = 10.0


class Server:
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
        self._command = [PROGRAM or "", *port, "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
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
def _one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = _served(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


@pytest.fixture
def redis(_one: Server) -> Server:
    """One for the session: each test takes keys of its own."""
    return _one


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[Server]:
    """One that the test may break."""
    server = _served(tmp_path)
    yield server
    server.kill()
    gc.collect()  # what the test left must not be found in another


@pytest.fixture
def locked_redis(tmp_path: Path) -> Iterator[Server]:
    """One with the password ``hush-hush``."""
    server = _served(tmp_path, "hush-hush")
    yield server
    server.kill()


def _served(folder: Path, password: str | None = None) -> Server:
    if PROGRAM is None and not REQUIRED:
        pytest.skip("there is no redis-server")
    return Server(folder, password)

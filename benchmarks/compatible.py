"""headrace against OpenAI-compatible servers of others, on loopback: which of four prompts get pictures, and what is said of the rest.

    python benchmarks/compatible.py llmock=/venv/bin/llmock mock-ai-api=/venv/bin/mock-ai-api aimock=/app/node_modules/.bin/llmock

A server is named with the command that starts it: PyPI's ``llmock`` and ``mock-ai-api``, and ``@copilotkit/aimock`` of npm, each installed
where it disturbs nothing. Nothing leaves this machine.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SERVERS: Mapping[str, tuple[str, ...]] = {
    "llmock": ("serve", "-h", "127.0.0.1", "-p", "{port}", "--rpm", "600", "--tpm", "1000000", "--log-level", "warning"),
    "mock-ai-api": ("--openai-port", "{port}", "--anthropic-port", "{other}"),
    "aimock": ("-p", "{port}", "-f", "{fixtures}"),
}
LINES: tuple[dict[str, Any], ...] = (
    {"id": "1024x1024", "prompt": "a fox", "size": "1024x1024"},
    {"id": "any size", "prompt": "a cat", "size": "auto"},
    {"id": "two at once", "prompt": "an owl", "size": "auto", "n": 2},
    {"id": "edit", "prompt": "make it blue", "size": "auto", "images": ["input.png"]},
)
SETTINGS = "[[pool]]\nname = 'mock'\n[fallback]\nladder = []\n[cache]\npolicy = 'off'\ndir = 'cache'\n"
PATIENCE_S = 30.0


def main() -> int:
    """Run the servers that are named, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("server", nargs="+", metavar="NAME=COMMAND", help=f"names: {', '.join(SERVERS)}")
    print("| server | prompt | status | calls | what came |\n|---|---|---|---|---|")
    for each in parser.parse_args().server:
        name, _, command = each.partition("=")
        if name not in SERVERS or not command:
            parser.error(f"{each} is not NAME=COMMAND with a name of {', '.join(SERVERS)}")
        with tempfile.TemporaryDirectory() as folder, _served(name, command, Path(folder)) as url:
            for line in _lines(Path(folder), url):
                error, pictures = line["error"], line["images"]
                came = ", ".join(f"{each['width']}x{each['height']} {each['format']}" for each in pictures) or error["message"]
                print(f"| {name} | {line['id']} | {line['status']} | {line['attempts']} | {came} |", flush=True)
    return 0


@contextmanager
def _served(name: str, command: str, folder: Path) -> Iterator[str]:
    """The base URL of a server that lives as long as the block."""
    (folder / "input.png").write_bytes(_picture(64))
    fixtures = folder / "fixtures"
    fixtures.mkdir()
    answer = {"match": {"endpoint": "image"}, "response": {"image": {"b64Json": base64.b64encode(_picture(1024)).decode()}}}
    (fixtures / "images.json").write_text(json.dumps({"fixtures": [answer]}))
    port = _free_port()
    arguments = [part.format(port=port, other=_free_port(), fixtures=fixtures) for part in SERVERS[name]]
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen([command, *arguments], stdout=log, stderr=log, cwd=folder)  # noqa: S603 - the caller names it
        try:
            _wait_for(port, process)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


def _lines(folder: Path, url: str) -> list[dict[str, Any]]:
    (folder / "headrace.toml").write_text(SETTINGS)
    (folder / "prompts.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in LINES))
    environ = os.environ | {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "sk-local-0123456789", "NO_PROXY": "127.0.0.1"}
    command = [sys.executable, "-m", "headrace", "run", "prompts.jsonl", "--ordered", "--progress", "never"]
    ended = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=10 * PATIENCE_S, check=False)  # noqa: S603 - our own
    if not ended.stdout:
        raise SystemExit(ended.stderr)
    return [json.loads(line) for line in ended.stdout.splitlines()]


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end and process.poll() is None:
        with closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise SystemExit(f"the server did not come up: {process.args!r}")


def _free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        return int(listener.getsockname()[1])


def _picture(edge: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (edge, edge), "steelblue").save(file, "png")
    return file.getvalue()


if __name__ == "__main__":
    sys.exit(main())

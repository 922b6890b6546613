from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING
from urllib.request import ProxyHandler, build_opener

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from subprocess import CompletedProcess
    from typing import Any

    from headrace.simulator import World


def test_metrics_are_served_on_loopback_while_the_run_goes_on(
    tmp_path: Path, started: Callable[..., Any], world: World, until: Callable[[Callable[[], bool]], None]
) -> None:
    with started("run", "--metrics-port", "0", "--log-level", "error", "--cache", "off") as process:
        prompt = f"{tmp_path} fox"
        process.stdin.write(f"{prompt}\n")
        process.stdin.flush()
        until(lambda: world.bill[prompt] == 1)
        assert '"ok"' in process.stdout.readline()
        (url,) = re.findall(r"headrace: metrics: (http://127\.0\.0\.1:\d+/metrics)\n", process.stderr.readline())

        def scraped() -> str:
            with build_opener(ProxyHandler({})).open(url, timeout=10) as answer:
                return str(answer.read().decode())

        # The line is written before its result is handed over, and counted then.
        until(lambda: 'headrace_prompts_total{status="ok",strategy="primary"} 1.0' in scraped())
        text = scraped()
        assert "headrace_prompts_in_flight 0.0" in text  # the slot of the one that has not come is none
        assert str(tmp_path) not in text
        _, err = process.communicate(timeout=20)
        assert (process.returncode, "Traceback" in err) == (0, False)


def test_a_port_that_cannot_be_used_is_one_line(tmp_path: Path, headrace: Callable[..., CompletedProcess[str]]) -> None:
    (tmp_path / "in").write_text("a fox\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = headrace("run", "in", "--metrics-port", port)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == f"headrace: metrics port {port} cannot be used: Address already in use; choose another, or 0 for a free one\n"
    ended = headrace("run", "in", "--metrics-port", "65536")
    assert (ended.returncode, ended.stderr) == (2, "headrace: --metrics-port is 65536; it has to be from 0 to 65535\n")

"""``headrace simulate``: an Images API on this machine, to try programs against."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

_Discipline = Literal["continuous", "sliding", "counter", "fixed"]


def simulate(
    config: Annotated[Path | None, typer.Option("-c", "--config", help="Simulate the pools of this file, with its keys alone.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 takes a free one.")] = 8040,
    images_per_minute: Annotated[float | None, typer.Option(min=0, help="Limit of images a minute; left out: none.")] = None,
    tokens_per_minute: Annotated[float | None, typer.Option(min=0, help="Limit of tokens a minute.")] = None,
    requests_per_minute: Annotated[float | None, typer.Option(min=0, help="Limit of requests a minute.")] = None,
    max_concurrency: Annotated[int | None, typer.Option(min=1, help="Calls at once.")] = None,
    discipline: Annotated[_Discipline, typer.Option(help="How a minute is counted.")] = "continuous",
    time_scale: Annotated[float, typer.Option(min=0, help="1: pictures take as long as real ones; 0: no time.")] = 1.0,
    free_rejected: Annotated[bool, typer.Option("--free-rejected", help="Refused calls are not charged.")] = False,
    limit_headers: Annotated[bool, typer.Option("--limit-headers", help="Send x-ratelimit-* headers.")] = False,
    fault: Annotated[list[str] | None, typer.Option(metavar="NAME=PROBABILITY", help="May be repeated: server_error=0.05.")] = None,
) -> None:
    """Serve a simulated Images API until Ctrl-C.

    Without a configuration any key is taken, and all keys share the limits, as keys of one organisation do. A prompt that contains
    [[fault:NAME]] gets that fault.
    """
    import attrs  # noqa: PLC0415 - see main.py

    from headrace.errors import UsageError  # noqa: PLC0415
    from headrace.owners import real_owners, simulated_pools  # noqa: PLC0415
    from headrace.settings import Settings  # noqa: PLC0415
    from headrace.simulator import SimulatedPool, SimulatorSettings, World, make_app  # noqa: PLC0415

    pool = SimulatedPool(
        name="simulated",
        keys=(),
        images_per_minute=images_per_minute,
        tokens_per_minute=tokens_per_minute,
        requests_per_minute=requests_per_minute,
        max_concurrency=max_concurrency,
        discipline=discipline,
    )
    pools: tuple[SimulatedPool, ...] = (pool,)
    deployments: dict[str, str] = {}
    if config is not None:
        told = Settings.load(config)
        deployments = {name: model for model, name in told.provider.deployments.items()}
        pools = tuple(attrs.evolve(each, discipline=discipline) for each in simulated_pools(real_owners(told.pool, told.key, os.environ)))
    try:
        settings = SimulatorSettings(
            pools=pools,
            deployments=deployments,
            charge_rejected=not free_rejected,
            limit_headers=limit_headers,
            time_scale=time_scale,
            faults=dict(map(_fault, fault or ())),
        )
        app = make_app(World(settings))
    except ValueError as error:
        raise UsageError(str(error)) from None
    _serve(app, port)
    typer.echo("headrace: the simulated API has ended", err=True)


def _serve(app: Any, port: int) -> None:
    import signal  # noqa: PLC0415 - see main.py

    import trio  # noqa: PLC0415

    from headrace.errors import UsageError, lone  # noqa: PLC0415
    from headrace.simulator import serve  # noqa: PLC0415

    stopping = trio.CancelScope()

    async def serving() -> None:
        with stopping:
            async with trio.open_nursery() as nursery:
                bound = await nursery.start(serve, app, "127.0.0.1", port)
                with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as received:
                    typer.echo(f"headrace: an Images API listens on 127.0.0.1:{bound}; Ctrl-C ends it. To use it:", err=True)
                    typer.echo(f"  export OPENAI_BASE_URL=http://127.0.0.1:{bound}/v1 OPENAI_API_KEY=sk-simulated-0123456789", err=True)
                    typer.echo(f"  its books: http://127.0.0.1:{bound}/_simulator/bill and /_simulator/counts", err=True)
                    await anext(received)
                    stopping.cancel()

    try:
        trio.run(serving)
    except BaseExceptionGroup as group:
        # An answer that is cut off by the end makes hypercorn break its own protocol: that is no news.
        if not stopping.cancel_called:
            refused = group.subgroup(OSError)
            if refused is None:
                raise
            raise UsageError(f"port {port} cannot be used: {lone(refused)}; choose another with --port") from None


def _fault(text: str) -> tuple[str, float]:
    name, _, probability = text.partition("=")
    try:
        return name, float(probability)
    except ValueError:
        raise ValueError(f"--fault is {text!r}; it has the form NAME=PROBABILITY, such as server_error=0.05") from None

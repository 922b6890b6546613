"""How an answer goes out through ASGI: whole, cut, a little at a time, or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from headrace.simulator.replies import Delivery

if TYPE_CHECKING:
    from starlette.types import Send

    from headrace.simulator.replies import Reply

_TRICKLES = 60
_TRICKLE_S = 1.0


async def deliver(reply: Reply, send: Send, time_scale: float) -> None:
    """Send the answer; a trickle takes 60 s, scaled.

    Raises:
        ConnectionResetError: the delivery is to break off; in-process the client gets it as it is, a server closes the
            connection.
    """
    if reply.delivery is Delivery.RESET:
        raise ConnectionResetError("the simulator broke the connection before it answered")
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in reply.headers]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    match reply.delivery:
        case Delivery.CUT:
            body = reply.joined()
            await send(_part(body[: len(body) // 2]))
            raise ConnectionResetError("the simulator broke the connection in the middle of its answer")
        case Delivery.TRICKLE:
            body = reply.joined()
            step = len(body) // _TRICKLES + 1
            for at in range(0, len(body), step):
                await trio.sleep(_TRICKLE_S * time_scale)
                await send(_part(body[at : at + step]))
        case _:
            for chunk in reply.chunks:
                await send(_part(chunk))
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _part(body: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": True}

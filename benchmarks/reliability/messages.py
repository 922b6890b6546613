"""HTTP/1.1 messages as they pass, with their boundaries: no more of the protocol than a proxy between honest parties needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import trio

_END_OF_CHUNKS = b"0\r\n\r\n"


class Messages:
    """The messages of one direction of a connection, in the pieces in which they come.

    Args:
        stream: where they come from.
        to_the_end: whether a message that names no length lasts as long as the connection, as an answer does, or has no body.
    """

    def __init__(self, stream: trio.SocketStream, *, to_the_end: bool = False) -> None:
        self._stream = stream
        self._to_the_end = to_the_end
        self._buffer = bytearray()
        self._left: int | None = 0
        """Bytes of the body to come; None where its end is seen when it comes."""
        self._chunked = False
        self._tail = b""
        self.ended = False
        """The connection ended, whatever was said before."""

    async def head(self) -> bytes:
        """The next head with its empty line; nothing where the connection ends instead."""
        while b"\r\n\r\n" not in self._buffer:
            if not await self._more():
                return b""
        end = self._buffer.index(b"\r\n\r\n") + 4
        head = self._taken(end)
        fields = dict(_field(line) for line in head.split(b"\r\n")[1:] if line)
        self._chunked, self._tail = fields.get(b"transfer-encoding") == b"chunked", b""
        length = fields.get(b"content-length")
        self._left = int(length) if length else None if self._chunked or self._to_the_end else 0
        return head

    async def piece(self) -> bytes:
        """What came of the body since; nothing at its end."""
        if self._left == 0 or (not self._buffer and not await self._more()):
            return b""
        piece = self._taken(len(self._buffer) if self._left is None else min(len(self._buffer), self._left))
        if self._left is not None:
            self._left -= len(piece)
        elif self._chunked:
            # What ends so in the middle of a body is no picture in base64.
            self._tail = (self._tail + piece)[-len(_END_OF_CHUNKS) :]
            self._left = 0 if self._tail == _END_OF_CHUNKS else None
        return piece

    async def _more(self) -> bool:
        data = await self._stream.receive_some()
        self._buffer += data
        self.ended = not data
        return bool(data)

    def _taken(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken


def _field(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.lower().partition(b":")
    return name, value.strip()

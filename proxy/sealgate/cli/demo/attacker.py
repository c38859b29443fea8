"""The attacker's client: octets of its own making on a connection with confirms, and what it is told."""

from __future__ import annotations

import asyncio
import struct
from typing import Any, Final

from pamqp import base, commands
from pamqp import frame as pamqp_frame

from sealgate.cli.demo.login import Login

_ANSWER_S_MAX: Final = 10.0
_HEAD: Final = struct.Struct(">BHI")
_PROTOCOL_HEADER: Final = b"AMQP\x00\x00\x09\x01"
_CHANNEL: Final = 1


class Attacker:
    """Connects when it must: refusals that end a connection are part of the game."""

    def __init__(self, port: int, login: Login) -> None:
        self._port: Final = port
        self._login: Final = login
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def publish(self, octets: bytes) -> str:
        """Send the octets of one publish and wait for the answer, which is returned as a short text.

        Raises TimeoutError when there is none.
        """
        async with asyncio.timeout(_ANSWER_S_MAX):
            if self._writer is None:
                await self._connect()
            self._write(octets)
            return await self._answer()

    async def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None

    async def _connect(self) -> None:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._write(_PROTOCOL_HEADER)
        await self._wait_for(commands.Connection.Start)
        # Not the properties of py-amqp: other clients are told by a nack of the one message.
        properties: dict[str, Any] = {"product": "attacker", "capabilities": {"publisher_confirms": True}}
        response = f"\0{self._login.user}\0{self._login.password}"
        self._send(commands.Connection.StartOk(properties, "PLAIN", response), 0)
        tune = await self._wait_for(commands.Connection.Tune)
        self._send(commands.Connection.TuneOk(tune.channel_max, tune.frame_max, 0), 0)
        self._send(commands.Connection.Open(self._login.vhost), 0)
        await self._wait_for(commands.Connection.OpenOk)
        self._send(commands.Channel.Open(), _CHANNEL)
        await self._wait_for(commands.Channel.OpenOk)
        self._send(commands.Confirm.Select(), _CHANNEL)
        await self._wait_for(commands.Confirm.SelectOk)

    async def _answer(self) -> str:
        """Until the one publish that is out was answered."""
        returned = ""
        while True:
            try:
                part = await self._hear()
            except (asyncio.IncompleteReadError, ConnectionError):
                await self.close()
                return "connection lost"
            if isinstance(part, commands.Basic.Return):
                returned = f"basic.return {part.reply_code} {part.reply_text}, "
            elif isinstance(part, commands.Basic.Ack):
                return f"{returned}basic.ack"
            elif isinstance(part, commands.Basic.Nack):
                return f"{returned}basic.nack"
            elif isinstance(part, commands.Channel.Close | commands.Connection.Close):
                await self.close()
                return f"{part.name.lower()} {part.reply_code} {part.reply_text}"

    async def _wait_for(self, kind: type[base.Frame]) -> Any:
        part = await self._hear()
        if not isinstance(part, kind):
            raise ConnectionError(f"{part!r} instead of {kind.name}")
        return part

    async def _hear(self) -> Any:
        assert self._reader is not None
        head = await self._reader.readexactly(_HEAD.size)
        rest = await self._reader.readexactly(_HEAD.unpack(head)[2] + 1)
        return pamqp_frame.unmarshal(head + rest)[2]

    def _send(self, method: base.Frame, channel: int) -> None:
        self._write(pamqp_frame.marshal(method, channel))

    def _write(self, octets: bytes) -> None:
        assert self._writer is not None
        self._writer.write(octets)

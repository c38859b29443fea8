"""The broker behind the gateways, looked at over direct connections: what reached it, what was kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pamqp import commands
from pamqp import frame as pamqp_frame

from support.processes import wait_until
from support.rabbitmq_server import RabbitMQServer
from support.raw_client import HEADER, RawClient, frame

#: Every message published in the virtual host is copied here by the broker's own tracer.
TRACE = "every publish"
TRACER = "amq.rabbitmq.trace"
QUEUES = ("celery", "other", "high", "reply", "replies.1")
#: Exchanges of the rows, all bound to the first queue.
EXCHANGES = {"celery.pidbox": "fanout", "celeryev": "topic", "celery_delayed_3": "topic", "other": "topic"}
ARRIVAL_SECONDS_MAX = 10


@dataclass(frozen=True)
class Arrived:
    """A message as it lay in a queue, its content header octet by octet."""

    exchange: str
    routing_key: str
    header: bytes
    body: bytes

    @property
    def properties(self) -> Any:
        """The properties as pamqp reads them."""
        return pamqp_frame.unmarshal(frame(HEADER, 1, self.header))[2].properties


class Direct:
    """A direct connection to one virtual host, for declaring and looking."""

    def __init__(self, server: RabbitMQServer, vhost: str) -> None:
        self.vhost = vhost
        self._client = RawClient(server.port, vhost)
        self._client.open_channel()

    def close(self) -> None:
        self._client.close()

    def declare(self, queue: str, arguments: dict[str, object] | None = None, durable: bool = False) -> None:
        declare = commands.Queue.Declare(queue=queue, durable=durable, arguments=arguments or {})
        self._client.ask(1, declare, commands.Queue.DeclareOk)

    def declare_exchange(self, name: str, kind: str) -> None:
        declare = commands.Exchange.Declare(exchange=name, exchange_type=kind)
        self._client.ask(1, declare, commands.Exchange.DeclareOk)

    def bind(self, queue: str, exchange: str, routing_key: str) -> None:
        bind = commands.Queue.Bind(queue=queue, exchange=exchange, routing_key=routing_key)
        self._client.ask(1, bind, commands.Queue.BindOk)

    def depth(self, queue: str) -> int:
        passive = commands.Queue.Declare(queue=queue, passive=True)
        return int(self._client.ask(1, passive, commands.Queue.DeclareOk).message_count)

    def exists(self, queue: str) -> bool:
        """Asked on a channel of its own: the broker closes it when there is no such queue."""
        client = self._client
        client.open_channel(2)
        client.say(2, commands.Queue.Declare(queue=queue, passive=True))
        if isinstance(client.read().said, commands.Channel.Close):
            client.say(2, commands.Channel.CloseOk())
            return False
        client.ask(2, commands.Channel.Close(200, "", 0, 0), commands.Channel.CloseOk)
        return True

    def purge(self, queue: str) -> None:
        self._client.ask(1, commands.Queue.Purge(queue=queue), commands.Queue.PurgeOk)

    def get(self, queue: str) -> Arrived | None:
        """Take the next message out of `queue`."""
        client = self._client
        client.say(1, commands.Basic.Get(queue=queue, no_ack=True))
        answer = client.read().said
        if isinstance(answer, commands.Basic.GetEmpty):
            return None
        assert isinstance(answer, commands.Basic.GetOk)
        header = client.read().payload
        body, size = b"", int.from_bytes(header[4:12], "big")
        while len(body) < size:
            body += client.read().payload
        return Arrived(answer.exchange, answer.routing_key, header, body)

    def drain(self, queue: str) -> list[Arrived]:
        """Take everything out of `queue`."""
        taken: list[Arrived] = []
        while (arrived := self.get(queue)) is not None:
            taken.append(arrived)
        return taken

    def wait_for(self, queue: str, count: int) -> None:
        """Until `queue` holds exactly `count` messages; more than that fails at once."""
        wait_until(lambda: self.depth(queue) >= count, ARRIVAL_SECONDS_MAX, f"{count} messages in {queue}")
        assert self.depth(queue) == count, queue


class Broker(Direct):
    """Eyes on a virtual host where nothing that is published goes unseen."""

    def __init__(self, server: RabbitMQServer, vhost: str) -> None:
        super().__init__(server, vhost)
        server.ctl("trace_on", "--vhost", vhost)
        self.declare(TRACE)
        self.bind(TRACE, TRACER, "publish.#")
        for name in QUEUES:
            self.declare(name)
        for name, kind in EXCHANGES.items():
            self.declare_exchange(name, kind)
            self.bind(QUEUES[0], name, "#")

    def check_nothing_arrived(self) -> None:
        """Neither a queue nor the tracer has seen a publish."""
        names = (*QUEUES, TRACE)
        assert {name: self.depth(name) for name in names} == dict.fromkeys(names, 0)

    def take_arrived(self, count: int) -> list[Arrived]:
        """The messages published since the last look, of which the tracer saw exactly `count`."""
        self.wait_for(TRACE, count)
        self.purge(TRACE)
        return [arrived for name in QUEUES for arrived in self.drain(name)]

    def forget(self) -> None:
        """Empty everything."""
        for name in (*QUEUES, TRACE):
            self.purge(name)

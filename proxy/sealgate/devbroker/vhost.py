"""The one virtual host: its exchanges and queues, and the way of a message through them."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pamqp import commands

from sealgate.devbroker.arguments import read_arguments
from sealgate.devbroker.deadletter import goes_in_circles, stamped
from sealgate.devbroker.errors import (
    VHOST,
    AMQPChannelError,
    default_exchange,
    inequivalent,
    locked_queue,
    no_exchange,
    no_queue,
)
from sealgate.devbroker.exchange import Binding, Exchange, routed
from sealgate.devbroker.limits import Memory
from sealgate.devbroker.message import Message, PropertiesError
from sealgate.devbroker.queue import Queue

DIRECT_REPLY: Final = "amq.rabbitmq.reply-to"
_RESERVED: Final = "amq."


@dataclass(slots=True, frozen=True)
class Routed:
    """Where a publish went: whether anywhere at all, and whether every queue took it."""

    anywhere: bool
    taken: bool


class VHost:
    def __init__(self, memory: Memory) -> None:
        self.memory: Final = memory
        self.exchanges: Final = {
            exchange.name: exchange
            for exchange in (
                Exchange("", "direct"),
                Exchange("amq.direct", "direct"),
                Exchange("amq.fanout", "fanout"),
                Exchange("amq.topic", "topic"),
            )
        }
        self.queues: Final[dict[str, Queue]] = {}
        #: token of a direct reply-to address -> who gets what is sent there
        self.direct_replies: Final[dict[str, Callable[[Message], None]]] = {}
        #: exchange -> messages published to it by clients
        self.published: Final[Counter[str]] = Counter()

    def publish(self, message: Message) -> Routed:
        """Route a client's message. Raises 404 and 403 as RabbitMQ does."""
        exchange = self.exchange(message.exchange)
        if exchange.internal:
            raise AMQPChannelError(
                403, f"cannot publish to internal exchange '{exchange.name}' in vhost '{VHOST}'"
            )
        self.published[exchange.name] += 1
        if not exchange.name and message.routing_key.startswith(DIRECT_REPLY + "."):
            return self._reply(message)
        queues = self._targets(exchange, message.routing_key)
        taken = [queue.put(message) for queue in queues]
        return Routed(bool(queues), all(taken))

    def exchange(self, name: str) -> Exchange:
        found = self.exchanges.get(name)
        if found is None:
            raise no_exchange(name)
        return found

    def queue(self, name: str, user: object) -> Queue:
        """The queue, for the connection `user`. Raises 404, and 405 when it is another's alone."""
        found = self.queues.get(name)
        if found is None:
            raise no_queue(name)
        if found.owner is not None and found.owner is not user:
            raise locked_queue(name)
        return found

    def declare_exchange(self, method: commands.Exchange.Declare) -> None:
        current = self.exchanges.get(method.exchange)
        if method.passive:
            self.exchange(method.exchange)
            return
        if not method.exchange:
            raise default_exchange()
        wanted = Exchange(
            method.exchange,
            method.exchange_type,
            method.durable,
            method.auto_delete,
            method.internal,
            method.arguments or {},
        )
        if current is not None:
            current.check_same(wanted)
            return
        _check_name("exchange", method.exchange)
        self.exchanges[method.exchange] = wanted

    def delete_exchange(self, name: str, if_unused: bool) -> None:
        exchange = self.exchanges.get(name)
        _check_name("exchange", name)
        if exchange is None:
            return
        if if_unused and exchange.bindings:
            raise AMQPChannelError(406, f"exchange '{name}' in vhost '{VHOST}' in use")
        del self.exchanges[name]
        self._unbind_all(exchange)

    def declare_queue(self, method: commands.Queue.Declare, user: object) -> Queue:
        """Find or make the queue. A name is made up where none is given."""
        name = method.queue or f"amq.gen-{secrets.token_urlsafe(16)}"
        if name in self.queues or method.passive:
            queue = self.queue(name, user)
            if not method.passive:
                _check_same(queue, method)
            queue.touch()
            return queue
        if method.queue:
            _check_name("queue", name)
        arguments = read_arguments(name, method.arguments)
        queue = Queue(name, arguments, self.memory, self._dead_letter, self.drop_queue)
        queue.durable, queue.auto_delete = method.durable, method.auto_delete
        queue.owner = user if method.exclusive else None
        self.queues[name] = queue
        return queue

    def delete_queue(self, queue: Queue, if_unused: bool = False, if_empty: bool = False) -> int:
        """Returns how many messages went with it."""
        if if_unused and queue.consumers:
            raise AMQPChannelError(406, f"queue '{queue.name}' in vhost '{VHOST}' in use")
        if if_empty and len(queue):
            raise AMQPChannelError(406, f"queue '{queue.name}' in vhost '{VHOST}' not empty")
        del self.queues[queue.name]
        self._unbind_all(queue)
        return queue.delete()

    def drop_queue(self, queue: Queue) -> None:
        """Delete it, unless somebody was faster."""
        if self.queues.get(queue.name) is queue:
            self.delete_queue(queue)

    def drop_exclusive(self, user: object) -> None:
        """The connection `user` is gone, and its queues with it."""
        for queue in [queue for queue in self.queues.values() if queue.owner is user]:
            self.drop_queue(queue)

    def bind(self, source: str, destination: Queue | Exchange, routing_key: str) -> None:
        if not source or not destination.name:
            raise default_exchange()
        self.exchange(source).bindings[Binding(destination, routing_key)] = None

    def unbind(self, source: str, destination: Queue | Exchange, routing_key: str) -> None:
        if not source or not destination.name:
            raise default_exchange()
        exchange = self.exchange(source)
        binding = Binding(destination, routing_key)
        if binding in exchange.bindings:
            del exchange.bindings[binding]
            self._drop_if_unused(exchange)

    def _targets(self, exchange: Exchange, routing_key: str) -> list[Queue]:
        if exchange.name:
            return routed(exchange, routing_key)
        queue = self.queues.get(routing_key)
        return [] if queue is None else [queue]

    def _reply(self, message: Message) -> Routed:
        deliver = self.direct_replies.get(message.routing_key)
        if deliver is None:
            return Routed(False, True)
        deliver(message)
        return Routed(True, True)

    def _dead_letter(self, queue: Queue, message: Message, reason: str) -> None:
        """Publish what died to the dead-letter exchange; without that exchange it is gone."""
        arguments = queue.arguments
        exchange = self.exchanges.get(arguments.dead_letter_exchange or "")
        if exchange is None:
            return
        try:
            dead = stamped(message, queue.name, reason, exchange.name, arguments.dead_letter_routing_key)
        except PropertiesError:
            return
        for target in self._targets(exchange, dead.routing_key):
            if not goes_in_circles(dead, target.name):
                target.put(dead)

    def _unbind_all(self, destination: Queue | Exchange) -> None:
        for exchange in list(self.exchanges.values()):
            gone = [binding for binding in exchange.bindings if binding.destination is destination]
            for binding in gone:
                del exchange.bindings[binding]
            if gone:
                self._drop_if_unused(exchange)

    def _drop_if_unused(self, exchange: Exchange) -> None:
        if exchange.auto_delete and not exchange.bindings and exchange.name in self.exchanges:
            del self.exchanges[exchange.name]
            self._unbind_all(exchange)


def _check_name(kind: str, name: str) -> None:
    """Raise 403 for names that only the broker gives."""
    if not name:
        raise default_exchange()
    if name.startswith(_RESERVED):
        raise AMQPChannelError(403, f"{kind} name '{name}' contains reserved prefix 'amq.*'")


def _check_same(queue: Queue, method: commands.Queue.Declare) -> None:
    """Raise 406 when the declaration differs from the queue."""
    for argument, received, current in (
        ("durable", method.durable, queue.durable),
        ("exclusive", method.exclusive, queue.owner is not None),
        ("auto_delete", method.auto_delete, queue.auto_delete),
    ):
        if received != current:
            raise inequivalent("queue", queue.name, argument, received, current)
    given, theirs = queue.arguments.given, method.arguments or {}
    for name in sorted({*given, *theirs}):
        if given.get(name) != theirs.get(name):
            raise inequivalent("queue", queue.name, name, theirs.get(name), given.get(name))

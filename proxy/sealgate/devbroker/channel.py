"""One channel: which methods it takes, and those about exchanges and queues."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from pamqp import base, commands

from sealgate.devbroker.consuming import Consuming
from sealgate.devbroker.errors import AMQPChannelError, AMQPConnectionError, no_queue
from sealgate.devbroker.message import Message
from sealgate.devbroker.methods import DeclareOk
from sealgate.devbroker.publishing import Publishing
from sealgate.devbroker.queue import Queue
from sealgate.devbroker.vhost import VHost

if TYPE_CHECKING:
    from sealgate.devbroker.connection import Connection


class Channel:
    """An open channel. After an error it is `closing`, and takes nothing but the answer."""

    def __init__(self, connection: Connection, number: int) -> None:
        self.vhost: Final[VHost] = connection.vhost
        self.closing = False
        self.publishing: Final = Publishing(self)
        self.consuming: Final = Consuming(self)
        self._connection: Final = connection
        self._number: Final = number
        #: The queue that an empty name means: the one declared last.
        self._last_queue = ""
        self._handlers: Final[dict[type[base.Frame], Callable[[Any], None]]] = {
            commands.Channel.Flow: self._flow,
            commands.Exchange.Declare: self._exchange_declare,
            commands.Exchange.Delete: self._exchange_delete,
            commands.Exchange.Bind: self._exchange_bind,
            commands.Exchange.Unbind: self._exchange_unbind,
            commands.Queue.Declare: self._queue_declare,
            commands.Queue.Bind: self._queue_bind,
            commands.Queue.Unbind: self._queue_unbind,
            commands.Queue.Purge: self._queue_purge,
            commands.Queue.Delete: self._queue_delete,
            commands.Confirm.Select: self.publishing.select_confirms,
            commands.Basic.Publish: self.publishing.begin,
            commands.Basic.Qos: self.consuming.set_prefetch,
            commands.Basic.Consume: self.consuming.consume,
            commands.Basic.Cancel: self.consuming.cancel,
            commands.Basic.CancelOk: _nothing,
            commands.Basic.Get: self.consuming.get,
            commands.Basic.Ack: self.consuming.acknowledge,
            commands.Basic.Nack: self.consuming.negative_acknowledge,
            commands.Basic.Reject: self.consuming.reject,
            commands.Basic.Recover: self.consuming.recover,
            commands.Basic.RecoverAsync: self.consuming.recover_async,
        }

    @property
    def user(self) -> str:
        return self._connection.user

    @property
    def writable(self) -> bool:
        """Whether deliveries may be sent now."""
        return self._connection.writable and not self.closing

    @property
    def takes_cancels(self) -> bool:
        """Whether the client understands that the broker cancels a consumer."""
        return self._connection.has_capability("consumer_cancel_notify") and not self.closing

    def handle(self, method: base.Frame) -> None:
        """A method from the client. Raises `AMQPChannelError` and `AMQPConnectionError`."""
        if self.publishing.expecting_content:
            raise AMQPConnectionError(505, "expected content header or body, got a method frame instead")
        handler = self._handlers.get(type(method))
        if handler is None:
            raise AMQPConnectionError(540, f"{method.name} is not in the built-in broker")
        handler(method)

    def send(self, method: base.Frame) -> None:
        self._connection.send(method, self._number)

    def send_message(self, method: base.Frame, message: Message) -> None:
        self._connection.send_message(method, message, self._number)

    def queue(self, name: str) -> Queue:
        """The queue of that name, or the last declared. Raises 404 and 405."""
        if not name and not self._last_queue:
            raise no_queue("")
        return self.vhost.queue(name or self._last_queue, self._connection)

    def close(self) -> None:
        self.closing = True
        self.consuming.close()

    def _answer(self, method: Any, answer: base.Frame) -> None:
        if not method.nowait:
            self.send(answer)

    def _flow(self, method: commands.Channel.Flow) -> None:
        if not method.active:
            raise AMQPConnectionError(540, "active=false")
        self.send(commands.Channel.FlowOk(True))

    def _exchange_declare(self, method: commands.Exchange.Declare) -> None:
        self.vhost.declare_exchange(method)
        self._answer(method, commands.Exchange.DeclareOk())

    def _exchange_delete(self, method: commands.Exchange.Delete) -> None:
        self.vhost.delete_exchange(method.exchange, method.if_unused)
        self._answer(method, commands.Exchange.DeleteOk())

    def _exchange_bind(self, method: commands.Exchange.Bind) -> None:
        self.vhost.bind(method.source, self.vhost.exchange(method.destination), method.routing_key)
        self._answer(method, commands.Exchange.BindOk())

    def _exchange_unbind(self, method: commands.Exchange.Unbind) -> None:
        self.vhost.unbind(method.source, self.vhost.exchange(method.destination), method.routing_key)
        self._answer(method, commands.Exchange.UnbindOk())

    def _queue_declare(self, method: commands.Queue.Declare) -> None:
        queue = self.vhost.declare_queue(method, self._connection)
        self._last_queue = queue.name
        self._answer(method, DeclareOk(queue.name, len(queue), len(queue.consumers)))

    def _queue_bind(self, method: commands.Queue.Bind) -> None:
        queue = self.queue(method.queue)
        # RabbitMQ's rule: with both names empty, the key is the queue's name.
        routing_key = method.routing_key if method.queue or method.routing_key else queue.name
        self.vhost.bind(method.exchange, queue, routing_key)
        self._answer(method, commands.Queue.BindOk())

    def _queue_unbind(self, method: commands.Queue.Unbind) -> None:
        self.vhost.unbind(method.exchange, self.queue(method.queue), method.routing_key)
        self.send(commands.Queue.UnbindOk())

    def _queue_purge(self, method: commands.Queue.Purge) -> None:
        self._answer(method, commands.Queue.PurgeOk(self.queue(method.queue).purge()))

    def _queue_delete(self, method: commands.Queue.Delete) -> None:
        """One that is not there is deleted as well, as in RabbitMQ."""
        count = 0
        try:
            queue = self.queue(method.queue)
        except AMQPChannelError as error:
            if error.code != 404:
                raise
        else:
            count = self.vhost.delete_queue(queue, method.if_unused, method.if_empty)
        self._answer(method, commands.Queue.DeleteOk(count))


def _nothing(method: base.Frame) -> None:
    """An answer nobody waits for."""

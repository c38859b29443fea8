"""Messages going out on a channel: consumers, basic.get, prefetch, acknowledgements."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pamqp import commands

from sealgate.devbroker.errors import VHOST, AMQPChannelError, AMQPConnectionError
from sealgate.devbroker.message import Message
from sealgate.devbroker.methods import Deliver, GetOk
from sealgate.devbroker.queue import Entry, Queue
from sealgate.devbroker.vhost import DIRECT_REPLY

if TYPE_CHECKING:
    from sealgate.devbroker.channel import Channel


class Consumer:
    """One consumer on a queue. `prefetch` 0 means any number."""

    def __init__(self, consuming: Consuming, queue: Queue, tag: str, no_ack: bool, exclusive: bool) -> None:
        self.queue: Final = queue
        self.tag: Final = tag
        self.no_ack: Final = no_ack
        self.exclusive: Final = exclusive
        self.prefetch = consuming.prefetch
        self.unacknowledged = 0
        self._consuming: Final = consuming

    def ready(self) -> bool:
        return self._consuming.may_deliver(self)

    def deliver(self, entry: Entry) -> None:
        self._consuming.deliver(self, entry)

    def cancelled(self) -> None:
        self._consuming.queue_gone(self)


@dataclass(slots=True, frozen=True)
class _Delivery:
    """Handed out and not settled; `consumer` is None after basic.get."""

    entry: Entry
    queue: Queue
    consumer: Consumer | None


class Consuming:
    def __init__(self, channel: Channel) -> None:
        self._channel: Final = channel
        self._consumers: Final[dict[str, Consumer]] = {}
        self._unacknowledged: Final[dict[int, _Delivery]] = {}
        self._last_tag = 0
        #: For consumers; 0 means any number.
        self.prefetch = 0
        #: For all consumers of the channel together.
        self._prefetch_shared = 0
        self._direct_reply = ""

    def set_prefetch(self, method: commands.Basic.Qos) -> None:
        """With `global` for the channel, without for its consumers, each.

        RabbitMQ leaves consumers that are there as they were. Here they change, too: kombu takes a broker
        that does not call itself RabbitMQ to do what AMQP says, and Celery raises the prefetch of the
        consumers it has, without `global`, while tasks with an eta wait.
        """
        if method.prefetch_size:
            raise AMQPConnectionError(540, f"prefetch_size!=0 ({method.prefetch_size})")
        if method.global_:
            self._prefetch_shared = method.prefetch_count
        else:
            self.prefetch = method.prefetch_count
            for consumer in self._consumers.values():
                consumer.prefetch = method.prefetch_count
        self._channel.send(commands.Basic.QosOk())
        self.pump()

    def consume(self, method: commands.Basic.Consume) -> None:
        tag = method.consumer_tag or f"amq.ctag-{secrets.token_urlsafe(16)}"
        if tag in self._consumers:
            raise AMQPConnectionError(530, f"attempt to reuse consumer tag '{tag}'")
        if method.queue == DIRECT_REPLY:
            self._consume_direct_replies(tag, method)
            return
        queue = self._channel.queue(method.queue)
        if any(taker.exclusive for taker in queue.consumers) or (method.exclusive and queue.consumers):
            raise AMQPChannelError(403, f"queue '{queue.name}' in vhost '{VHOST}' in exclusive use")
        consumer = Consumer(self, queue, tag, method.no_ack, method.exclusive)
        self._consumers[tag] = consumer
        if not method.nowait:
            self._channel.send(commands.Basic.ConsumeOk(tag))
        queue.add_consumer(consumer)
        queue.pump()

    def cancel(self, method: commands.Basic.Cancel) -> None:
        """What was delivered stays unacknowledged; an unknown tag is no error."""
        consumer = self._consumers.pop(method.consumer_tag or "", None)
        if not method.nowait:
            self._channel.send(commands.Basic.CancelOk(method.consumer_tag))
        if consumer is not None:
            consumer.queue.remove_consumer(consumer)

    def get(self, method: commands.Basic.Get) -> None:
        queue = self._channel.queue(method.queue)
        entry = queue.get()
        if entry is None:
            self._channel.send(commands.Basic.GetEmpty())
            return
        message = entry.message
        tag = self._hand_out(_Delivery(entry, queue, None), method.no_ack)
        answer = GetOk(tag, entry.redelivered, message.exchange, message.routing_key, len(queue))
        self._channel.send_message(answer, message)

    def may_deliver(self, consumer: Consumer) -> bool:
        if not self._channel.writable:
            return False
        if consumer.no_ack:
            return True
        if consumer.prefetch and consumer.unacknowledged >= consumer.prefetch:
            return False
        return not self._prefetch_shared or len(self._unacknowledged) < self._prefetch_shared

    def deliver(self, consumer: Consumer, entry: Entry) -> None:
        message = entry.message
        tag = self._hand_out(_Delivery(entry, consumer.queue, consumer), consumer.no_ack)
        method = Deliver(consumer.tag, tag, entry.redelivered, message.exchange, message.routing_key)
        self._channel.send_message(method, message)

    def queue_gone(self, consumer: Consumer) -> None:
        self._consumers.pop(consumer.tag, None)
        if self._channel.takes_cancels:
            self._channel.send(commands.Basic.Cancel(consumer.tag, nowait=True))

    def acknowledge(self, method: commands.Basic.Ack) -> None:
        for delivery in self._settle(method.delivery_tag or 0, method.multiple):
            delivery.queue.settle(delivery.entry)
        self.pump()

    def negative_acknowledge(self, method: commands.Basic.Nack) -> None:
        self._refuse(self._settle(method.delivery_tag or 0, method.multiple), method.requeue)

    def reject(self, method: commands.Basic.Reject) -> None:
        self._refuse(self._settle(method.delivery_tag or 0, False), method.requeue)

    def recover(self, method: commands.Basic.Recover) -> None:
        self.recover_async(method)
        self._channel.send(commands.Basic.RecoverOk())

    def recover_async(self, method: commands.Basic.Recover | commands.Basic.RecoverAsync) -> None:
        if not method.requeue:
            raise AMQPConnectionError(540, "requeue=false")
        self._refuse(self._take(list(self._unacknowledged)), True)

    def direct_reply_address(self) -> str:
        """Where replies to this channel go. Raises 406 when nobody listens for them."""
        if not self._direct_reply:
            raise AMQPChannelError(406, "fast reply consumer does not exist")
        return self._direct_reply

    def pump(self) -> None:
        """Something became possible: let the queues of this channel's consumers try."""
        for queue in {consumer.queue: None for consumer in self._consumers.values()}:
            queue.pump()

    def close(self) -> None:
        """Give everything back."""
        consumers = list(self._consumers.values())
        self._consumers.clear()
        self._channel.vhost.direct_replies.pop(self._direct_reply, None)
        for consumer in consumers:
            if consumer in consumer.queue.consumers:
                consumer.queue.remove_consumer(consumer)
        self._refuse(self._take(list(self._unacknowledged)), True)

    def _consume_direct_replies(self, tag: str, method: commands.Basic.Consume) -> None:
        if not method.no_ack:
            raise AMQPChannelError(406, "reply consumer cannot acknowledge")
        if self._direct_reply:
            raise AMQPChannelError(406, "reply consumer already set")
        self._direct_reply = f"{DIRECT_REPLY}.{secrets.token_urlsafe(24)}"
        if not method.nowait:
            self._channel.send(commands.Basic.ConsumeOk(tag))

        def deliver(message: Message) -> None:
            self._last_tag += 1
            answer = Deliver(tag, self._last_tag, False, message.exchange, message.routing_key)
            self._channel.send_message(answer, message)

        self._channel.vhost.direct_replies[self._direct_reply] = deliver

    def _hand_out(self, delivery: _Delivery, no_ack: bool) -> int:
        """The delivery's tag, remembered until it is settled."""
        self._last_tag += 1
        if no_ack:
            delivery.queue.settle(delivery.entry)
        else:
            self._unacknowledged[self._last_tag] = delivery
            if delivery.consumer is not None:
                delivery.consumer.unacknowledged += 1
        return self._last_tag

    def _settle(self, tag: int, multiple: bool) -> list[_Delivery]:
        """Take out what is meant. Raises 406 for a tag that is not outstanding."""
        if multiple and tag == 0:
            return self._take(list(self._unacknowledged))
        if tag not in self._unacknowledged:
            raise AMQPChannelError(406, f"unknown delivery tag {tag}")
        return self._take([other for other in self._unacknowledged if other <= tag] if multiple else [tag])

    def _take(self, tags: list[int]) -> list[_Delivery]:
        taken = [self._unacknowledged.pop(tag) for tag in tags]
        for delivery in taken:
            if delivery.consumer is not None:
                delivery.consumer.unacknowledged -= 1
        return taken

    def _refuse(self, deliveries: list[_Delivery], requeue: bool) -> None:
        for delivery in deliveries:
            if requeue:
                delivery.queue.requeue([delivery.entry])
            else:
                delivery.queue.reject(delivery.entry)
        self.pump()

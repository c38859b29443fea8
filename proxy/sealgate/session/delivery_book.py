"""The deliveries of one conversation, by channel: memory, and what is said to either side."""

from __future__ import annotations

from typing import Final

from sealgate.reason import GateError, Reason
from sealgate.session.channel import Channel
from sealgate.session.conversation import Conversation
from sealgate.session.delivering import Delivering, Delivery
from sealgate.session.states import CHANNEL_LIVE
from sealgate.verify.delivery import DeliveryPolicy

#: Deliveries of one channel that the client has not answered: above it the broker is not read until it has.
#: Three times what a prefetch can ask for (65,535), and about 20 MB of tags.
UNACKED_MAX: Final = 200_000


class DeliveryBook:
    """What the parts that deal with deliveries share."""

    __slots__ = ("_channels", "_crowded", "_policy", "_waiting_bytes", "conversation")

    def __init__(self, conversation: Conversation, policy: DeliveryPolicy) -> None:
        self.conversation: Final = conversation
        self._policy: Final = policy
        self._channels: Final[dict[int, Delivering]] = {}
        #: Memory of what is undecided, or waits for quarantine.
        self._waiting_bytes = 0
        #: Channels with too many unanswered deliveries.
        self._crowded: Final[set[int]] = set()

    @property
    def channels(self) -> list[Delivering]:
        """All that deliveries are known of."""
        return list(self._channels.values())

    @property
    def reads(self) -> bool:
        """Whether the broker is to be read: not while too much of it waits."""
        limit = self.conversation.terms.limits.held_bytes_max
        return self._waiting_bytes <= limit and not self._crowded

    def of(self, channel: Channel) -> Delivering:
        """The deliveries of a channel; a number that is used again begins anew."""
        delivering = self._channels.get(channel.number)
        if delivering is None or delivering.channel is not channel:
            delivering = self._channels[channel.number] = Delivering(channel, self._policy)
            self._crowded.discard(channel.number)
        return delivering

    def may_go_on(self, delivery: Delivery) -> bool:
        """Whether anything is still to become of a delivery that had to wait."""
        channel = delivery.channel
        alive = self.conversation.channels.get(channel.number) is channel
        return alive and not delivery.void and channel.state in CHANNEL_LIVE

    def grow(self, delivery: Delivery, size: int) -> None:
        """A delivery takes `size` more. Over the limits the connection ends: the broker still has it all."""
        if delivery.void:
            return
        conversation = self.conversation
        delivery.taken += size
        conversation.grow(size)
        limits, tally = conversation.terms.limits, conversation.terms.tally
        name = ""
        if conversation.partial_bytes > limits.connection_bytes_max:
            name = "connection_bytes_max"
        elif tally.buffered_bytes > limits.process_bytes_max:
            name = "process_bytes_max"
        if name:
            tally.limits_hit[name] += 1
            if conversation.fault is None:
                conversation.fault = GateError(Reason.CONN_MEMORY, f"deliveries over {name}")

    def shrink(self, delivery: Delivery) -> None:
        """Nothing of a delivery is kept any more."""
        self.conversation.grow(-delivery.taken)
        if delivery.counted:
            self._waiting_bytes -= delivery.taken
            delivery.counted = False
        delivery.taken = 0
        delivery.void = True

    def wait(self, delivering: Delivering, delivery: Delivery) -> None:
        """A delivery has to wait for the store, or for quarantine."""
        delivering.waiting[delivery.info.delivery_tag] = delivery
        if not delivery.counted:
            delivery.counted = True
            self._waiting_bytes += delivery.taken

    def done(self, delivering: Delivering, delivery: Delivery) -> None:
        """The gate has answered a delivery, or it has become the client's."""
        tag = delivery.info.delivery_tag
        delivering.waiting.pop(tag, None)
        delivering.unacked.let_go(tag)
        self.shrink(delivery)
        self.count_unacked(delivering)

    def count_unacked(self, delivering: Delivering) -> None:
        """See whether the client has left too many of a channel's deliveries without an answer."""
        number = delivering.channel.number
        if len(delivering.unacked) <= UNACKED_MAX:
            self._crowded.discard(number)
        elif number not in self._crowded:
            self._crowded.add(number)
            self.conversation.terms.tally.limits_hit["unacked_max"] += 1

    def say(self, delivering: Delivering, frames: bytes) -> None:
        """Say `frames` to the client, not within other content of the channel."""
        if delivering.channel.body_left:
            delivering.unsaid.append(frames)
        else:
            self.conversation.out.client(frames)

    def speak(self, channel: Channel) -> None:
        """The broker has come to the end of a content: say what waited for that."""
        delivering = self.of(channel)
        for data in delivering.unsaid:
            self.conversation.out.client(data)
        delivering.unsaid.clear()

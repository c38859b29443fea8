"""A kombu transport that signs what is published and checks what is delivered. Celery takes it by one line:

    broker_transport = "sealgate.celery:Transport"

It is kombu's own AMQP transport (py-amqp) with a hand on the octets: publishes are sealed between py-amqp's
encoder and the socket, in the order they are written, so every way of publishing and every attempt is sealed
afresh; content headers of deliveries are kept as received, and judged before kombu sees (or decompresses)
anything.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote, urlsplit

from amqp import spec
from amqp.basic_message import Message
from amqp.method_framing import frame_handler, frame_writer
from kombu.transport import pyamqp
from kombu.utils.functional import dictfilter
from kombu.utils.url import as_url, parse_url

from sealgate.integrations.deliveries import open_check
from sealgate.integrations.options import Options, read_options
from sealgate.integrations.signer import Line, open_signer
from sealgate.signing.canonical import COUNTERSIGN_NAME, TOKEN_NAME
from sealgate.wire.methods import read_challenge, read_publish

TRANSPORT: Final = "sealgate.celery:Transport"
#: The option of `broker_transport_options` that is ours.
OPTION: Final = "sealgate"
_HEADER_FRAME: Final = 2
_PUBLISH: Final = struct.pack(">HH", *spec.Basic.Publish)
_SEALS: Final = (TOKEN_NAME, COUNTERSIGN_NAME)
#: Schemes of AMQP, and whether each means TLS. Another broker's messages can not be sealed.
_SCHEMES: Final = {"amqp": False, "amqps": True, "pyamqp": False, "librabbitmq": False}


class Party:
    """What all connections of a process with the same options share."""

    def __init__(self, options: Options) -> None:
        self.signer: Final = open_signer(options)
        self.verifier: Final = open_check(options) if options.verify else None


@lru_cache(maxsize=16)
def _party_of(options: Options) -> Party:
    return Party(options)


def party(given: Mapping[str, Any] | None) -> Party:
    """Raises `OptionsError` or `KeysError`: better no connection than an unsigned one."""
    return _party_of(read_options(given))


class _Sealed:
    """What py-amqp's frame writer asks a message for, encoded and sealed already."""

    __slots__ = ("_encoded", "body", "properties")

    def __init__(self, body: bytes, encoded: bytes) -> None:
        self.body: Final = body
        self.properties: Final[dict[str, object]] = {}
        self._encoded: Final = encoded

    def _serialize_properties(self) -> bytes:
        return self._encoded


class Channel(pyamqp.Channel):
    """Lets only verified deliveries through, where that is configured."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._queue_of: dict[str, str] = {}
        super().__init__(*args, **kwargs)

    def basic_consume(self, queue: str = "", consumer_tag: str = "", *args: Any, **kwargs: Any) -> Any:
        if consumer_tag:  # a delivery may be here before the broker's answer is returned
            self._queue_of[consumer_tag] = queue
        tag = super().basic_consume(queue, consumer_tag, *args, **kwargs)
        self._queue_of[tag] = queue
        return tag

    def basic_cancel(self, consumer_tag: str, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().basic_cancel(consumer_tag, *args, **kwargs)
        finally:
            self._queue_of.pop(consumer_tag, None)

    def _on_basic_deliver(
        self,
        consumer_tag: str,
        delivery_tag: int,
        redelivered: bool,
        exchange: str,
        routing_key: str,
        msg: Message,
    ) -> None:
        queue = self._queue_of.get(consumer_tag, "")
        # Of a consumer that was cancelled meanwhile the application sees nothing anyway.
        if consumer_tag not in self.callbacks or self._passes(msg, exchange, routing_key, queue):
            super()._on_basic_deliver(consumer_tag, delivery_tag, redelivered, exchange, routing_key, msg)
        elif consumer_tag not in self.no_ack_consumers:  # type: ignore[operator]
            # Without acknowledgement (remote control, results) there is nothing to reject: RabbitMQ would
            # close the channel over it, and the worker would end.
            self.basic_reject(delivery_tag, requeue=False)

    def basic_get(self, queue: str = "", no_ack: bool = False, *args: Any, **kwargs: Any) -> Any:
        """The next message that passes, or None when the queue is empty."""
        while True:
            msg = super().basic_get(queue, no_ack, *args, **kwargs)
            if msg is None:
                return None
            info = msg.delivery_info
            if self._passes(msg, info["exchange"], info["routing_key"], queue):
                return msg
            if not no_ack:
                self.basic_reject(info["delivery_tag"], requeue=False)

    def _on_basic_return(
        self, reply_code: int, reply_text: str, exchange: str, routing_key: str, message: Message
    ) -> None:
        _unseal(message)
        super()._on_basic_return(reply_code, reply_text, exchange, routing_key, message)

    def _passes(self, msg: Message, exchange: str, routing_key: str, queue: str) -> bool:
        verifier = self.connection.party.verifier
        if verifier is None:
            return True
        header, body = msg.as_received
        vhost = self.connection.virtual_host
        if not verifier.passes(exchange, routing_key, header, body, vhost, queue):
            return False
        _unseal(msg)
        return True


class Connection(pyamqp.Connection):
    """py-amqp's connection, with our hand between encoder and socket. Takes the option `sealgate` as well."""

    Channel = Channel

    def __init__(self, *args: Any, sealgate: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        self.party: Final = party(sealgate)
        kwargs.update(frame_handler=_keeping, frame_writer=_sealing)
        super().__init__(*args, **kwargs)


class Transport(pyamqp.Transport):
    """kombu's AMQP transport, sealed. URLs with amqps:// and several URLs work as with kombu's own.

    kombu takes the scheme of a URL for the name of a transport: where one is configured it forgets amqps://,
    and when it fails over to another URL it forgets the transport. Both would be silent, so both are mended
    here: kombu is told that we read URLs ourselves, and the client is held to this transport.
    """

    Connection = Connection
    can_parse_url = True

    def __init__(self, client: Any, **kwargs: Any) -> None:
        if "://" in (client.hostname or ""):
            _read_url(client, client.hostname)
        client.switch = _switcher(client, type(self))
        super().__init__(client, **kwargs)  # type: ignore[no-untyped-call]

    def as_uri(self, uri: str, include_password: bool = False, mask: str = "**") -> str:
        """How logs name the broker, as kombu writes it where it has read the URL."""
        client: Any = self.client
        told = client.info()
        password = told["password"]
        if not include_password:
            password = mask
        elif callable(password):
            password = password()
        scheme = "amqps" if client.ssl else "amqp"
        where = (told["hostname"], told["port"], told["userid"], password, quote(told["virtual_host"]))
        return str(as_url(scheme, *where, sanitize=not include_password, mask=mask))


def _read_url(client: Any, url: str) -> None:
    """What kombu's own connection does with a URL, and what `amqps` means to it."""
    tls = _is_tls(url)
    parts = dictfilter(parse_url(url))
    del parts["transport"]
    parts.setdefault("hostname", None)
    client._initial_params.update(parts)
    client._init_params(**client._initial_params)
    client.ssl = client.ssl or tls


def _switcher(client: Any, transport: type[Transport]) -> Callable[[str], None]:
    name = TRANSPORT if transport is Transport else transport

    def switch(conn_str: str) -> None:
        tls = "://" in conn_str and _is_tls(conn_str)
        type(client).switch(client, conn_str)
        client.transport_cls = name
        client.ssl = client.ssl or tls

    return switch


def _is_tls(url: str) -> bool:
    scheme = urlsplit(url).scheme
    if scheme not in _SCHEMES:
        raise ValueError(f"sealgate seals AMQP; a broker of {scheme}:// can not be used with it")
    return _SCHEMES[scheme]


def _sealing(connection: Connection, transport: Any) -> Callable[..., None]:
    """py-amqp's frame writer, which seals each publish as it writes it."""
    write: Callable[..., None] = frame_writer(connection, transport)
    line: Line | None = None

    def write_frame(
        kind: int, channel: int, method: tuple[int, int], args: bytes, content: Message | None
    ) -> None:
        nonlocal line
        if content is None:
            if method == spec.Connection.Open:  # by now the gateway's challenge is known
                challenge = read_challenge(dict(connection.server_properties))
                line = Line(connection.party.signer, connection.virtual_host, challenge)
            write(kind, channel, method, args, content)
            return
        assert line is not None  # nothing is published before the connection is open
        publish = read_publish(_PUBLISH + args)
        body = _frozen(content)
        properties = content._serialize_properties()
        with line.in_order() as session:
            sealed = line.seal(
                *(session, publish.exchange, publish.routing_key, properties, body, connection.frame_max)
            )
            write(kind, channel, method, args, _Sealed(body, sealed))

    return write_frame


def _frozen(content: Message) -> bytes:
    """The body in bytes, with the encoding that py-amqp would give it and write into the properties."""
    body = content.body
    if isinstance(body, str):
        return body.encode(content.properties.setdefault("content_encoding", "utf-8"))
    return bytes(body)


def _keeping(connection: Connection, callback: Callable[..., object]) -> Callable[..., bool]:
    """py-amqp's frame handler, which leaves each message its content header and body as they came.

    py-amqp decodes bodies that have a character set. Of the values that py-amqp makes of it not all can be
    told back: decimals lose their scale, names that are there twice become one.
    """
    headers: dict[int, bytes] = {}  # one for each channel at most

    def whole(channel: int, method: tuple[int, int], args: bytes, content: Message | None) -> object:
        if content is not None:
            # An empty body is no frame, and then "".
            content.as_received = headers.pop(channel, b""), bytes(content.body or b"")
        return callback(channel, method, args, content)

    handle = frame_handler(connection, whole)

    def on_frame(frame: tuple[int, int, bytes]) -> bool:
        if frame[0] == _HEADER_FRAME:
            headers[frame[1]] = bytes(frame[2])
        return bool(handle(frame))

    return on_frame


def _unseal(message: Message) -> None:
    """Take the seals out of what the application will see; it could only hand them on."""
    headers = message.properties.get("application_headers")
    for name in _SEALS:
        if headers:
            headers.pop(name, None)
    if headers is not None and not headers:
        del message.properties["application_headers"]

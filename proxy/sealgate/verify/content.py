"""The body of a message: its type, its encoding, its compression, and the value proven by parsing it.

The facts about kombu come from its own code (5.7): JSON is sent as `utf-8`, msgpack as `binary`, the
compression in the header `compression` with the content encoding left as it is.
"""

from __future__ import annotations

from enum import Enum, unique
from typing import Final

from sealgate.reason import GateError, Reason
from sealgate.verify.inflate import ALIASES, inflate
from sealgate.verify.message import Message
from sealgate.verify.pickles import holds_pickle, may_hold_pickle
from sealgate.verify.policy import ANY_TYPE, CELERY, GENERIC, JSON_TYPE, ContentRules, Policy
from sealgate.verify.strict_json import parse_json
from sealgate.verify.strict_msgpack import parse_msgpack
from sealgate.wire.properties import CONTENT_ENCODING, CONTENT_TYPE, ContentHeader

#: Encodings that leave the bytes as they are: none, and the two that kombu writes. It decodes by any other
#: name.
_ENCODINGS: Final = frozenset({b"", b"utf-8", b"binary"})
_MSGPACK_TYPES: Final = frozenset({"application/x-msgpack", "application/msgpack"})
COMPRESSION: Final = "compression"


@unique
class Form(Enum):
    """How a body of a listed type is proven."""

    JSON = "json"
    MSGPACK = "msgpack"
    UNREAD = "unread"


_JSON: Final = JSON_TYPE.encode()
_FORM_JSON: Final = Form.JSON


class Body:
    """A body as read: `form`, and for all but UNREAD its `value`. `pickle` tells of one in base64 within."""

    __slots__ = ("form", "pickle", "value")

    def __init__(self, form: Form, value: object = None, pickle: bool = False) -> None:
        self.form: Final = form
        self.value: Final = value
        self.pickle: Final = pickle


def read_body(message: Message, rules: ContentRules, policy: Policy) -> Body:
    """Raises `GateError` content.* for a body that is not what it claims, or claims what is not listed."""
    header = message.header
    form = form_of(header, rules)
    if form is Form.UNREAD:
        return Body(form)
    encoding = header.fields[CONTENT_ENCODING]
    if encoding is not None and encoding not in _ENCODINGS:
        raise GateError(Reason.CONTENT_ENCODING, "not listed")
    data = _inflated(message, rules, policy.inflated_bytes_max)
    if form is Form.MSGPACK:
        value = parse_msgpack(data)
    else:
        value = parse_json(data, rules.profile == CELERY)
    pickle = may_hold_pickle(data) and holds_pickle(value)
    if pickle and policy.strict_b64:
        raise GateError(Reason.CONTENT_B64_PICKLE, "a pickle in base64")
    return Body(form, value, pickle)


def form_of(header: ContentHeader, rules: ContentRules) -> Form:
    """How the body is proven. Raises `GateError` content.type.

    Types are compared exactly, as kombu does; what is left of a listed one only picks its parser.
    """
    if header.fields[CONTENT_TYPE] == _JSON and rules.profile != GENERIC and JSON_TYPE in rules.types:
        return _FORM_JSON
    content_type = header.text(CONTENT_TYPE) or ""
    if rules.profile == GENERIC and ANY_TYPE in rules.types:
        return Form.UNREAD
    if content_type not in rules.types:
        raise GateError(Reason.CONTENT_TYPE, "not listed")
    media_type = content_type.partition(";")[0].rstrip()
    if media_type in _MSGPACK_TYPES:
        return Form.MSGPACK
    if media_type == JSON_TYPE:
        return Form.JSON
    if rules.profile == GENERIC:
        return Form.UNREAD
    if rules.profile == CELERY:
        # kombu takes no type at all for application/data, which it always trusts; others nobody here can
        # prove.
        raise GateError(Reason.CONTENT_TYPE, "can not be proven")
    # dramatiq and taskiq send no content type, or one of the user's own; their body is JSON all the same.
    return Form.JSON


def _inflated(message: Message, rules: ContentRules, inflated_bytes_max: int) -> bytes:
    method = message.header.table.values.get(COMPRESSION)
    if method is None or method == "":
        return message.body
    if not isinstance(method, str):
        raise GateError(Reason.CONTENT_COMPRESSION, "not a string")
    name = ALIASES.get(method, method)
    if name not in rules.compression:
        raise GateError(Reason.CONTENT_COMPRESSION, "not listed")
    return inflate(name, message.body, inflated_bytes_max)

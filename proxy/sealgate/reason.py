"""Every reason Sealgate can give, as one closed set.

The text of a member is the metric label, the quarantine header and the first word of the AMQP reply text.
Everything in the core that says no raises a `GateError` or carries a `Reason`; nothing else leaves it.
"""

from __future__ import annotations

from enum import Enum, unique
from typing import Final


@unique
class Reason(Enum):
    """Why a message or a connection was refused, or flagged. `value` is the public text."""

    __hash__ = object.__hash__

    OK = "ok"

    # The peer broke framing or the state of the conversation: the connection is closed.
    FRAME_END = "frame.end"
    FRAME_TYPE = "frame.type"
    FRAME_SIZE = "frame.size"
    FRAME_CLASS = "frame.class"
    FRAME_ORDER = "frame.order"
    FRAME_BODY_OVERFLOW = "frame.body_overflow"
    FRAME_EMPTY_BODIES = "frame.empty_bodies"
    FRAME_TRAILING = "frame.trailing"
    FRAME_TRUNCATED = "frame.truncated"
    FRAME_CHANNEL = "frame.channel"
    CONN_STALL = "conn.stall"
    CONN_CHANNELS = "conn.channels"
    CONN_HANDSHAKE = "conn.handshake"
    CONN_PROTOCOL = "conn.protocol"
    CONN_LIMIT = "conn.limit"
    CONN_MEMORY = "conn.memory"
    CONN_FAILURES = "conn.failures"
    CONN_HEARTBEAT = "conn.heartbeat"
    CONN_UPSTREAM = "conn.upstream"
    CONN_SHUTDOWN = "conn.shutdown"
    METHOD_DENIED = "method.denied"
    METHOD_IMMEDIATE = "method.immediate"

    # The message alone is refused.
    PROPS_FLAGS = "props.flags"
    PROPS_TRUNCATED = "props.truncated"
    PROPS_UTF8 = "props.utf8"
    PROPS_EXPIRATION = "props.expiration"
    PROPS_DELIVERY_MODE = "props.delivery_mode"
    PROPS_USER_ID = "props.user_id"
    PROPS_PRIORITY = "props.priority"
    HEADER_DUPLICATE = "header.duplicate"
    HEADER_DEPTH = "header.depth"
    HEADER_COUNT = "header.count"
    HEADER_TIMESTAMP = "header.timestamp"
    HEADER_FLOAT = "header.float"
    HEADER_TYPE = "header.type"
    HEADER_TRUNCATED = "header.truncated"
    HEADER_KEY = "header.key"
    HEADER_SIZE = "header.size"
    HEADER_ROUTING = "header.routing"
    HEADER_UTF8 = "header.utf8"
    HEADER_X_DELAY = "header.x_delay"
    BODY_SIZE = "body.size"
    SIG_MISSING = "sig.missing"
    SIG_DUPLICATE = "sig.duplicate"
    SIG_MALFORMED = "sig.malformed"
    SIG_VERSION = "sig.version"
    SIG_PROFILE = "sig.profile"
    SIG_KID = "sig.kid"
    SIG_KEY_STATE = "sig.key_state"
    SIG_LIFETIME = "sig.lifetime"
    SIG_BAD = "sig.bad"
    TIME_STALE = "time.stale"
    TIME_FUTURE = "time.future"
    TIME_EXPIRED = "time.expired"
    TARGET_MISMATCH = "target.mismatch"
    ACL_TASK = "acl.task"
    ACL_CLASS = "acl.class"
    ACL_EXCHANGE = "acl.exchange"
    ACL_ROUTING_KEY = "acl.routing_key"
    ACL_REPLY_TO = "acl.reply_to"
    ACL_VHOST = "acl.vhost"
    ACL_USER = "acl.user"
    ACL_REVOKED = "acl.revoked"
    CONTENT_TYPE = "content.type"
    CONTENT_ENCODING = "content.encoding"
    CONTENT_COMPRESSION = "content.compression"
    CONTENT_BOMB = "content.bomb"
    CONTENT_JSON = "content.json"
    CONTENT_JSON_DUP = "content.json_dup"
    CONTENT_JSON_CONST = "content.json_const"
    CONTENT_JSON_NUMBER = "content.json_number"
    CONTENT_MSGPACK = "content.msgpack"
    CONTENT_KOMBU_TYPE = "content.kombu_type"
    CONTENT_GADGET = "content.gadget"
    CONTENT_B64_PICKLE = "content.b64_pickle"
    CELERY_PROTOCOL = "celery.protocol"
    CELERY_HYBRID = "celery.hybrid"
    CELERY_ENVELOPE = "celery.envelope"
    CELERY_ID = "celery.id"
    CELERY_TASK_NAME = "celery.task_name"
    CELERY_TIMELIMIT = "celery.timelimit"
    CELERY_ETA = "celery.eta"
    CELERY_EXPIRES = "celery.expires"
    CELERY_RETRIES = "celery.retries"
    CELERY_EMBEDDED_DEPTH = "celery.embedded_depth"
    CELERY_CONTROL = "celery.control"
    TASKIQ_MISMATCH = "taskiq.mismatch"
    TASKIQ_ENVELOPE = "taskiq.envelope"
    DRAMATIQ_MISMATCH = "dramatiq.mismatch"
    DRAMATIQ_ENVELOPE = "dramatiq.envelope"
    REPLAY_DUPLICATE = "replay.duplicate"
    REPLAY_INFLIGHT = "replay.inflight"
    REPLAY_CONFLICT = "replay.conflict"
    REPLAY_SESSION = "replay.session"
    RATE_TASK = "rate.task"
    RATE_COST = "rate.cost"
    RATE_DEGRADED = "rate.degraded"
    RATE_SHED = "rate.shed"
    STORE_UNAVAILABLE = "store.unavailable"
    STORE_FULL = "store.full"
    STORE_HORIZON = "store.horizon"

    @property
    def family(self) -> str:
        """The part before the dot: `frame`, `conn`, `sig` and so on."""
        return self.value.partition(".")[0]


#: Families whose refusal closes the connection: the peer broke framing, state or a connection's limits.
CONNECTION_FAMILIES: Final = frozenset({"frame", "conn", "method"})


class GateError(Exception):
    """The one way the core says no: a reason from the closed set and a short detail safe to log.

    `detail` never holds a body, a header value, a secret or a signature. `method` is the AMQP method that was
    at fault, class id << 16 | method id, where one was; a close names it to the client.
    """

    def __init__(self, reason: Reason, detail: str = "", method: int = 0) -> None:
        super().__init__(f"{reason.value} {detail}".rstrip())
        self.reason: Final = reason
        self.detail: Final = detail
        self.method: Final = method

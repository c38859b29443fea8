"""What the options of a signature let a worker do: where it publishes, as whom, and in what form.

A producer that may not publish somewhere itself must not have a worker do it: an option is asked for as the
message itself would be, by the same key. What an option means is taken from Celery 5.7 (`Task.apply_async`,
`Celery.send_task`, `celery.canvas`) and kombu (`Producer.publish`). What neither knows is refused: a worker
passes it on to functions that take any name.
"""

from __future__ import annotations

from typing import Final

from sealgate.reason import GateError, Reason
from sealgate.signing.keyring import Key
from sealgate.verify.authority import (
    TaskGrant,
    check_goes_to_tasks,
    check_queue,
    check_reply_to,
    real_routing_key,
)
from sealgate.verify.celery import FIELD_NAMES, check_id, task_name
from sealgate.verify.fields import ROUTING_NAMES
from sealgate.verify.globs import permits
from sealgate.verify.inflate import ALIASES
from sealgate.verify.policy import JSON_TYPE, ContentRules

#: Options that are signatures: `canvas` goes into them.
SIGNATURE_OPTIONS: Final = ("link", "link_error", "chain", "chord")
#: Tables in the header `headers`, which a worker merges into the headers of a retry.
HEADERS_DEPTH_MAX: Final = 8

#: Looked at by name below. Where one is a stamp as well, it is still an option.
_ROUTES: Final = ("exchange", "routing_key", "queue", "reply_to", "route_name")
_FORMS: Final = ("serializer", "compression")
_IDS: Final = ("task_id", "root_id", "parent_id", "group_id")
_RETRY_POLICY: Final = "retry_policy"
_STAMPED: Final = "stamped_headers"
#: When, how long and how urgent, and what Celery keeps for itself: no way to another task or place. They are
#: held to their bounds when the worker publishes.
_UNREAD: Final = frozenset(
    {
        "add_to_parent",
        "argsrepr",
        "chord_size",
        "confirm_timeout",
        "countdown",
        "delivery_mode",
        "eta",
        "exchange_type",
        "expiration",
        "expires",
        "group_index",
        "header_delay",
        "ignore_result",
        "immutable",
        "interval",
        "kwargsrepr",
        "max_retries",
        "origin",
        "priority",
        "replaced_task_nesting",
        "retries",
        "retry",
        "shadow",
        "soft_time_limit",
        "time_limit",
        "timeout",
        "use_link",
    }
)
_KNOWN: Final = frozenset(
    {*SIGNATURE_OPTIONS, *_ROUTES, *_FORMS, *_IDS, *_UNREAD, _RETRY_POLICY, _STAMPED, "headers"}
)
#: Parameters of Celery's and kombu's own that no stamp may be called. `options` is the worst: a group, a
#: chain or a map takes the table in it for its options, whatever else there is (M).
_NEVER: Final = frozenset(
    {
        "app",
        "args",
        "body",
        "callbacks",
        "connection",
        "content_encoding",
        "content_type",
        "declare",
        "eager",
        "errbacks",
        "event_dispatcher",
        "header",
        "immediate",
        "kwargs",
        "mandatory",
        "options",
        "partial_args",
        "producer",
        "publisher",
        "result_cls",
        "router",
        "subtask_type",
        "task",
        "task_type",
        "type",
    }
)
#: The parts of a retry policy that are numbers; the others are functions.
_POLICY_NAMES: Final = frozenset({"max_retries", "interval_start", "interval_step", "interval_max"})
#: kombu's names of serializers, and the content types of what they write.
_SERIALIZERS: Final = {
    "json": JSON_TYPE,
    "msgpack": "application/x-msgpack",
    "yaml": "application/x-yaml",
    "pickle": "application/x-python-serialize",
}


class OptionGrant:
    """What one message's key may have a worker do; `rules` are those of the message's own content."""

    __slots__ = ("_grant", "_key", "_rules")

    def __init__(self, key: Key, grant: TaskGrant, rules: ContentRules) -> None:
        self._key: Final = key
        self._grant: Final = grant
        self._rules: Final = rules

    def check(self, options: dict[str, object]) -> None:
        """All options but `SIGNATURE_OPTIONS`, whose signatures are for `canvas` to look at.

        Raises `GateError` acl.*, content.*, celery.* or header.routing.
        """
        if not options:
            return
        if not _KNOWN.issuperset(options):
            _check_stamps(options)
        self._check_target(options)
        for name in _IDS:
            value = options.get(name)
            if value is not None:
                check_id(value)
        self._check_form(options)
        _check_retry_policy(options.get(_RETRY_POLICY))
        self.check_headers(options.get("headers"))

    def check_headers(self, headers: object) -> None:
        """Headers that a worker publishes with: a `task` among them replaces the name."""
        depth = 0
        while headers is not None:
            depth += 1
            if depth > HEADERS_DEPTH_MAX:
                raise GateError(Reason.CELERY_EMBEDDED_DEPTH, f"headers over {HEADERS_DEPTH_MAX} deep")
            if not isinstance(headers, dict):
                raise GateError(Reason.CELERY_ENVELOPE, "headers that are no table")
            for name in headers:
                if name in FIELD_NAMES:
                    raise GateError(Reason.CELERY_ENVELOPE, "headers that replace Celery's own")
                if name in ROUTING_NAMES:
                    raise GateError(Reason.HEADER_ROUTING, f"{name} header")
            if "task" in headers:
                self._grant.check(task_name(headers["task"]))
            headers = headers.get("headers")

    def _check_target(self, options: dict[str, object]) -> None:
        exchange = _text(options, "exchange")
        routing_key = _text(options, "routing_key")
        queue = _text(options, "queue")
        reply_to = _text(options, "reply_to")
        route_name = _text(options, "route_name")
        key = self._key
        if exchange is not None and not permits(key.exchanges, exchange):
            raise GateError(Reason.ACL_EXCHANGE, f"key {key.kid}, in a signature")
        if routing_key is not None:
            real = real_routing_key(exchange or "", routing_key)
            if not permits(key.routing_keys, real):
                raise GateError(Reason.ACL_ROUTING_KEY, f"key {key.kid}, in a signature")
        if queue is not None:
            check_queue(key, queue)
            # Or through an exchange of its name.
            check_goes_to_tasks(queue, queue)
        if exchange is not None or routing_key is not None:
            check_goes_to_tasks(exchange or "", routing_key or "")
        if reply_to:
            check_reply_to(key, reply_to)
        if route_name is not None:
            # The route of another task.
            self._grant.check(task_name(route_name))

    def _check_form(self, options: dict[str, object]) -> None:
        serializer = _text(options, "serializer")
        if serializer is not None and _SERIALIZERS.get(serializer) not in self._rules.types:
            raise GateError(Reason.CONTENT_TYPE, "the serializer of a signature is not listed")
        compression = _text(options, "compression")
        if compression and ALIASES.get(compression, compression) not in self._rules.compression:
            raise GateError(Reason.CONTENT_COMPRESSION, "that of a signature is not listed")


def _text(options: dict[str, object], name: str) -> str | None:
    value = options.get(name)
    if value is not None and not isinstance(value, str):
        raise GateError(Reason.CELERY_ENVELOPE, f"{name} in a signature is no text")
    return value


def _check_stamps(options: dict[str, object]) -> None:
    """Names that are no options must be stamps, which a worker takes out before it publishes."""
    stamped = options.get(_STAMPED)
    if stamped is not None and not isinstance(stamped, list):
        raise GateError(Reason.CELERY_ENVELOPE, _STAMPED)
    for name in options:
        if name not in _KNOWN and (name in _NEVER or stamped is None or name not in stamped):
            raise GateError(Reason.CELERY_ENVELOPE, "an option of a signature that Celery does not know")


def _check_retry_policy(policy: object) -> None:
    if policy is None:
        return
    if not isinstance(policy, dict) or not policy.keys() <= _POLICY_NAMES:
        raise GateError(Reason.CELERY_ENVELOPE, "retry policy in a signature")
    for value in policy.values():
        if not isinstance(value, int | float | None):
            raise GateError(Reason.CELERY_ENVELOPE, "retry policy in a signature")

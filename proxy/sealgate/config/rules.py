"""What one key says about another. Each rule gives (path, message) for what it finds wrong.

A rule runs only where all the keys it reads are good, so that one slip is told once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from sealgate.config.bound_rules import (
    bound_warnings,
    bounds_are_reached,
    bounds_make_sense,
    clamps_are_signed,
    prefetch_makes_sense,
)
from sealgate.config.deliver_rules import (
    deliveries_can_be_verified,
    delivery_queues_are_reached,
    delivery_warnings,
    once_is_shared,
    refused_deliveries_are_kept,
)
from sealgate.config.fields import Address, is_reference, split_url
from sealgate.config.paths import Path
from sealgate.config.settings import Settings

Finding = tuple[Path, str]

#: What a Celery body can be proven to be, parameters aside. dramatiq and taskiq bodies must be JSON whatever
#: type they are sent under, and the generic profile leaves other types unread.
CELERY_TYPES: Final = ("application/json", "application/x-msgpack", "application/msgpack")
_PORTS: Final = {"amqp": 5672, "amqps": 5671}
_EVERYWHERE: Final = ("", "0.0.0.0", "::")  # noqa: S104 - compared with, not bound to


@dataclass(slots=True, frozen=True)
class Rule:
    """`check` reads the settings at `keys` and nothing else."""

    keys: tuple[Path, ...]
    check: Callable[[Settings], Iterator[Finding]]


def _upstream_is_there(settings: Settings) -> Iterator[Finding]:
    if not settings.upstream.urls:
        yield ("upstream", "urls"), 'is missing: name a broker, as in urls = ["amqp://rabbitmq:5672"]'


def _upstream_tls_is_used(settings: Settings) -> Iterator[Finding]:
    tls = settings.upstream.tls
    urls = settings.upstream.urls
    if tls is None:
        return
    if urls and not any(url.startswith("amqps:") for url in urls):
        yield ("upstream", "tls"), "is there, but no upstream url is amqps://"
    if (tls.cert is None) != (tls.key is None):
        lacking = "cert" if tls.cert is None else "key"
        yield ("upstream", "tls", lacking), "is missing: cert and key go together"


def _replacement_is_whole(settings: Settings) -> Iterator[Finding]:
    credentials = settings.credentials
    for name in ("users", "user", "password"):
        given = getattr(credentials, name) is not None
        if credentials.mode == "replace" and not given:
            yield ("credentials", name), 'is missing: mode = "replace" needs users, user and password'
        if credentials.mode != "replace" and given:
            yield ("credentials", name), 'is only for mode = "replace"'


def _names_are_served_once(settings: Settings) -> Iterator[Finding]:
    tls = settings.listen.tls
    seen: set[str] = set()
    for index, entry in enumerate(tls.names if tls is not None else ()):
        for name in entry.names:
            if name.lower() in seen:
                yield (
                    ("listen", "tls", "names", index, "names"),
                    f'has "{name}", which has a certificate already',
                )
            seen.add(name.lower())


def _signing_keys_fit_the_action(settings: Settings) -> Iterator[Finding]:
    publish = settings.publish
    if publish.action == "sign" and publish.sign_with is None:
        yield ("publish", "sign_with"), 'is missing: action = "sign" needs the kid of a key'
    if publish.action != "sign" and publish.sign_with is not None:
        yield ("publish", "sign_with"), 'is only for action = "sign"'
    if publish.action != "verify" and publish.countersign_with is not None:
        yield ("publish", "countersign_with"), 'is only for action = "verify"'


def _journal_is_for_the_memory_store(settings: Settings) -> Iterator[Finding]:
    if settings.replay.journal is not None and settings.replay.store != "memory":
        yield ("replay", "journal"), 'is only for store = "memory"'


def _journal_has_nonces(settings: Settings) -> Iterator[Finding]:
    if settings.replay.journal is not None and settings.replay.nonces == "session":
        yield ("replay", "journal"), 'has nothing to keep: nonces = "session" takes no stored nonces'


def _workers_share(settings: Settings) -> Iterator[Finding]:
    if settings.listen.workers == 1:
        return
    replay = settings.replay
    if not settings.listen.reuse_port:
        yield ("listen", "reuse_port"), "is off, but listen.workers is over 1, and they share the port"
    if replay.store != "memory":
        return
    if settings.publish.action == "verify" and replay.nonces != "session":
        yield (
            ("replay", "store"),
            'is "memory", which workers do not share; use redis://, or replay.nonces = "session"',
        )
    elif settings.publish.action == "verify" and settings.rate:
        yield ("rate",), 'would count in each worker with replay.store = "memory"; use redis://'
    if replay.journal is not None:
        yield ("replay", "journal"), "can not be kept by several workers (listen.workers)"


def _gateways_share_a_store(settings: Settings) -> Iterator[Finding]:
    if settings.limits.gateways > 1 and settings.replay.store == "memory":
        yield ("limits", "gateways"), 'is over 1, but store = "memory" is not shared; use redis://'


def _content_types_fit_the_profile(settings: Settings) -> Iterator[Finding]:
    content = settings.content
    yield from _check_types(("content", "types"), content.profile, content.types)
    for index, rule in enumerate(settings.rule):
        profile = content.profile if rule.profile is None else rule.profile
        if rule.types is not None:
            yield from _check_types(("rule", index, "types"), profile, rule.types)
        elif rule.profile is not None:
            for _, message in _check_types((), profile, content.types):
                yield ("rule", index, "profile"), f"does not go with content.types, which {message}"


def _check_types(path: Path, profile: str, types: tuple[str, ...]) -> Iterator[Finding]:
    if not types:
        yield path, "is empty: no message would be accepted"
    if "*" in types and profile != "generic":
        yield path, f'has "*", which is only for profile "generic", not "{profile}"'
    elif "*" in types and len(types) > 1:
        yield path, 'has "*" beside others; "*" alone takes any type'
    for name in types:
        if profile == "celery" and name not in ("", "*") and _media_type(name) not in CELERY_TYPES:
            yield path, f'has "{name}", which profile "{profile}" can not check'


def _media_type(name: str) -> str:
    return name.partition(";")[0].rstrip()


def _rules_are_reached(settings: Settings) -> Iterator[Finding]:
    seen: dict[object, int] = {}
    for index, rule in enumerate(settings.rule):
        match = (rule.match.vhost, rule.match.exchange, rule.match.task, rule.match.user)
        first = seen.get(("*", "*", "*", "*"), seen.setdefault(match, index))
        if first != index:
            yield ("rule", index, "match"), f"is never reached: rule[{first}] takes all of it"


def _body_fits_the_buffers(settings: Settings) -> Iterator[Finding]:
    limits = settings.limits
    if settings.content.body_bytes_max > limits.connection_bytes_max:
        yield ("content", "body_bytes_max"), "is over limits.connection_bytes_max"
    if limits.connection_bytes_max > limits.process_bytes_max:
        yield ("limits", "connection_bytes_max"), "is over limits.process_bytes_max"


def _drain_has_time(settings: Settings) -> Iterator[Finding]:
    if settings.drain.delay >= settings.drain.timeout:
        yield ("drain", "delay"), "leaves no time: it is not below drain.timeout"


def _addresses_differ(settings: Settings) -> Iterator[Finding]:
    if settings.admin.enabled and _overlap(settings.listen.address, settings.admin.address):
        yield ("admin", "address"), "is the same as listen.address"


def _own_address(settings: Settings) -> Iterator[Finding]:
    """No error: who only reads the quarantine may well do that through a gateway at the default address."""
    listen = settings.listen.address
    for index, url in enumerate(settings.upstream.urls):
        parts = split_url(url)
        host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        both_here = "localhost" in (host, listen.host) and _is_local(host) and _is_local(listen.host)
        here = host == listen.host or both_here or (listen.host in _EVERYWHERE and _is_local(host))
        if here and port == listen.port:
            yield (
                ("upstream", "urls", index),
                "is listen.address itself: each connection would open the next one",
            )


def _overlap(one: Address, other: Address) -> bool:
    same_host = one.host == other.host or one.host in _EVERYWHERE or other.host in _EVERYWHERE
    return one.port != 0 and one.port == other.port and same_host


def _vault_has_its_login(settings: Settings) -> Iterator[Finding]:
    vault = settings.vault
    needed = {"token": (), "approle": ("role_id", "secret_id"), "kubernetes": ("role",)}[vault.auth]
    for name in needed:
        if getattr(vault, name) is None:
            yield ("vault", name), f'is missing: auth = "{vault.auth}" needs it'


RULES: Final = (
    Rule((("upstream", "urls"),), _upstream_is_there),
    Rule((("upstream", "urls"), ("upstream", "tls")), _upstream_tls_is_used),
    Rule((("credentials",),), _replacement_is_whole),
    Rule((("listen",),), _names_are_served_once),
    Rule((("publish",),), _signing_keys_fit_the_action),
    Rule((("replay", "journal"), ("replay", "store")), _journal_is_for_the_memory_store),
    Rule((("replay", "journal"), ("replay", "nonces")), _journal_has_nonces),
    Rule((("listen",), ("publish",), ("replay",), ("rate",)), _workers_share),
    Rule((("limits", "gateways"), ("replay", "store")), _gateways_share_a_store),
    Rule((("content", "profile"), ("content", "types"), ("rule",)), _content_types_fit_the_profile),
    Rule((("rule",),), _rules_are_reached),
    Rule((("prefetch",),), prefetch_makes_sense),
    Rule((("deliver",), ("publish", "action")), deliveries_can_be_verified),
    Rule((("deliver", "action"), ("publish", "action"), ("quarantine",)), refused_deliveries_are_kept),
    Rule((("deliver", "queue"),), delivery_queues_are_reached),
    Rule((("deliver", "queue"), ("listen",), ("replay", "store")), once_is_shared),
    Rule((("bound",),), bounds_make_sense),
    Rule((("bound",),), bounds_are_reached),
    Rule((("bound",), ("publish",), ("expiry",)), clamps_are_signed),
    Rule(
        (("content", "body_bytes_max"), ("limits", "connection_bytes_max"), ("limits", "process_bytes_max")),
        _body_fits_the_buffers,
    ),
    Rule((("drain",),), _drain_has_time),
    Rule((("vault",),), _vault_has_its_login),
    Rule((("listen",), ("admin",)), _addresses_differ),
)


def warnings_of(settings: Settings) -> Iterator[Finding]:
    """What is allowed, and probably not meant."""
    yield from _own_address(settings)
    yield from delivery_warnings(settings)
    publish = settings.publish
    password = settings.credentials.password
    if password is not None and not is_reference(password):
        yield ("credentials", "password"), "is the password itself; use env:NAME or file:/path"
    yield from bound_warnings(settings)
    token = settings.admin.token
    if token is not None and not is_reference(token):
        yield ("admin", "token"), "is the token itself; use env:NAME or file:/path"
    if token is not None and settings.control.state is None and settings.replay.store == "memory":
        yield ("control", "state"), "is not set: what is shed or revoked ends with the process"
    yield from _doubts_about_stores(settings)
    if settings.rate and publish.action != "verify":
        yield ("rate",), 'does nothing: rates are for publish.action = "verify"'
    yield from _delays(settings)
    if settings.replay.nonces == "session" and publish.action != "verify":
        yield ("replay", "nonces"), 'does nothing: nonces are judged where publish.action = "verify"'
    kept = settings.quarantine.enabled or settings.refuse.unconfirmed == "close"
    if publish.action == "verify" and not kept:
        yield ("quarantine", "enabled"), "is off: what is refused on channels without confirms is lost"
    if publish.action == "verify" and settings.quarantine.enabled and settings.quarantine.url is None:
        for index, url in enumerate(settings.upstream.urls):
            if not split_url(url).username and not _is_local(_host_of(url)):
                yield (
                    ("upstream", "urls", index),
                    "has no user to keep the quarantine with, and quarantine.url is not set: it tries guest",
                )
    if settings.content.profile in ("dramatiq", "taskiq") and "" not in settings.content.types:
        yield ("content", "types"), f'lacks "": {settings.content.profile} sends no content type'
    if settings.content.profile == "celery" and "" in settings.content.types:
        yield ("content", "types"), 'has "": a Celery message without a content type is refused all the same'
    if settings.upstream.tls is not None and not settings.upstream.tls.verify:
        yield ("upstream", "tls", "verify"), "is off: anyone on the path can be the broker"
    if settings.admin.enabled and not _is_local(settings.admin.address.host):
        yield ("admin", "address"), "is open to the network and has no login; a firewall is needed"
    if settings.listen.reuse_port and not settings.admin.enabled and publish.action == "verify":
        yield ("listen", "reuse_port"), "is on, and no admin address tells of a second start by mistake"
    for index, network in enumerate(settings.listen.proxy_protocol):
        if network.endswith("/0"):
            yield ("listen", "proxy_protocol", index), "is everybody: anyone may claim to be anyone"
    for index, url in enumerate(settings.upstream.urls):
        if url.startswith("amqp:") and not _is_local(_host_of(url)):
            yield (
                ("upstream", "urls", index),
                "is not encrypted, and the host is another machine; amqps:// is",
            )


def _delays(settings: Settings) -> Iterator[Finding]:
    """Where messages over their rate can not wait as they should."""
    if not settings.rate or settings.publish.action != "verify" or settings.refuse.over_rate != "delay":
        return
    if settings.mode.default == "observe":
        yield (
            ("refuse", "over_rate"),
            "does nothing where rules observe (mode.default): what is over its rate passes at once, counted",
        )
    own = settings.credentials.mode == "replace" or (
        settings.quarantine.url is not None and split_url(settings.quarantine.url).username
    )
    for index, url in enumerate(settings.upstream.urls):
        if not own and not split_url(url).username and not _is_local(_host_of(url)):
            yield (
                ("upstream", "urls", index),
                "has no user to declare queues with: it tries guest, and else refuses what is over its rate",
            )


def _doubts_about_stores(settings: Settings) -> Iterator[Finding]:
    vault = settings.vault
    for name, value in (("token", vault.token), ("secret_id", vault.secret_id)):
        if value is not None and not is_reference(value):
            yield ("vault", name), "is written into the configuration; use env:NAME, file:/path or cred:NAME"
    for section, key, url in (
        ("vault", "address", vault.address),
        ("aws", "endpoint", settings.aws.endpoint),
    ):
        if url is not None and url.startswith("http:") and not _is_local(_host_of(url)):
            yield (section, key), "is not encrypted: all keys can be read on the way; https:// is"


def _is_local(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


def _host_of(url: str) -> str:
    return split_url(url).hostname or ""

"""The contract: every key of the configuration, its kind, its default and what it means.

Values are plain: durations are float seconds, sizes are bytes as int, addresses are (host, port). A field's
name is the key in the TOML file, the docstring below it is its description in `sealgate schema`. What
one key says about another is in `rules.py`; where values come from is in `layers.py`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StrictBool, model_validator

from sealgate.config import fields as f
from sealgate.config.bound_settings import Bound, Expiry, Prefetch
from sealgate.config.deliver_settings import Deliver
from sealgate.config.fields import AMQP_PORT, AMQPS_PORT, Address
from sealgate.config.section import Section
from sealgate.config.store_settings import Aws, Vault

Profile = Literal["celery", "dramatiq", "taskiq", "generic"]
Mode = Literal["enforce", "observe"]
Preset = Literal["celery-gateway", "celery-producer", "celery-worker", "dramatiq", "taskiq", "plain"]


def _not_yet(later: str) -> AfterValidator:
    """Refuse the value `later`, which is in the contract but comes with a later version."""

    def check(value: str) -> str:
        if value == later:
            raise ValueError(f'"{later}" is not in this version')
        return value

    return AfterValidator(check)


class ServedName(Section):
    names: f.ServerNames
    """Names that clients ask for: exact, or *.example.com."""
    cert: f.FilePath
    """Certificate chain for them, PEM file."""
    key: f.FilePath
    """Private key of the certificate, PEM file."""


class ListenTls(Section):
    cert: f.FilePath
    """Certificate chain, PEM file."""
    key: f.FilePath
    """Private key of the certificate, PEM file."""
    client_ca: f.FilePath | None = None
    """CA bundle, PEM file. When set, clients must present a certificate signed by it."""
    names: tuple[ServedName, ...] = ()
    """Other certificates by the name that the client asks for (SNI); cert and key above are for the rest."""


class Listen(Section):
    address: f.ListenAddress = Address("127.0.0.1", AMQP_PORT)
    """Where AMQP clients connect. The port defaults to 6672, with TLS to 6671."""
    reuse_port: StrictBool = True
    """Let a new gateway of the same user listen on the port while the old one drains (SO_REUSEPORT)."""
    workers: Annotated[f.Count, Field(le=256)] = 1
    """Processes that share the port, for more than one processor. Above 1 the replay store must be Redis, or
    replay.nonces "session"."""
    proxy_protocol: tuple[f.Network, ...] = ()
    """Networks of load balancers: each connection from there must begin with a PROXY header (v1 or v2)."""
    tls: ListenTls | None = None
    """TLS towards clients; absent means plain AMQP."""

    @model_validator(mode="before")
    @classmethod
    def _default_port(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        address = values.get("address", "127.0.0.1")
        if not isinstance(address, str) or not address or f.has_port(address):
            return values
        return {**values, "address": f"{address}:{AMQPS_PORT if values.get('tls') else AMQP_PORT}"}


class UpstreamTls(Section):
    ca: f.FilePath | None = None
    """CA bundle for the broker's certificate, PEM file; the system's when absent."""
    cert: f.FilePath | None = None
    """Client certificate, PEM file, for brokers that ask for one."""
    key: f.FilePath | None = None
    """Private key of the client certificate, PEM file."""
    server_name: f.Name | None = None
    """Name the broker's certificate must carry; the URL's host when absent."""
    verify: StrictBool = True
    """Check the broker's certificate and name. Off means anyone on the path can be the broker."""


class Upstream(Section):
    urls: tuple[f.UpstreamUrl, ...] = ()
    """Brokers, tried in order: amqp://host:port or amqps://host:port, or a reference. Required."""
    start_timeout: f.Duration = 30.0
    """How long no broker may be reachable after the start; the gateway then ends with 69. 0 waits on."""
    tls: UpstreamTls | None = None
    """Details of TLS towards the broker; amqps:// works without."""


class Credentials(Section):
    mode: Literal["passthrough", "replace"] = "passthrough"
    """passthrough: clients log in to the broker; replace: to Sealgate, which logs in to the broker itself."""
    users: f.UserSource | None = None
    """Who may log in (mode = "replace"): file:/path, or env:NAME holding TOML."""
    user: f.Name | None = None
    """Sealgate's own user on the broker (mode = "replace")."""
    password: f.Secret | None = Field(default=None, repr=False)
    """Its password: env:NAME or file:/path."""
    loopback_users: tuple[f.Name, ...] = ("guest",)
    """Users that may come from this host only, where the broker is on it: it would take all for local."""


class Publish(Section):
    action: Literal["verify", "sign", "pass"] = "verify"
    """What happens to messages that clients publish."""
    sign_with: f.SigningKid | None = None
    """Kid of the key that signs (action = "sign"); "web1-*" is the first key of such a name that can sign."""
    countersign_with: f.Kid | None = None
    """Kid of the key with which a verifying gateway adds its own signature."""


class Keys(Section):
    source: f.KeySource = "env:SEALGATE_KEYS"
    """Where the keys are: file:/path, env:NAME, cred:NAME (systemd), vault:... or aws:..., holding TOML;
    all but a file may hold kid=secret,kid=secret."""
    refresh: f.PositiveDuration = 60.0
    """How often keys and users in Vault or AWS are asked for; files are looked at every 2 s."""


class Replay(Section):
    store: f.StoreUrl = "memory"
    """Where used nonces and rate buckets are kept: memory, redis://, rediss://, or a reference."""
    journal: f.FilePath | None = None
    """Memory store only: file that carries the used nonces over a restart."""
    nonces: Literal["any", "session"] = "any"
    """session: only nonces of signing sidecars (and libraries like them), which need no store; others are
    refused as replay.session."""
    in_doubt: Literal["takeover", "refuse"] = "takeover"
    """A nonce whose message may or may not have arrived: free after 10 s, or refused while it counts."""
    max_age: Annotated[f.WholeSeconds, Field(gt=0)] = 300.0
    """Oldest `created` that is accepted."""
    clock_skew: f.WholeSeconds = 30.0
    """By how much the clocks of signers and gateways may differ."""
    entries_max: f.Count = 1_000_000
    """Nonces remembered by the memory store; a full store refuses. About 100 bytes each."""


class Content(Section):
    profile: Profile = "celery"
    """Which envelope a body must be."""
    types: tuple[f.MediaType, ...] = ("application/json",)
    """Content types allowed, exact. "" is no content type; "*" (generic only) leaves bodies unread."""
    compression: tuple[f.Compression, ...] = ()
    """Body compressions allowed."""
    inflated_bytes_max: f.Count = 8_388_608
    """Largest body after decompression, bytes."""
    b64_pickle: Literal["flag", "refuse"] = "flag"
    """A string in a body that is a pickle in base64: counted as content.b64_pickle, or refused."""
    body_bytes_max: f.Count = 4_194_304
    """Largest body on the wire, bytes."""


class Celery(Section):
    protocol_1: StrictBool = False
    """Accept Celery message protocol 1 (the task in the body) beside protocol 2."""


class Refuse(Section):
    confirmed: Literal["auto", "nack", "close"] = "auto"
    """How a refusal is told on a channel with publisher confirms."""
    unconfirmed: Literal["quarantine", "close"] = "quarantine"
    """What a refusal does on a channel without confirms."""
    over_rate: Literal["delay", "refuse"] = "delay"
    """What happens to a message over its rate: it waits in the broker for its turn, or is refused."""
    delay_max: Annotated[f.PositiveDuration, Field(le=604_800)] = 3600.0
    """The longest that a message may wait; one that would wait longer is refused. At most 7d."""
    delay_queues: Literal["classic", "quorum"] = "classic"
    """What kind of queues messages wait in; quorum dead-letters at least once."""


class Quarantine(Section):
    enabled: StrictBool = True
    """Keep refused messages on the broker, with their reason."""
    exchange: f.Name = "sealgate.quarantine"
    """Exchange and queue that keep them."""
    url: f.QuarantineUrl | None = None
    """Broker to keep them on, with a user that may declare and publish there; the first upstream
    when absent."""
    length_max: f.Count = 10_000
    """Messages kept; the oldest go first."""
    age_max: f.PositiveDuration = 604_800.0
    """How long a message is kept."""
    bytes_max: f.Count = 268_435_456
    """Bytes kept in all."""


class Admin(Section):
    enabled: StrictBool = True
    """Serve the admin address at all."""
    address: f.ListenAddress = Address("127.0.0.1", 9672)
    """Where /metrics, /livez, /readyz and the status page are. It has no login: keep it private."""
    token: f.Secret | None = Field(default=None, repr=False)
    """What who changes something there must know, env:NAME or file:/path; without it nobody can."""


class Control(Section):
    state: f.FilePath | None = None
    """File that carries over a restart what was paused, shed and revoked (with replay.store in Redis that is
    there), and the report of `observed` (as STATE.observed)."""


class ModeSettings(Section):
    default: Mode = "enforce"
    """enforce refuses; observe counts what it would have refused and lets it pass."""


class Match(Section):
    vhost: f.Glob = "*"
    """Virtual host, exact or glob."""
    exchange: f.Glob = "*"
    """Exchange, exact or glob; "" is the default exchange."""
    task: f.Glob = "*"
    """Task name, exact or glob."""
    user: f.Glob = "*"
    """User the client logged in as, exact or glob."""


class Rule(Section):
    match: Match
    """What traffic this rule is for; the first rule that matches counts."""
    mode: Mode | None = None
    """enforce or observe for it; mode.default when absent."""
    profile: Profile | None = None
    """Instead of content.profile."""
    types: tuple[f.MediaType, ...] | None = None
    """Instead of content.types."""
    compression: tuple[f.Compression, ...] | None = None
    """Instead of content.compression."""


class Limits(Section):
    handshake_s: f.Seconds = 10.0
    """From an accepted socket to an open connection, seconds. RabbitMQ's own value."""
    channel_max: Annotated[f.Count, Field(le=65_535)] = 2047
    """Channels per connection. RabbitMQ's default."""
    frame_bytes_max: Annotated[f.Count, Field(ge=8192, le=16_777_216)] = 131_072
    """Largest frame, bytes. RabbitMQ's default; at least 8192, so that login tokens fit."""
    connection_bytes_max: f.Count = 16_777_216
    """Partly received messages of one connection, bytes. Four of the largest bodies."""
    process_bytes_max: f.Count = 536_870_912
    """The same over all connections, bytes."""
    message_s: f.Seconds = 30.0
    """From a publish to the last byte of its body, seconds. An idle timeout never ends a trickle."""
    empty_body_frames_max: f.Count = 16
    """Empty body frames in one message. The protocol allows them, nobody needs many."""
    failed_verifications_max: f.Count = 20
    """Failed signatures of one connection within the window below, after which it is closed."""
    failed_verifications_window_s: f.Seconds = 10.0
    """The window for them, seconds."""
    login_failures_max: f.Count = 10
    """Wrong passwords of one user from one address within the window below, after which it is locked out."""
    address_login_failures_max: f.Count = 100
    """The same from one address (or IPv6 /64), whatever users: all of it is locked out."""
    login_failures_window_s: f.Seconds = 300.0
    """The window for both, seconds."""
    login_lockout_s: f.Seconds = 10.0
    """How long a lock-out lasts, seconds; each further wrong password doubles it, up to 32 times."""
    login_workers: Annotated[f.Count, Field(le=64)] = 2
    """Passwords hashed at the same time. Each takes a processor, and 16 MiB with the usual parameters."""
    logins_waiting_max: f.Count = 1000
    """Logins that wait for that; more are refused."""
    connections_per_address_max: f.Count = 100
    """Client connections from one address."""
    claims_inflight_max: f.Count = 1000
    """Messages of one connection that wait for the replay store; above it the client is not read."""
    held_bytes_max: f.Count = 4_194_304
    """Bytes of one connection that wait behind them; above it the client is not read."""
    close_s: f.Seconds = 5.0
    """How long a peer may take to answer a close, seconds."""
    rate_values_max: f.Count = 100_000
    """Buckets that values in messages make (rates per key, user, argument or header); more share one."""
    holding_queues_max: f.Count = 1000
    """Queues of one gateway where messages wait; what needs one more is refused."""
    gateways: f.Count = 1
    """Gateways that share the replay store. When it is lost, each limits at its share of the rates."""


class Drain(Section):
    delay: f.Duration = 0.0
    """After SIGTERM: not ready but still accepting, so that load balancers notice."""
    timeout: f.PositiveDuration = 25.0
    """From SIGTERM until what is left is cut. Kubernetes kills after 30 s."""


class Log(Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe lines printed."""
    format: Literal["auto", "json", "text"] = "auto"
    """auto: text on a terminal, JSON otherwise."""


class Settings(Section):
    """The whole configuration. `Settings()` is every default; only `upstream.urls` has no usable one."""

    preset: Preset | None = None
    """A complete policy for one place, below the file: every key of it can be set otherwise."""
    deployment: f.Name = "prod"
    """Name of this installation; part of every signature, so a message is good in one only."""
    listen: Listen = Listen()
    upstream: Upstream = Upstream()
    credentials: Credentials = Credentials()
    publish: Publish = Publish()
    deliver: Deliver = Deliver()
    keys: Keys = Keys()
    vault: Vault = Vault()
    aws: Aws = Aws()
    replay: Replay = Replay()
    content: Content = Content()
    celery: Celery = Celery()
    rate: dict[f.Name, f.Rate] = Field(default_factory=dict)
    """Task name or glob = "5/m burst 10 cost 1", a table { limit, per, reserve }, or a list of these; every
    bucket that matches must have the tokens."""
    refuse: Refuse = Refuse()
    quarantine: Quarantine = Quarantine()
    admin: Admin = Admin()
    control: Control = Control()
    mode: ModeSettings = ModeSettings()
    rule: tuple[Rule, ...] = ()
    """First match wins; narrows or relaxes for part of the traffic."""
    prefetch: Prefetch = Prefetch()
    expiry: Expiry = Expiry()
    bound: tuple[Bound, ...] = ()
    """What tasks may ask of workers; the first bound that matches a task counts."""
    limits: Limits = Limits()
    drain: Drain = Drain()
    log: Log = Log()

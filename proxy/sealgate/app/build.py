"""From the settings to the objects of the core and the edges."""

from __future__ import annotations

import contextlib
import os
import ssl
import time
from collections.abc import Callable, Sequence
from urllib.parse import unquote

from sealgate.app.bounds import build_bounds, build_expiry, build_prefetch
from sealgate.app.deliveries import build_delivery
from sealgate.app.errors import start_error
from sealgate.config.fields import is_reference, split_url
from sealgate.config.settings import Rule as RuleSettings
from sealgate.config.settings import Settings
from sealgate.config.sources import SourceError, sources_of
from sealgate.net.endpoints import endpoint
from sealgate.net.tls import client_context, serve_by_name, server_context
from sealgate.net.upstream import Dialer
from sealgate.net.warn import Warn
from sealgate.reason import GateError
from sealgate.session.conversation import Confirmed, Role, Terms, Unconfirmed
from sealgate.session.holding import FRESH_S, ReadyQueues, Waits
from sealgate.session.limits import Limits
from sealgate.session.records import Tally
from sealgate.signing.canonical import COUNTERSIGN_NAME, TOKEN_NAME
from sealgate.signing.keyring import Keyring, KeyState
from sealgate.signing.randomness import RandomPool
from sealgate.stores import open_store
from sealgate.verify.checks import Verifier
from sealgate.verify.policy import ContentRules, Policy, Rule
from sealgate.verify.rates import RateTable
from sealgate.verify.sealer import Sealer
from sealgate.verify.verdict import ClaimStore


def build_terms(settings: Settings, keyring: Keyring, tally: Tally) -> Terms:
    """What every session shares."""
    role = Role(settings.publish.action)
    terms = Terms(
        role=role,
        deployment=settings.deployment,
        verifier=Verifier(build_policy(settings), keyring),
        limits=build_limits(settings),
        tally=tally,
        confirmed=Confirmed(settings.refuse.confirmed),
        unconfirmed=_unconfirmed(settings),
        waits=_waits(settings),
        queues=ReadyQueues(settings.limits.holding_queues_max),
        replace_credentials=settings.credentials.mode == "replace",
        loopback_users=frozenset(settings.credentials.loopback_users),
        prefetch=build_prefetch(settings),
    )
    terms.delivery = build_delivery(settings, terms.verifier)
    apply_keyring(terms, settings, keyring)
    return terms


def _waits(settings: Settings) -> Waits:
    """The queues live well beyond the longest wait, and are declared again long before."""
    expires_s = 2 * settings.refuse.delay_max + 2 * FRESH_S
    return Waits(settings.refuse.delay_queues == "quorum", int(expires_s * 1000))


def _delay_us(settings: Settings) -> int:
    return int(settings.refuse.delay_max * 1_000_000) if settings.refuse.over_rate == "delay" else 0


def _unconfirmed(settings: Settings) -> Unconfirmed:
    """Where nothing is kept, a refusal that no confirm tells is told by closing: never lost in silence."""
    if not quarantine_urls(settings):
        return Unconfirmed.CLOSE
    return Unconfirmed(settings.refuse.unconfirmed)


def quarantine_urls(settings: Settings) -> list[str]:
    """Brokers that keep refused messages, in order; none where there is no quarantine.

    A signing sidecar's upstream is usually a gateway, which would refuse unsealed records: it needs a URL of
    its own (docs/decisions.md).
    """
    quarantine = settings.quarantine
    if not quarantine.enabled:
        return []
    if quarantine.url is not None:
        return [quarantine.url]
    return [] if settings.publish.action == "sign" else list(settings.upstream.urls)


def queue_login(settings: Settings) -> Callable[[str], tuple[str, str]]:
    """Who declares queues that hold messages, by the broker's address: the quarantine's user if it has one,
    else that of the broker's URL, else Sealgate's own (`credentials.user`), else guest."""
    logins: dict[str, tuple[str, str]] = {}
    for url in settings.upstream.urls:
        login = _login_in(url)
        if login is not None:
            logins[endpoint(url, None, None).address] = login
    others = ("guest", "guest")
    credentials = settings.credentials
    if credentials.mode == "replace" and credentials.user is not None:
        password = credentials.password or ""
        others = (
            credentials.user,
            sources_of(settings, os.environ).resolve(password) if is_reference(password) else password,
        )
    kept = None if settings.quarantine.url is None else _login_in(settings.quarantine.url)

    file = credentials.password if (credentials.password or "").startswith("file:") else None

    def login_at(broker: str) -> tuple[str, str]:
        login = kept or logins.get(broker)
        if login is None and file is not None and others[0] == credentials.user:
            # Files are replaced while a gateway runs. Where one can not be read, what it held before must do.
            with contextlib.suppress(SourceError):
                return others[0], sources_of(settings, os.environ).resolve(file)
        return login or others

    return login_at


def _login_in(url: str) -> tuple[str, str] | None:
    parts = split_url(url)
    if not parts.username:
        return None
    return unquote(parts.username), unquote(parts.password or "")


def apply_keyring(terms: Terms, settings: Settings, keyring: Keyring) -> None:
    """Put a (new) keyring in force for every session at once."""
    terms.verifier.keyring = keyring
    publish, deployment = settings.publish, settings.deployment
    if publish.sign_with is not None and terms.role is Role.SIGN:
        terms.sealer = _sealer(terms.sealer, keyring, publish.sign_with, deployment, TOKEN_NAME)
    if publish.countersign_with is not None and terms.role is Role.VERIFY:
        name = publish.countersign_with
        terms.countersealer = _sealer(terms.countersealer, keyring, name, deployment, COUNTERSIGN_NAME)


def _sealer(last: Sealer | None, keyring: Keyring, name: str, deployment: str, header: str) -> Sealer:
    """One that signs with the key that `name` stands for now.

    Where no key can, the key that signed last goes on, as its keyring has it: what is wrong with a file stops
    nobody who signs. Not when it is revoked, nor at the start: signing then refuses, and says why.
    """
    try:
        kid = keyring.first_signer(name, time.time()).kid
    except GateError:
        if last is None:
            return Sealer(keyring, name, deployment, RandomPool(os.urandom).take, header)
        signed = keyring.get(last.kid)
        if signed is None or signed.state is not KeyState.REVOKED:
            return last
        return Sealer(keyring, last.kid, deployment, RandomPool(os.urandom).take, header)
    if last is not None and last.keyring is keyring and last.kid == kid:
        return last
    # Between two looks at the clock (`follow_signer`) the time of a key may be over.
    pattern = name if name.endswith("*") else ""
    return Sealer(keyring, kid, deployment, RandomPool(os.urandom).take, header, pattern)


def follow_signer(terms: Terms, settings: Settings) -> None:
    """Sign with the key that `publish.sign_with` stands for now: with time another one may be the first."""
    name = settings.publish.sign_with
    if terms.sealer is not None and name is not None:
        terms.sealer = _sealer(terms.sealer, terms.verifier.keyring, name, settings.deployment, TOKEN_NAME)


def build_policy(settings: Settings) -> Policy:
    """The checks, as configured."""
    content = settings.content
    return Policy(
        deployment=settings.deployment,
        max_age_s=int(settings.replay.max_age),
        clock_skew_s=int(settings.replay.clock_skew),
        body_bytes_max=content.body_bytes_max,
        inflated_bytes_max=content.inflated_bytes_max,
        content=ContentRules(content.profile, frozenset(content.types), frozenset(content.compression)),
        protocol_1=settings.celery.protocol_1,
        strict_b64=content.b64_pickle == "refuse",
        session_nonces_only=settings.replay.nonces == "session",
        rates=RateTable(settings.rate, _delay_us(settings)),
        observe_default=settings.mode.default == "observe",
        rules=tuple([_rule(settings, rule) for rule in settings.rule]),
        bounds=build_bounds(settings),
        expiry=build_expiry(settings),
    )


def _rule(settings: Settings, rule: RuleSettings) -> Rule:
    content: ContentRules | None = None
    if rule.profile is not None or rule.types is not None or rule.compression is not None:
        content = ContentRules(
            rule.profile if rule.profile is not None else settings.content.profile,
            frozenset(rule.types if rule.types is not None else settings.content.types),
            frozenset(rule.compression if rule.compression is not None else settings.content.compression),
        )
    return Rule(
        vhost=rule.match.vhost,
        exchange=rule.match.exchange,
        task=rule.match.task,
        user=rule.match.user,
        observe=None if rule.mode is None else rule.mode == "observe",
        content=content,
    )


def build_limits(settings: Settings) -> Limits:
    """The bounds of a session, as configured."""
    limits = settings.limits
    return Limits(
        handshake_s=limits.handshake_s,
        channel_max=limits.channel_max,
        frame_bytes_max=limits.frame_bytes_max,
        body_bytes_max=settings.content.body_bytes_max,
        connection_bytes_max=limits.connection_bytes_max,
        process_bytes_max=limits.process_bytes_max,
        message_s=limits.message_s,
        empty_body_frames_max=limits.empty_body_frames_max,
        failed_verifications_max=limits.failed_verifications_max,
        failed_verifications_window_s=limits.failed_verifications_window_s,
        claims_inflight_max=limits.claims_inflight_max,
        held_bytes_max=limits.held_bytes_max,
        close_s=limits.close_s,
    )


def build_store(settings: Settings, tally: Tally) -> ClaimStore:
    """The replay store the settings name, not yet started."""
    replay = settings.replay
    return open_store(
        replay.store,
        deployment=settings.deployment,
        max_age_s=int(replay.max_age),
        clock_skew_s=int(replay.clock_skew),
        journal=replay.journal,
        gateways=settings.limits.gateways,
        entries_max=replay.entries_max,
        in_doubt=replay.in_doubt,
        values_max=settings.limits.rate_values_max,
        limits_hit=tally.limits_hit,
    )


def build_listen_tls(settings: Settings) -> ssl.SSLContext | None:
    """TLS towards clients. Raises StartError naming the key when a file does not serve."""
    tls = settings.listen.tls
    if tls is None:
        return None
    context = _server_context("listen.tls", tls.cert, tls.key, tls.client_ca)
    others: dict[str, ssl.SSLContext] = {}
    for index, entry in enumerate(tls.names):
        other = _server_context(f"listen.tls.names[{index}]", entry.cert, entry.key, tls.client_ca)
        others.update(dict.fromkeys(entry.names, other))
    if others:
        serve_by_name(context, others)
    return context


def _server_context(setting: str, cert: str, key: str, client_ca: str | None) -> ssl.SSLContext:
    try:
        return server_context(cert, key, client_ca)
    except (OSError, ssl.SSLError) as error:
        raise start_error(setting, error) from error


def build_upstream_tls(settings: Settings, urls: Sequence[str]) -> ssl.SSLContext | None:
    """TLS towards the broker, when one of `urls` asks for it. Raises StartError naming the key."""
    if not any(url.startswith("amqps:") for url in urls):
        return None
    tls = settings.upstream.tls
    try:
        if tls is None:
            return client_context(None, None, None, True)
        return client_context(tls.ca, tls.cert, tls.key, tls.verify)
    except (OSError, ssl.SSLError) as error:
        raise start_error("upstream.tls", error) from error


def build_dialer(settings: Settings, tls: ssl.SSLContext | None, warn: Warn) -> Dialer:
    """Connects clients' sessions to the broker."""
    server_name = settings.upstream.tls.server_name if settings.upstream.tls is not None else None
    return Dialer([endpoint(url, tls, server_name) for url in settings.upstream.urls], warn)

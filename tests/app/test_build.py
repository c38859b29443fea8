from __future__ import annotations

import ssl
import time
from pathlib import Path

import pytest

from sealgate.app import build
from sealgate.app.errors import StartError
from sealgate.config.settings import Settings
from sealgate.reason import GateError
from sealgate.session.conversation import Confirmed, Role, Terms, Unconfirmed
from sealgate.session.holding import FRESH_S
from sealgate.session.limits import Limits
from sealgate.session.records import Tally
from sealgate.signing.algorithms import HmacSha256
from sealgate.signing.keyring import Key, Keyring, KeyState
from sealgate.signing.token import parse_token
from sealgate.stores.memory import MemoryStore
from sealgate.verify.policy import ContentRules
from sealgate.verify.sealer import SignerSession
from sealgate.verify.verdict import ClaimStatus
from support.certificates import Authority
from support.claims import grant, make_claim, status
from support.home import Home
from support.sealed import a_message, a_peer
from support.talk import KEYRING

GRANTED = ClaimStatus.GRANTED
INFLIGHT = ClaimStatus.INFLIGHT


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def warn(event: str, key: str = "", **fields: object) -> None:
    raise AssertionError(event)


# Terms and policy


def test_verifier_is_built_without_sealers(home: Home) -> None:
    terms = build.build_terms(home.settings(), KEYRING, Tally())
    assert (terms.role, terms.sealer, terms.countersealer) == (Role.VERIFY, None, None)
    assert terms.verifier.keyring is KEYRING


def test_signer_signs_with_the_key_it_was_told(home: Home) -> None:
    settings = home.settings(publish={"action": "sign", "sign_with": "k1"})
    terms = build.build_terms(settings, KEYRING, Tally())
    assert terms.role is Role.SIGN
    assert terms.sealer is not None
    assert terms.countersealer is None


def test_signer_follows_the_first_key_of_a_name_that_can_sign(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr(build.time, "time", lambda: clock[0])
    secret = HmacSha256(bytes(range(32)))
    ring = Keyring(
        [Key("web-1", secret, not_after=110), Key("web-2", secret, not_before=105), Key("k1", secret)]
    )
    settings = home.settings(publish={"action": "sign", "sign_with": "web-*"})
    terms = build.build_terms(settings, ring, Tally())
    assert terms.sealer is not None
    signing = []
    for moment in (100.0, 110.0, 111.0):
        clock[0] = moment
        build.follow_signer(terms, settings)
        signing.append(terms.sealer.kid)
    assert signing == ["web-1", "web-1", "web-2"]


def test_next_key_takes_over_in_the_moment_when_the_first_is_over(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at the next look at the clock only: no publish fails between."""
    now = time.time()
    clock = [now]
    monkeypatch.setattr(time, "time", lambda: clock[0])
    secret = HmacSha256(bytes(range(32)))
    ring = Keyring([Key("web-1", secret, not_after=int(now) + 10), Key("web-2", secret)])
    settings = home.settings(publish={"action": "sign", "sign_with": "web-*"})
    terms = build.build_terms(settings, ring, Tally())
    assert sealing(terms) == "web-1"
    clock[0] = now + 12
    assert sealing(terms) == "web-2"
    settings = home.settings(publish={"action": "sign", "sign_with": "web-1"})
    with pytest.raises(GateError, match="is no longer valid"):
        sealing(build.build_terms(settings, ring, Tally()))


def test_signer_signs_on_with_its_last_key_where_a_keyring_has_none(home: Home) -> None:
    """While files are at different steps, or one is wrong. Who verifies does so by the new one at once."""
    secret = HmacSha256(bytes(range(32)))
    settings = home.settings(publish={"action": "sign", "sign_with": "web-*"})
    terms = build.build_terms(settings, Keyring([Key("web-1", secret)]), Tally())
    before = terms.sealer
    for ring in (
        Keyring([Key("web-1", secret, KeyState.VERIFY), Key("web-2", secret, KeyState.VERIFY)]),
        Keyring([Key("other", secret)]),
    ):
        build.apply_keyring(terms, settings, ring)
        build.follow_signer(terms, settings)
        assert terms.verifier.keyring is ring
        assert terms.sealer is before
    assert sealing(terms) == "web-1"
    ring = Keyring([Key("web-1", secret, KeyState.REVOKED), Key("web-2", secret, not_before=2**40)])
    build.apply_keyring(terms, settings, ring)
    with pytest.raises(GateError, match="key web-1 is in state revoked"):
        sealing(terms)
    build.apply_keyring(terms, settings, Keyring([Key("web-2", secret)]))
    assert sealing(terms) == "web-2"


def test_countersigner_goes_on_with_its_last_key_as_well(home: Home) -> None:
    settings = home.settings(publish={"countersign_with": "k1"})
    terms = build.build_terms(settings, KEYRING, Tally())
    before = terms.countersealer
    build.apply_keyring(terms, settings, Keyring([]))
    assert terms.countersealer is before


def sealing(terms: Terms) -> str:
    """The kid under which a message is sealed now. Raises `GateError`."""
    assert terms.sealer is not None
    return parse_token(terms.sealer.token(a_message(), a_peer(), SignerSession(), time.time())).kid


def test_signer_of_one_name_keeps_it(home: Home) -> None:
    settings = home.settings(publish={"action": "sign", "sign_with": "k1"})
    terms = build.build_terms(settings, KEYRING, Tally())
    build.follow_signer(terms, settings)
    assert terms.sealer is not None
    assert terms.sealer.kid == "k1"


def test_countersigning_gateway_has_a_sealer_of_its_own(home: Home) -> None:
    settings = home.settings(publish={"countersign_with": "k1"})
    terms = build.build_terms(settings, KEYRING, Tally())
    assert terms.sealer is None
    assert terms.countersealer is not None


def test_new_keyring_is_in_force_for_signing_and_verifying_at_once(home: Home) -> None:
    settings = home.settings(publish={"action": "sign", "sign_with": "k1"})
    terms = build.build_terms(settings, KEYRING, Tally())
    before = terms.sealer
    fresh = Keyring(KEYRING)
    build.apply_keyring(terms, settings, fresh)
    assert terms.verifier.keyring is fresh
    assert terms.sealer is not before


def test_refusals_are_told_as_configured_and_never_lost_in_silence(home: Home) -> None:
    """Without a quarantine a refusal that no confirm tells closes the channel."""
    settings = home.settings(refuse={"confirmed": "nack"}, quarantine={"enabled": True})
    terms = build.build_terms(settings, KEYRING, Tally())
    assert (terms.confirmed, terms.unconfirmed) == (Confirmed.NACK, Unconfirmed.QUARANTINE)
    assert build.build_terms(home.settings(), KEYRING, Tally()).unconfirmed is Unconfirmed.CLOSE


@pytest.mark.parametrize(
    ("quarantine", "publish", "kept_at"),
    [
        ({"enabled": True}, {}, ["amqp://127.0.0.1:7"]),
        ({"enabled": False}, {}, []),
        ({"enabled": True}, {"action": "sign", "sign_with": "k1"}, []),
        ({"enabled": True, "url": "amqp://q"}, {"action": "sign", "sign_with": "k1"}, ["amqp://q"]),
    ],
)
def test_refused_messages_are_kept_on_a_broker_that_takes_them(
    home: Home, quarantine: dict[str, object], publish: dict[str, object], kept_at: list[str]
) -> None:
    settings = home.settings(7, quarantine=quarantine, publish=publish)
    assert build.quarantine_urls(settings) == kept_at


def test_rule_changes_only_what_it_names(home: Home) -> None:
    settings = Settings.model_validate(
        {
            "rule": [
                {"match": {"task": "a.*"}, "mode": "observe"},
                {"match": {"vhost": "/b", "user": "u"}, "types": [""], "profile": "generic"},
                {"match": {"exchange": "c"}, "compression": ["application/x-gzip"], "mode": "enforce"},
            ]
        }
    )
    observed, narrowed, compressed = build.build_policy(settings).rules
    assert (observed.task, observed.observe, observed.content) == ("a.*", True, None)
    assert (narrowed.vhost, narrowed.user, narrowed.observe) == ("/b", "u", None)
    assert narrowed.content == ContentRules("generic", frozenset({""}), frozenset())
    assert compressed.observe is False
    assert compressed.content == ContentRules(
        "celery", frozenset({"application/json"}), frozenset({"application/x-gzip"})
    )


@pytest.mark.parametrize(("choice", "strict"), [("flag", False), ("refuse", True)])
def test_pickles_in_base64_are_flagged_or_refused_as_configured(choice: str, strict: bool) -> None:
    settings = Settings.model_validate({"content": {"b64_pickle": choice}})
    assert build.build_policy(settings).strict_b64 is strict


def test_defaults_of_the_settings_are_those_of_the_limits(home: Home) -> None:
    assert build.build_limits(home.settings()) == Limits()


@pytest.mark.asyncio
async def test_store_is_the_one_named(home: Home) -> None:
    assert isinstance(build.build_store(home.settings(), Tally()), MemoryStore)


@pytest.mark.replaces_core
@pytest.mark.asyncio
@pytest.mark.parametrize(("replay", "outcome"), [({}, GRANTED), ({"in_doubt": "refuse"}, INFLIGHT)])
async def test_what_is_in_doubt_is_taken_over_or_refused_as_configured(
    home: Home, monkeypatch: pytest.MonkeyPatch, replay: dict[str, object], outcome: ClaimStatus
) -> None:
    started = time.monotonic()
    store = build.build_store(home.settings(replay={**replay, "clock_skew": "0s"}), Tally())
    assert isinstance(store, MemoryStore)
    await store.start()
    await grant(store, [make_claim("n", int(time.time()) + 1)])
    monkeypatch.setattr(store, "_monotonic", lambda: started + 60)
    assert await status(store, make_claim("n", int(time.time()) + 1)) is outcome
    await store.close()


# TLS


def test_nothing_is_built_where_no_tls_is_asked_for(home: Home) -> None:
    settings = home.settings(upstream={"tls": {"verify": False}})
    assert build.build_listen_tls(settings) is None
    assert build.build_upstream_tls(settings, settings.upstream.urls) is None


def test_tls_url_alone_is_enough(home: Home) -> None:
    context = build.build_upstream_tls(home.settings(), ["amqp://a", "amqps://b"])
    assert context is not None
    assert (context.check_hostname, context.verify_mode) == (True, ssl.CERT_REQUIRED)


def test_certificates_and_names_reach_their_legs(home: Home) -> None:
    authority = Authority(home.folder)
    pair = authority.issue("gateway")
    settings = home.settings(
        listen={"tls": {"cert": pair.cert, "key": pair.key, "client_ca": authority.ca}},
        upstream={
            "urls": ["amqps://127.0.0.1"],
            "tls": {"ca": authority.ca, "cert": pair.cert, "key": pair.key, "server_name": "broker"},
        },
    )
    listen = build.build_listen_tls(settings)
    assert listen is not None
    assert listen.verify_mode is ssl.CERT_REQUIRED
    upstream = build.build_upstream_tls(settings, settings.upstream.urls)
    assert upstream is not None
    assert [ca["subject"] for ca in upstream.get_ca_certs()] == [((("commonName", "test authority"),),)]


@pytest.mark.asyncio
async def test_dialer_is_built_for_every_url(home: Home) -> None:
    settings = home.settings(upstream={"urls": ["amqp://one", "amqps://two:1"]})
    dialer = build.build_dialer(settings, ssl.create_default_context(), warn)
    assert [(target.host, target.port) for target in dialer.endpoints] == [("one", 5672), ("two", 1)]


@pytest.mark.parametrize("leg", ["listen", "upstream"])
@pytest.mark.parametrize(
    ("error", "code"), [(FileNotFoundError("no"), 78), (PermissionError("no"), 77), (ssl.SSLError("no"), 78)]
)
def test_file_that_does_not_serve_names_its_table_and_the_exit_code(
    home: Home, monkeypatch: pytest.MonkeyPatch, leg: str, error: OSError, code: int
) -> None:
    """As root every file can be read, so that the refusal of one has to be played."""

    def failing(*_: object) -> None:
        raise error

    monkeypatch.setattr(build, "server_context", failing)
    monkeypatch.setattr(build, "client_context", failing)
    settings = home.settings(listen={"tls": {"cert": "c", "key": "k"}}, upstream={"tls": {"ca": "ca"}})
    with pytest.raises(StartError, match=rf"^{leg}\.tls: ") as refused:
        if leg == "listen":
            build.build_listen_tls(settings)
        else:
            build.build_upstream_tls(settings, ["amqps://b"])
    assert refused.value.exit_code == code


# Rates whose messages wait


def test_messages_wait_as_configured_and_their_queues_outlive_the_longest_wait(home: Home) -> None:
    rates = {"rate": {"*": "5/m"}}
    terms = build.build_terms(home.settings(**rates), KEYRING, Tally())
    assert terms.verifier.policy.rates.delay_us == 3_600_000_000
    assert terms.waits.expires_ms > 3_600_000 + 1000 * FRESH_S and not terms.waits.quorum
    refuse = {"over_rate": "delay", "delay_max": "7d", "delay_queues": "quorum"}
    terms = build.build_terms(
        home.settings(**rates, refuse=refuse, limits={"holding_queues_max": 7}), KEYRING, Tally()
    )
    # What RabbitMQ takes for x-expires and for a TTL.
    assert 604_800_000 + 1000 * FRESH_S < terms.waits.expires_ms < 2**32
    assert terms.waits.quorum and terms.queues.count_max == 7
    refusing = home.settings(**rates, refuse={"over_rate": "refuse"})
    assert build.build_terms(refusing, KEYRING, Tally()).verifier.policy.rates.delay_us == 0


def test_queues_are_declared_by_the_user_of_quarantine_or_broker_or_sealgates_own(home: Home) -> None:
    def login(broker: str = "b:5672", **tables: object) -> tuple[str, str]:
        return build.queue_login(home.settings(**tables))(broker)

    two = {"urls": ["amqp://a", "amqp://u%40v:p%2Fw@b"]}
    assert login(upstream=two) == ("u@v", "p/w")
    assert login("a:5672", upstream=two) == ("guest", "guest")
    own = {"mode": "replace", "users": "env:USERS", "user": "gate", "password": "hunter2"}
    assert login("a:5672", upstream=two, credentials=own) == ("gate", "hunter2")
    assert login("b:5672", upstream=two, credentials=own) == ("u@v", "p/w")
    assert login(upstream=two, quarantine={"url": "amqp://q:r@b"}) == ("q", "r")
    assert login(upstream=two, quarantine={"url": "amqp://b"}) == ("u@v", "p/w")


def test_a_password_in_a_file_is_read_for_each_connection(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.touch(mode=0o600)
    file.write_text("first\n")
    own = {"mode": "replace", "users": "env:USERS", "user": "gate", "password": f"file:{file}"}
    login = build.queue_login(home.settings(credentials=own))
    assert login("b:5672") == ("gate", "first")
    file.write_text("second\n")
    assert login("b:5672") == ("gate", "second")
    file.unlink()
    assert login("b:5672") == ("gate", "first")

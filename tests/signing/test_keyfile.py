from __future__ import annotations

from datetime import UTC, datetime

import pytest

from sealgate.signing.keyfile import KeyfileError, load_keyring, parse_duration
from sealgate.signing.keyring import Key, Keyring, KeyState
from sealgate.signing.material import generate_ed25519, generate_hmac

RANDOM = bytes.fromhex("8f1d3ac0527be966044ecd91b82f70a35d16e83bf4297ac5016b9edf4480d237")
OTHER = bytes(reversed(RANDOM))
HMAC = generate_hmac(RANDOM)
PRIVATE, PUBLIC = generate_ed25519(OTHER)
SOURCES = {
    "env:K1": HMAC,
    "env:SHORT": "hex:00",
    "file:/run/k2": PRIVATE + "\n",
    "env:PASSWORD": "hunter2hunter2",
}
KEY = '[[key]]\nkid = "k1"\nalg = "hmac-sha256"\nsecret = "env:K1"\n'
EDWARDS = '[[key]]\nkid = "k2"\nalg = "ed25519"\n'


def resolve(reference: str) -> str:
    if reference not in SOURCES:
        raise ValueError(f"{reference} is not set")
    return SOURCES[reference]


def load(text: str) -> Keyring:
    keyring, warnings = load_keyring(text, resolve)
    assert warnings == []
    return keyring


def key_of(text: str) -> Key:
    keyring = load(text)
    key = keyring.get(keyring.kids()[0])
    assert key is not None
    return key


def errors_of(text: str) -> list[str]:
    with pytest.raises(KeyfileError) as caught:
        load_keyring(text, resolve)
    for secret in (HMAC, PRIVATE, "hunter2"):
        assert secret not in str(caught.value)
    assert str(caught.value) == "\n".join(caught.value.errors)
    return caught.value.errors


def test_shortest_key_is_active_and_may_do_anything() -> None:
    key = key_of(KEY)
    assert (key.kid, key.algorithm.name, key.state) == ("k1", "hmac-sha256", KeyState.ACTIVE)
    assert (key.not_before, key.not_after, key.max_lifetime_s) == (None, None, 7 * 86400)
    limits = (key.vhosts, key.users, key.tasks, key.exchanges, key.routing_keys, key.reply_to, key.classes)
    assert limits == (None,) * 7


def test_every_field_is_read() -> None:
    key = key_of(
        KEY
        + """
        state = "verify"
        not_before = 2026-01-01T00:00:00Z
        not_after = "2026-02-01T01:00:00+01:00"
        max_lifetime = "24h"
        vhosts = ["/"]
        users = ["web-*"]
        tasks = ["shop.tasks.*", "other"]
        exchanges = ["", "celery"]
        routing_keys = []
        reply_to = ["amq.rabbitmq.reply-to"]
        classes = ["task", "control:ping"]
        created = 2025-12-01T00:00:00Z
        state_since = "2026-01-15T00:00:00+00:00"
        replaces = "k0"
        """
    )
    assert key.created == datetime(2025, 12, 1, tzinfo=UTC).timestamp()
    assert key.state_since == datetime(2026, 1, 15, tzinfo=UTC).timestamp()
    assert key.replaces == "k0"
    assert key.state is KeyState.VERIFY
    assert key.not_before == datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    assert key.not_after == datetime(2026, 2, 1, tzinfo=UTC).timestamp()
    assert key.max_lifetime_s == 86400
    assert (key.vhosts, key.users) == (("/",), ("web-*",))
    assert (key.tasks, key.exchanges) == (("shop.tasks.*", "other"), ("", "celery"))
    assert (key.routing_keys, key.reply_to) == ((), ("amq.rabbitmq.reply-to",))
    assert key.classes == ("task", "control:ping")


def test_parsed_tables_are_taken_as_well_as_text() -> None:
    entry = {"kid": "k1", "alg": "hmac-sha256", "secret": "env:K1"}
    keyring, _ = load_keyring({"key": [entry]}, resolve)
    assert keyring.kids() == ("k1",)


def test_several_keys_keep_their_order() -> None:
    text = EDWARDS + f'public = "{PUBLIC}"\n' + KEY
    assert load(text).kids() == ("k2", "k1")


def test_private_key_signs_and_public_key_only_verifies() -> None:
    private = key_of(EDWARDS + 'private = "file:/run/k2"').algorithm
    public = key_of(EDWARDS + f'public = "{PUBLIC}"').algorithm
    assert (private.can_sign, public.can_sign) == (True, False)
    assert public.verify(b"data", private.sign(b"data"))


def test_literal_secret_is_taken_with_a_warning_that_does_not_show_it() -> None:
    keyring, warnings = load_keyring(KEY.replace("env:K1", HMAC), resolve)
    assert keyring.kids() == ("k1",)
    assert len(warnings) == 1
    assert warnings[0].startswith("key[0].secret: ")
    assert HMAC not in warnings[0]


def test_same_secret_under_two_kids_is_warned_about() -> None:
    _, warnings = load_keyring(KEY + KEY.replace('"k1"', '"k3"'), resolve)
    assert warnings == ["key[1].secret: is the same as that of key[0]"]


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ('secret = "env:NONE"', "key[0].secret: env:NONE is not set"),
        ('secret = "env:SHORT"', "key[0].secret: is 1 bytes; at least 32 random ones are wanted"),
        ('secret = "env:PASSWORD"', "key[0].secret: is no key"),
        ('secret = "hunter2hunter2"', "key[0].secret: is no key"),
        ('secret = "file:/run/k2"', "key[0].secret: is a private Ed25519 key"),
        ("secret = 5", "key[0].secret: want a text"),
        ('alg = "HS256"', "key[0].alg: want hmac-sha256 or ed25519"),
        ("alg = true", "key[0].alg: want a text"),
        ('kid = "k 1"', "key[0].kid: want 1 to 64"),
        ('state = "retired"', "key[0].state: want active, verify or revoked"),
        ("not_before = 2026-01-01", "key[0].not_before: want a date and time"),
        ("not_before = 2026-01-01T00:00:00", "key[0].not_before: want a date and time"),
        ('not_after = "soon"', "key[0].not_after: want a date and time"),
        ("not_after = 1767225600", "key[0].not_after: want a date and time"),
        ("created = 2026-01-01T00:00:00", "key[0].created: want a date and time"),
        ("state_since = 1767225600", "key[0].state_since: want a date and time"),
        ('replaces = "k1"', "key[0].replaces: want the kid of another key"),
        ('replaces = "k 0"', "key[0].replaces: want the kid of another key"),
        ('max_lifetime = "1w"', "key[0].max_lifetime: want a duration"),
        ('max_lifetime = "0s"', "key[0].max_lifetime: want a duration"),
        ('max_lifetime = "367d"', "key[0].max_lifetime: is over 366d"),
        ("max_lifetime = 60", "key[0].max_lifetime: want a text"),
        ('tasks = "shop.*"', "key[0].tasks: want a list of texts"),
        ("exchanges = [1]", "key[0].exchanges: want a list of texts"),
        ('classes = ["tasks"]', "key[0].classes: want task, result, control, event or control:COMMAND"),
        ('classes = ["control:"]', "key[0].classes: want task"),
        ("classes = 1", "key[0].classes: want a list of texts"),
        ('task = ["a"]', "key[0].task: is not known; did you mean tasks?"),
        ("zzz = 1", "key[0].zzz: is not known"),
        ('private = "file:/run/k2"', "key[0].private: is not for alg hmac-sha256"),
    ],
)
def test_one_wrong_line_is_one_error_with_its_path(line: str, error: str) -> None:
    name = line.split()[0]
    kept = [old for old in KEY.splitlines() if not old.startswith(name + " ")]
    errors = errors_of("\n".join([*kept, line]))
    assert len(errors) == 1
    assert errors[0].startswith(error)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "key: want at least one [[key]] table"),
        ("key = []", "key: want at least one [[key]] table"),
        ("[key]\n", "key: want at least one [[key]] table"),
        ("key = [1]", "key[0]: want a table"),
        ("[[key]\n", "not TOML: "),
        ("keys = 1\n" + KEY, "keys: is not known; did you mean key?"),
        (
            KEY + "not_before = 2026-02-01T00:00:00Z\nnot_after = 2026-02-01T00:00:00Z",
            "key[0].not_after: is not after",
        ),
        (EDWARDS, "key[0]: want private or public for alg ed25519"),
        (EDWARDS + f'private = "file:/run/k2"\npublic = "{PUBLIC}"', "key[0]: want private or public"),
        (EDWARDS + 'public = "file:/run/k2"', "key[0].public: is a private Ed25519 key"),
    ],
)
def test_wrong_file_is_told(text: str, error: str) -> None:
    errors = errors_of(text)
    assert len(errors) == 1
    assert errors[0].startswith(error)


def test_missing_fields_are_all_told() -> None:
    assert errors_of("[[key]]") == ["key[0].kid: is missing", "key[0].alg: is missing"]
    without_secret = KEY[: KEY.index("secret")]
    assert errors_of(without_secret) == ["key[0]: want secret for alg hmac-sha256"]


def test_second_use_of_a_kid_names_the_first() -> None:
    other = (
        KEY.replace("env:K1", "file:/run/k2").replace("hmac-sha256", "ed25519").replace("secret", "private")
    )
    assert errors_of(KEY + other) == ["key[1].kid: k1 is there already, at key[0]"]


def test_all_errors_of_all_keys_are_told_at_once() -> None:
    errors = errors_of(
        KEY + 'state = "x"\nmax_lifetime = "y"\n' + EDWARDS + 'public = "z"\nusers = 1\n[[key]]\n'
    )
    paths = [error.split(": ")[0] for error in errors]
    assert sorted(paths) == [
        "key[0].max_lifetime",
        "key[0].state",
        "key[1].public",
        "key[1].users",
        "key[2].alg",
        "key[2].kid",
    ]


@pytest.mark.parametrize(
    "error", [FileNotFoundError("no such file"), KeyError("no such name"), ValueError("closed")]
)
def test_a_reference_that_fails_is_an_error_of_its_key(error: Exception) -> None:
    def failing(reference: str) -> str:
        raise error

    with pytest.raises(KeyfileError) as caught:
        load_keyring(KEY, failing)
    assert caught.value.errors[0].startswith("key[0].secret: ")
    assert str(error) in caught.value.errors[0]


def test_a_secret_file_of_raw_bytes_is_told_without_showing_them() -> None:
    def binary(reference: str) -> str:
        return b"\xff\xfe".decode()

    with pytest.raises(KeyfileError) as caught:
        load_keyring(KEY, binary)
    assert caught.value.errors == ["key[0].secret: is not text"]


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("5m", 300), ("24h", 86400), ("7d", 604800)])
def test_durations_have_one_unit(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "5 m", "-5m", "1h30m", "1.5h", "05m", "\u0665m", "5M", "5m\n"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="want a duration"):
        parse_duration(text)

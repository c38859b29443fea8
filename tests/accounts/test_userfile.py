from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealgate.accounts.passwords import Cost, hash_password
from sealgate.accounts.userfile import USERS_MAX, UserfileError, _Reader, load_users
from sealgate.accounts.users import BrokerLogin, UserBook

BROKER = BrokerLogin("gateway", "broker-secret")
CHEAP = Cost(14, 8, 1)
HASH = hash_password(b"wonder", bytes(16), CHEAP)
SECRETS = {"env:B": "own-secret", "env:NUL": "a\x00b", "env:LONG": "x" * 1025}


NO_HASH = (
    "user[0].password: is no password hash: want $scrypt$ln=..,r=..,p=..$salt$hash as `users hash` prints it"
)


def resolve(reference: str) -> str:
    if reference not in SECRETS:
        raise ValueError(f"{reference} is not set")
    return SECRETS[reference]


def load(text: str) -> UserBook:
    book, warnings = load_users(text, resolve, BROKER)
    assert warnings == []
    return book


def errors(text: str) -> list[str]:
    with pytest.raises(UserfileError) as refused:
        load_users(text, resolve, BROKER)
    for secret in (HASH, "own-secret", "hunter2"):
        assert secret not in str(refused.value)
    return refused.value.errors


def user(name: str = "alice", more: str = f'password = "{HASH}"\n') -> str:
    return f'[[user]]\nname = "{name}"\n{more}'


def test_users_are_read_with_all_there_is_about_them() -> None:
    book = load(
        user()
        + user("bob", 'certificate = "bob.example"\nvhosts = ["/", "team-*"]\nstate = "active"\n')
        + user("carol", f'password = "{HASH}"\nstate = "disabled"\n')
        + user("dave", f'password = "{HASH}"\nbroker_user = "own"\nbroker_password = "env:B"\n')
    )
    alice, bob, carol, dave = book
    assert (alice.name, alice.vhosts, alice.active, alice.broker) == ("alice", None, True, BROKER)
    assert alice.password is not None
    assert alice.password.cost == CHEAP
    assert (bob.password, bob.certificate, bob.vhosts) == (None, "bob.example", ("/", "team-*"))
    assert not carol.active
    assert dave.broker == BrokerLogin("own", "own-secret")
    assert len(book) == 4


def test_repr_shows_no_secret() -> None:
    (alice,) = load(user())
    assert "secret" not in repr(alice)
    assert HASH.split("$")[-1] not in repr(alice)


def test_certificate_stands_for_one_active_user() -> None:
    book = load(
        user("bob", 'certificate = "bob.example"\n')
        + user("eve", 'certificate = "eve.example"\n')
        + user("old", 'certificate = "old.example"\nstate = "disabled"\n')
    )
    bob = book.get("bob")
    assert book.of_certificate(["somebody", "bob.example"]) is bob
    assert book.of_certificate([]) is None
    assert book.of_certificate(["BOB.example"]) is None
    assert book.of_certificate(["old.example"]) is None
    assert book.of_certificate(["bob.example", "eve.example"]) is None


def test_all_errors_are_told_at_once_with_their_paths() -> None:
    told = errors(
        "owner = 1\n"
        + user("", 'password = "hunter2"\n')
        + user("bob", 'pasword = "x"\n')
        + user("bob", 'certificate = ""\nvhosts = "all"\nstate = "on"\nbroker_user = "x"\n')
        + user("c\\u0007", f'password = "{HASH}"\nvhosts = ["a", ""]\nbroker_password = "env:NO"\n')
    )
    assert told == [
        "owner: is not known",
        "user[0].name: is empty",
        NO_HASH,
        "user[1].pasword: is not known; did you mean password?",
        "user[1]: want a password, a certificate or both",
        "user[2].name: bob is there already, at user[1]",
        "user[2].certificate: is empty",
        "user[2].vhosts: want a list of texts",
        "user[2].state: want active or disabled",
        "user[2].broker_password: is missing: it goes together with broker_user",
        "user[3].name: has characters that can not be shown",
        "user[3].vhosts: one is empty",
        "user[3].broker_user: is missing: it goes together with broker_password",
        "user[3].broker_password: env:NO is not set",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("user = {", "not TOML: "),
        ("", "user: want at least one [[user]] table"),
        ("user = []", "user: want at least one [[user]] table"),
        ("user = [1]", "user[0]: want a table"),
        ("[[user]]\n", "user[0].name: is missing"),
        (user(more="password = 5\n"), "user[0].password: want a text"),
        (user(more='certificate = "' + "x" * 256 + '"\n'), "user[0].certificate: is over 255 bytes"),
        (user("a", 'certificate = "c"\n') + user("b", 'certificate = "c"\n'), "user[1].certificate: c is"),
        (
            user(more=f'password = "{HASH}"\nbroker_user = "b"\nbroker_password = ""\n'),
            "user[0].broker_password: is empty",
        ),
        (
            user(more=f'password = "{HASH}"\nbroker_user = "b"\nbroker_password = "env:NUL"\n'),
            "user[0].broker_password: has a NUL",
        ),
        (
            user(more=f'password = "{HASH}"\nbroker_user = "b"\nbroker_password = "env:LONG"\n'),
            "user[0].broker_password: is over 1024 bytes",
        ),
    ],
)
def test_what_is_no_user_is_told(text: str, told: str) -> None:
    assert errors(text)[0].startswith(told)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10) | st.just(HASH),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELDS = st.sampled_from(
    ["name", "password", "certificate", "vhosts", "state", "broker_user", "broker_password", "x"]
)


@given(st.lists(st.dictionaries(FIELDS, VALUES), max_size=3))
def test_any_tables_are_users_or_refused(tables: list[dict[str, object]]) -> None:
    reader = _Reader(resolve, BROKER)
    users = reader.read({"user": tables})
    assert len(users) == len(tables) or reader.errors


def test_there_are_not_too_many() -> None:
    text = "".join(f'[[user]]\nname = "u{n}"\ncertificate = "c{n}"\n' for n in range(USERS_MAX + 1))
    assert errors(text) == [f"user: there are over {USERS_MAX}"]


def test_what_is_allowed_and_seldom_meant_is_warned_about() -> None:
    cheap = hash_password(b"wonder", bytes(16), Cost(10, 8, 1))
    text = user() + user("b", f'password = "{cheap}"\nbroker_user = "b"\nbroker_password = "hunter2"\n')
    _, warnings = load_users(text, resolve, BROKER)
    assert warnings == [
        "user[1].password: is cheap to guess through; hash it again",
        "user[1].broker_password: is written into the file; use env: or file:",
        "user: passwords are hashed with different parameters; hash them alike",
    ]

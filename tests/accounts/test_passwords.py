from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealgate.accounts.passwords import (
    COST_DEFAULT,
    MEMORY_BYTES_MAX,
    Cost,
    HashError,
    hash_password,
    is_password,
    parse_hash,
)

SALT = bytes(range(16))
CHEAP = Cost(10, 8, 1)
TEXT = hash_password(b"wonder", SALT, CHEAP)
_, _, _, SALT_TEXT, HASH_TEXT = TEXT.split("$")


def test_text_is_that_of_the_phc_form_and_the_hash_that_of_scrypt() -> None:
    assert TEXT.startswith("$scrypt$ln=10,r=8,p=1$AAECAwQFBgcICQoLDA0ODw$")
    known = parse_hash(TEXT)
    assert known.cost == CHEAP
    assert known.digest == hashlib.scrypt(b"wonder", salt=SALT, n=1024, r=8, p=1, dklen=32)


def test_right_password_fits_and_others_do_not() -> None:
    known = parse_hash(TEXT)
    assert is_password(b"wonder", known)
    for wrong in (b"", b"wonde", b"wonder ", b"Wonder", b"wonder\x00"):
        assert not is_password(wrong, known)


def test_default_cost_is_within_the_bounds() -> None:
    assert parse_hash(hash_password(b"x", SALT)).cost == COST_DEFAULT


def test_repr_shows_nothing() -> None:
    shown = repr(parse_hash(TEXT))
    assert "salt" not in shown
    assert "digest" not in shown


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is no password hash"),
        ("hunter2", "is no password hash"),
        ("$argon2id$v=19$m=65536,t=3,p=4$AAECAwQFBgcICQoLDA0ODw$AAAA", "is no password hash"),
        (TEXT + "\n", "is no password hash"),
        (TEXT + "=", "is no password hash"),
        (TEXT.replace("ln=10", "ln=010"), "is no password hash"),
        (TEXT.replace("ln=10,r=8", "r=8,ln=10"), "is no password hash"),
        (TEXT.replace("p=1", "p=0"), "is no password hash"),
        (TEXT.replace("p=1", "p=٣"), "is no password hash"),
        (TEXT.replace("ln=10", "ln=9"), "protects nothing"),
        (TEXT.replace("ln=10", "ln=17"), "may take 64 MiB"),
        (TEXT.replace("ln=10", "ln=99"), "may take 64 MiB"),
        (TEXT.replace("r=8", "r=33"), "may take 64 MiB"),
        (TEXT.replace("p=1", "p=17"), "may take 64 MiB"),
        (TEXT.replace("ln=10", "ln=15").replace("p=1", "p=9"), "takes too long"),
        (TEXT.replace(SALT_TEXT, "AAECAwQFBg"), "has a salt of 7 bytes"),
        (TEXT.replace(SALT_TEXT, "A" * 88), "has a salt of 66 bytes"),
        (TEXT.replace(HASH_TEXT, HASH_TEXT[:-1]), "has a salt or a hash with bits behind its end"),
        (TEXT.replace(HASH_TEXT, HASH_TEXT[:-3]), "has a hash of 30 bytes"),
        (TEXT.replace(SALT_TEXT, SALT_TEXT[:-1] + "x"), "has a salt or a hash with bits behind its end"),
        (TEXT.replace(SALT_TEXT, SALT_TEXT[:-1]), "is no base64"),
    ],
)
def test_any_other_text_is_refused(text: str, told: str) -> None:
    with pytest.raises(HashError) as refused:
        parse_hash(text)
    assert told in str(refused.value)
    assert HASH_TEXT not in str(refused.value)


@given(st.text() | st.from_regex(r"\$scrypt\$ln=[0-9]+,r=[0-9]+,p=[0-9]+\$[A-Za-z0-9+/=]*\$[A-Za-z0-9+/]*"))
def test_any_text_is_a_hash_or_refused(text: str) -> None:
    try:
        known = parse_hash(text)
    except HashError:
        return
    assert known.cost.memory_bytes <= MEMORY_BYTES_MAX
    assert len(known.digest) == 32


@pytest.mark.parametrize("password", [b"", b"x" * 1025, b"a\x00b"])
def test_password_that_nobody_could_send_is_not_hashed(password: bytes) -> None:
    with pytest.raises(HashError):
        hash_password(password, SALT, CHEAP)

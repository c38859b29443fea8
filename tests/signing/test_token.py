from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealgate.reason import GateError, Reason
from sealgate.signing.base64url import b64url_decode, b64url_encode
from sealgate.signing.canonical import Snapshot, encode_snapshot
from sealgate.signing.token import (
    TOKEN_BYTES_MAX,
    Token,
    finish_token,
    is_kid,
    is_session_nonce,
    parse_token,
    session_nonce,
    split_session_nonce,
    token_prefix,
)
from sealgate.signing.token_reader import TokenReader, TokenShape

NONCE = bytes(range(16))
SNAPSHOT = encode_snapshot("", "celery")
FIELDS = [
    "seal1",
    "k1",
    "1767225600",
    "1767229200",
    b64url_encode(NONCE).decode(),
    "c1",
    b64url_encode(SNAPSHOT).decode(),
    b64url_encode(bytes(32)).decode(),
]


def with_field(index: int, text: str) -> bytes:
    fields = list(FIELDS)
    fields[index] = text
    return ".".join(fields).encode()


def refusal(value: bytes) -> Reason:
    with pytest.raises(GateError) as caught:
        parse_token(value)
    return caught.value.reason


def test_token_is_read_field_by_field() -> None:
    token = parse_token(".".join(FIELDS).encode())
    assert token.kid == "k1"
    assert (token.created, token.expires) == (1767225600, 1767229200)
    assert (token.nonce, token.profile, token.signature) == (NONCE, "c1", bytes(32))
    assert (token.snapshot, token.target) == (SNAPSHOT, Snapshot("", "celery"))
    assert token.prefix == ".".join(FIELDS[:7]).encode()


def test_signature_is_not_in_the_repr() -> None:
    assert "signature" not in repr(parse_token(".".join(FIELDS).encode()))


@pytest.mark.parametrize("scheme", ["seal2", "seal", "seal1 ", "SEAL1", "", "sea\u017f1", "seal11"])
def test_another_scheme_is_another_version(scheme: str) -> None:
    assert refusal(with_field(0, scheme)) is Reason.SIG_VERSION


@pytest.mark.parametrize("value", [b"", b"garbage", b"seal2.anything", b"\xff\x00"])
def test_what_does_not_start_with_the_scheme_is_another_version(value: bytes) -> None:
    assert refusal(value) is Reason.SIG_VERSION


def test_version_is_told_before_any_other_grammar() -> None:
    assert refusal(b"seal2.k 1.+1.x") is Reason.SIG_VERSION


@pytest.mark.parametrize("profile", ["c9", "", "C1", "c1c1"])
def test_another_profile_is_refused_as_such(profile: str) -> None:
    assert refusal(with_field(5, profile)) is Reason.SIG_PROFILE


@pytest.mark.parametrize("count", [1, 2, 7])
def test_fewer_than_eight_fields_are_malformed(count: int) -> None:
    assert refusal(".".join(FIELDS[:count]).encode()) is Reason.SIG_MALFORMED


def test_nine_fields_are_malformed() -> None:
    assert refusal(".".join([*FIELDS, "x"]).encode()) is Reason.SIG_MALFORMED
    assert refusal(".".join(FIELDS).encode() + b".") is Reason.SIG_MALFORMED


@pytest.mark.parametrize("kid", ["", "k" * 65, "k 1", "k\u00e9", "k/1", "k1\n"])
def test_kid_outside_its_grammar_is_malformed(kid: str) -> None:
    assert refusal(with_field(1, kid)) is Reason.SIG_MALFORMED
    assert not is_kid(kid)


@pytest.mark.parametrize("kid", ["k", "k" * 64, "AZaz09_-"])
def test_kid_inside_its_grammar_is_read(kid: str) -> None:
    assert parse_token(with_field(1, kid)).kid == kid
    assert is_kid(kid)


@pytest.mark.parametrize(
    "digits",
    [
        "+1767225600",
        "01767225600",
        "-1",
        "",
        " 1767225600",
        "1_767",
        "1e9",
        "1767225600 ",
        "\u0661\u0662",
        "1" * 13,
    ],
)
def test_times_are_plain_ascii_digits(digits: str) -> None:
    assert refusal(with_field(2, digits)) is Reason.SIG_MALFORMED
    assert refusal(with_field(3, digits)) is Reason.SIG_MALFORMED


def test_times_from_zero_to_twelve_digits_are_read() -> None:
    assert parse_token(with_field(2, "0")).created == 0
    assert parse_token(with_field(3, "9" * 12)).expires == 999_999_999_999


@pytest.mark.parametrize("expires", ["1767225599", "1767225600"])
def test_expires_must_be_after_created(expires: str) -> None:
    assert refusal(with_field(3, expires)) is Reason.SIG_MALFORMED


@pytest.mark.parametrize("size", [0, 1, 15, 25, 32])
def test_nonce_of_another_size_is_malformed(size: int) -> None:
    assert refusal(with_field(4, b64url_encode(bytes(size)).decode())) is Reason.SIG_MALFORMED


@pytest.mark.parametrize("size", range(16, 25))
def test_nonce_of_16_to_24_bytes_is_read(size: int) -> None:
    nonce = bytes(range(size))
    token = parse_token(with_field(4, b64url_encode(nonce).decode()))
    assert token.nonce == nonce
    assert is_session_nonce(token.nonce) is (size == 24)


@pytest.mark.parametrize("index", [4, 6, 7])
@pytest.mark.parametrize(
    "spoil", ["pad", "alphabet", "standard", "newline", "trailing bits", "empty", "length"]
)
def test_base64url_that_is_not_canonical_is_malformed(index: int, spoil: str) -> None:
    good = FIELDS[index]
    bad = {
        "pad": good + "=",
        "alphabet": good[:-1] + "*",
        "standard": good[:-1] + "+",
        "newline": good + "\n",
        "trailing bits": good[:-1] + chr(ord(good[-1]) + 1),
        "empty": "",
        "length": good + "A" * ((1 - len(good)) % 4),
    }[spoil]
    assert refusal(with_field(index, bad)) is Reason.SIG_MALFORMED


def test_snapshot_must_have_its_own_grammar() -> None:
    assert refusal(with_field(6, b64url_encode(SNAPSHOT + b"\x05\x00").decode())) is Reason.SIG_MALFORMED


def test_token_of_1024_bytes_is_read_and_one_more_is_malformed() -> None:
    room = TOKEN_BYTES_MAX - len(with_field(7, ""))
    at_limit = with_field(7, "A" * room)
    assert len(at_limit) == TOKEN_BYTES_MAX
    assert len(parse_token(at_limit).signature) == room * 3 // 4
    with pytest.raises(GateError, match="over 1024 bytes"):
        parse_token(at_limit + b"A")


def test_length_is_told_before_the_version() -> None:
    assert refusal(b"seal2" + b"." * 5000) is Reason.SIG_MALFORMED


def test_prefix_and_signature_make_the_token_again() -> None:
    prefix = token_prefix("k1", 1767225600, 1767229200, NONCE, SNAPSHOT)
    assert finish_token(prefix, bytes(32)) == ".".join(FIELDS).encode()


@pytest.mark.parametrize(
    ("kid", "created", "expires", "nonce"),
    [
        ("k 1", 1, 2, NONCE),
        ("k1", 2, 2, NONCE),
        ("k1", -1, 2, NONCE),
        ("k1", 1, 10**12, NONCE),
        ("k1", 1, 2, NONCE[:15]),
        ("k1", 1, 2, NONCE + bytes(9)),
    ],
)
def test_no_prefix_outside_the_grammar_is_made(kid: str, created: int, expires: int, nonce: bytes) -> None:
    with pytest.raises(GateError) as caught:
        token_prefix(kid, created, expires, nonce, SNAPSHOT)
    assert caught.value.reason is Reason.SIG_MALFORMED


def test_target_too_long_for_a_token_can_not_be_sealed() -> None:
    snapshot = encode_snapshot("e" * 255, "r" * 255, b"1" * 255, None)
    prefix = token_prefix("k" * 64, 1, 2, NONCE, snapshot)
    with pytest.raises(GateError) as caught:
        finish_token(prefix, bytes(64))
    assert caught.value.reason is Reason.SIG_MALFORMED


def test_session_nonce_is_challenge_and_sequence() -> None:
    nonce = session_nonce(NONCE, 7)
    assert nonce == NONCE + bytes(7) + b"\x07"
    assert is_session_nonce(nonce)
    assert split_session_nonce(nonce) == (NONCE, 7)
    assert split_session_nonce(session_nonce(NONCE, 2**64 - 1)) == (NONCE, 2**64 - 1)


@given(st.binary(max_size=70))
def test_base64url_round_trips(data: bytes) -> None:
    assert b64url_decode(b64url_encode(data)) == data


@given(st.text("AQgwIMEYz09_-=+/ \n", max_size=12))
def test_base64url_takes_no_second_spelling(text: str) -> None:
    try:
        data = b64url_decode(text.encode())
    except GateError as error:
        assert error.reason is Reason.SIG_MALFORMED
    else:
        assert b64url_encode(data).decode() == text


@given(st.binary(max_size=200) | st.text(max_size=80).map(str.encode))
def test_noise_is_refused_as_malformed_or_another_version(noise: bytes) -> None:
    assert refusal(noise) in (Reason.SIG_VERSION, Reason.SIG_MALFORMED)
    assert refusal(b"seal1." + noise) in (Reason.SIG_MALFORMED, Reason.SIG_PROFILE)


def told(token: Token) -> tuple[object, ...]:
    """All of it but the signature decoded."""
    times = token.kid, token.created, token.expires
    return *times, token.nonce, token.snapshot, token.target, token.prefix, token.signature_text


def read(shape: TokenShape, text: bytes) -> Token | None:
    """As who has found out the kid."""
    kid = text.split(b".")[1]
    return shape.read(b"1234" + text, 4, kid.decode(), 4 + len(b"seal1.%b." % kid))


@pytest.mark.parametrize(
    "nonce", [bytes(range(16)), bytes(range(18)), bytes(range(200, 223)), session_nonce(NONCE, 2**40 + 7)]
)
@pytest.mark.parametrize("kid", [FIELDS[1], "another-one", "k" * 64])
def test_what_is_read_like_another_one_is_what_all_of_the_grammar_says(nonce: bytes, kid: str) -> None:
    """Each change of one octet behind the kid."""
    first = with_field(4, b64url_encode(nonce).decode())
    token = parse_token(first)
    text = first.replace(FIELDS[1].encode(), kid.encode(), 1)
    taken = 0
    for at in range(len(b"seal1." + kid.encode()) + 1, len(text)):
        for octet in {*range(0, 256, 7), *b"AQgw-_+/=.0aZ\n"}:
            shape = TokenShape(first, token)
            changed = text[:at] + bytes((octet,)) + text[at + 1 :]
            found = read(shape, changed)
            if found is None:
                # And nothing of it is left.
                assert told_of(read(shape, text)) == told(parse_token(text))
                continue
            taken += 1
            assert not found.signature
            assert told(found)[-1] == found.signature_text
            # The text of the signature is compared with one that is right.
            good = parse_token(changed[: -len(found.signature_text)] + FIELDS[7].encode())
            assert told(found)[:-1] == told(good)[:-1]
    assert taken > len(nonce) * 10


def told_of(token: Token | None) -> tuple[object, ...]:
    assert token is not None
    return told(token)


@pytest.mark.parametrize("nonce", [NONCE, session_nonce(NONCE, 5)])
@pytest.mark.parametrize(
    ("created", "expires", "taken"),
    [
        ("1767225601", "1767229201", True),
        ("1767225599", "1767229300", True),
        ("1767225600", "1767225601", True),
        ("1767225600", "1767225600", False),
        ("1767225601", "1767225600", False),
        ("0767225600", "1767229200", False),
        ("1767225600", "01767229200"[:10], False),
        ("176722560", "11767229200", True),
        ("17672256000", "767229200", False),
        ("1767225600", "1767229200000", False),
        ("1767225.00", "1767229200", False),
        ("17672256001767229200", "", False),
        ("176722560x", "1767229200", False),
    ],
)
def test_times_that_differ_are_read_and_taken_over(
    nonce: bytes, created: str, expires: str, taken: bool
) -> None:
    first = with_field(4, b64url_encode(nonce).decode())
    shape = TokenShape(first, parse_token(first))
    fields = first.decode().split(".")
    fields[2:4] = [created, expires]
    text = ".".join(fields).encode()
    for _ in range(2):
        found = read(shape, text)
        assert (found is not None) == taken
        if found is not None:
            assert told(found) == told(parse_token(text))
        assert told_of(read(shape, first)) == told(parse_token(first))


def test_session_nonces_are_read_up_to_the_last_sequence() -> None:
    shape: TokenShape | None = None
    for sequence in (0, 1, 2**16, 2**32 - 1, 2**32, 2**47, 2**48, 2**63 - 1, 2**63, 2**64 - 1):
        nonce = session_nonce(NONCE, sequence)
        text = with_field(4, b64url_encode(nonce).decode())
        found = None if shape is None else read(shape, text)
        if found is None:
            assert sequence >> 48 or not sequence
            shape, found = TokenShape(text, parse_token(text)), parse_token(text)
        assert found.nonce == nonce
        assert split_session_nonce(nonce) == (NONCE, sequence)


@pytest.mark.parametrize("nonce", [bytes(range(16)), session_nonce(NONCE, 2**40 + 7)])
def test_a_token_of_nobody_in_particular_is_read_as_all_of_the_grammar_says(nonce: bytes) -> None:
    text = with_field(4, b64url_encode(nonce).decode())
    reader = TokenReader()
    for at in range(len(text)):
        octets = {*range(0, 256, 7), *b"AQgw-_+/=.0aZ\n"}
        for changed in (text[:at], *[text[:at] + bytes((octet,)) + text[at + 1 :] for octet in octets]):
            reader.read(text)
            try:
                wanted = parse_token(changed)
            except GateError as error:
                with pytest.raises(GateError) as caught:
                    reader.read(changed)
                assert (caught.value.reason, caught.value.detail) == (error.reason, error.detail)
            else:
                found = reader.read(changed)
                assert (*told(found), found.signature) == (*told(wanted), wanted.signature)


def test_longer_kid_makes_no_room_for_a_longer_token() -> None:
    snapshot = encode_snapshot("e" * 200, "q" * 255, b"9" * 220)
    text = with_field(6, b64url_encode(snapshot).decode()).replace(b"." + FIELDS[1].encode(), b".k", 1)
    shape = TokenShape(text, parse_token(text))
    room = TOKEN_BYTES_MAX - len(text)
    assert 0 < room < 63
    assert told_of(read(shape, text.replace(b".k", b".k" + b"k" * room, 1)))[0] == "k" + "k" * room
    assert read(shape, text.replace(b".k", b".kk" + b"k" * room, 1)) is None

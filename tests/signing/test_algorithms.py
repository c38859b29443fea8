from __future__ import annotations

import base64
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealgate.signing.algorithms import Algorithm, Ed25519, HmacSha256
from sealgate.signing.base64url import b64url_encode

SECRET = bytes(range(32))
DATA = b"data"


@pytest.fixture(params=["hmac", "ed25519"])
def algorithm(request: pytest.FixtureRequest) -> Algorithm:
    return HmacSha256(SECRET) if request.param == "hmac" else Ed25519.of_private(SECRET)


def test_signature_has_the_length_of_its_algorithm_and_is_good(algorithm: Algorithm) -> None:
    signature = algorithm.sign(DATA)
    assert len(signature) == algorithm.signature_bytes
    assert algorithm.verify(DATA, signature)


def test_wrong_data_and_wrong_signature_are_bad(algorithm: Algorithm) -> None:
    signature = algorithm.sign(DATA)
    assert not algorithm.verify(DATA + b"!", signature)
    for at in range(len(signature)):
        bent = bytearray(signature)
        bent[at] ^= 1
        assert not algorithm.verify(DATA, bytes(bent))


def test_signature_of_another_length_is_bad(algorithm: Algorithm) -> None:
    signature = algorithm.sign(DATA)
    for wrong in (b"", signature[:16], signature[:-1], signature + b"\x00"):
        assert not algorithm.verify(DATA, wrong)


def test_repr_shows_no_material(algorithm: Algorithm) -> None:
    for shown in (repr(algorithm), str(algorithm), f"{algorithm!r}"):
        assert "(...)" in shown
        assert "0001" not in shown and "x00" not in shown


def test_names_and_lengths_are_those_of_seal1() -> None:
    hmac_sha256, ed25519 = HmacSha256(SECRET), Ed25519.of_private(SECRET)
    assert (hmac_sha256.name, hmac_sha256.signature_bytes, hmac_sha256.can_sign) == ("hmac-sha256", 32, True)
    assert (ed25519.name, ed25519.signature_bytes, ed25519.can_sign) == ("ed25519", 64, True)


@given(st.binary(min_size=32, max_size=200), st.binary(max_size=300))
def test_keyed_copies_give_what_hmac_gives(secret: bytes, data: bytes) -> None:
    algorithm = HmacSha256(secret)
    assert algorithm.sign(data) == algorithm.sign(data) == hmac.digest(secret, data, "sha256")


def test_hmac_secret_under_32_bytes_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 32"):
        HmacSha256(SECRET[:31])


def test_public_key_verifies_and_can_not_sign() -> None:
    private = Ed25519.of_private(SECRET)
    public = Ed25519.of_public(private.public_bytes)
    assert public.verify(DATA, private.sign(DATA))
    assert not public.can_sign
    with pytest.raises(AssertionError):
        public.sign(DATA)


def test_hmac_made_from_an_ed25519_public_key_is_bad() -> None:
    private = Ed25519.of_private(SECRET)
    forged = HmacSha256(private.public_bytes).sign(DATA)
    assert not private.verify(DATA, forged)
    assert not private.verify(DATA, forged + forged)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_ed25519_key_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="32"):
        Ed25519.of_private(bytes(size))
    with pytest.raises(ValueError, match="32"):
        Ed25519.of_public(bytes(size))


def test_signature_as_text_is_good_in_one_spelling_alone(algorithm: Algorithm) -> None:
    """Every change of one character of it, among all 256 octets, is bad, and so is every other length."""
    signature = algorithm.sign(b"data")
    text = b64url_encode(signature)
    assert algorithm.proven(b"data", text)
    assert not algorithm.proven(b"other", text)
    for at in range(len(text)):
        for octet in range(256):
            changed = text[:at] + bytes((octet,)) + text[at + 1 :]
            assert bool(algorithm.proven(b"data", changed)) is (changed == text)
    for wrong in (
        b"",
        text[:-1],
        text + b"=",
        text + b"A",
        text + b"\n",
        b"=" + text,
        base64.b64encode(signature),
    ):
        assert not algorithm.proven(b"data", wrong)


def test_characters_of_the_other_base64_are_bad_where_they_stand_for_the_same(algorithm: Algorithm) -> None:
    seen = 0
    for number in range(200):
        data = b"%d" % number
        text = b64url_encode(algorithm.sign(data))
        for ours, theirs in ((b"-", b"+"), (b"_", b"/")):
            if ours in text:
                seen += 1
                assert algorithm.proven(data, text)
                assert not algorithm.proven(data, text.replace(ours, theirs))
    assert seen > 9


def test_a_fingerprint_tells_data_and_keys_apart_and_is_no_signature() -> None:
    one, other = HmacSha256(b"1" * 32), HmacSha256(b"2" * 32)
    of_one = {one.fingerprint(data) for data in (b"data", b"", b"data2")}
    assert len(of_one) == 3
    assert (
        one.fingerprint(b"data") == HmacSha256(b"1" * 32).fingerprint(b"data") != other.fingerprint(b"data")
    )
    assert one.fingerprint(b"data") != one.sign(b"data")
    key = Ed25519.of_private(bytes(32))
    assert key.fingerprint(b"data") == Ed25519.of_public(key.public_bytes).fingerprint(b"data")
    assert key.fingerprint(b"data") != key.fingerprint(b"data2")
    for algorithm in (one, key):
        text = b64url_encode(algorithm.sign(b"data"))
        assert algorithm.proven(b"data", text) == algorithm.fingerprint(b"data")
        assert algorithm.proven(b"other", text) == b""

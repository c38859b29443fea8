from __future__ import annotations

from dataclasses import replace

import pytest

from sealgate.reason import GateError, Reason
from sealgate.signing.algorithms import Ed25519, HmacSha256
from sealgate.signing.canonical import encode_snapshot
from sealgate.signing.keyring import Key, Keyring, KeyState
from sealgate.signing.token import Token, finish_token, parse_token, token_prefix

SECRET = bytes(range(32))
CREATED = 1_767_225_600
KEY = Key("k1", HmacSha256(SECRET))
EDWARDS = Key("k2", Ed25519.of_private(SECRET))


def token_of(kid: str = "k1", lifetime_s: int = 3600, signature_bytes: int = 32) -> Token:
    prefix = token_prefix(kid, CREATED, CREATED + lifetime_s, bytes(16), encode_snapshot("", "q"))
    return parse_token(finish_token(prefix, bytes(signature_bytes)))


def refused_to_verify(key: Key, token: Token, now: float = CREATED) -> Reason:
    with pytest.raises(GateError) as caught:
        Keyring([key]).check_for_verify(key, token, now)
    return caught.value.reason


def refused_to_sign(key: Key, kid: str = "k1", now: float = CREATED) -> Reason:
    with pytest.raises(GateError) as caught:
        Keyring([key]).signer(kid, now)
    return caught.value.reason


def test_keys_are_found_by_kid_and_listed_in_order() -> None:
    keyring = Keyring([EDWARDS, KEY])
    assert keyring.get("k1") is KEY
    assert keyring.get("k3") is None
    assert keyring.kids() == ("k2", "k1")
    assert list(keyring) == [EDWARDS, KEY]
    assert Keyring().kids() == ()


def test_kid_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="k1"):
        Keyring([KEY, replace(EDWARDS, kid="k1")])


def test_active_key_signs_and_verifies() -> None:
    keyring = Keyring([KEY])
    assert keyring.signer("k1", CREATED) is KEY
    keyring.check_for_verify(KEY, token_of(), CREATED)


def test_unknown_kid_can_not_sign() -> None:
    assert refused_to_sign(KEY, "nobody") is Reason.SIG_KID


def test_verify_key_only_verifies() -> None:
    key = replace(KEY, state=KeyState.VERIFY)
    assert refused_to_sign(key) is Reason.SIG_KEY_STATE
    Keyring([key]).check_for_verify(key, token_of(), CREATED)


def test_revoked_key_does_neither() -> None:
    key = replace(KEY, state=KeyState.REVOKED)
    assert refused_to_sign(key) is Reason.SIG_KEY_STATE
    assert refused_to_verify(key, token_of()) is Reason.SIG_KEY_STATE


def test_public_key_can_not_sign() -> None:
    public = Ed25519.of_public(Ed25519.of_private(SECRET).public_bytes)
    assert refused_to_sign(Key("k1", public)) is Reason.SIG_KEY_STATE


def test_key_is_good_from_not_before_to_not_after_inclusive() -> None:
    key = replace(KEY, not_before=CREATED, not_after=CREATED + 10)
    keyring = Keyring([key])
    for now in (CREATED, CREATED + 10):
        assert keyring.signer("k1", now) is key
        keyring.check_for_verify(key, token_of(), now)
    for now in (CREATED - 0.5, CREATED + 10.5):
        assert refused_to_sign(key, now=now) is Reason.SIG_KEY_STATE
        assert refused_to_verify(key, token_of(), now) is Reason.SIG_KEY_STATE


@pytest.mark.parametrize("size", [1, 16, 31, 33, 64])
def test_hmac_signature_of_another_length_is_malformed(size: int) -> None:
    assert refused_to_verify(KEY, token_of(signature_bytes=size)) is Reason.SIG_MALFORMED


def test_hmac_signature_under_the_kid_of_an_ed25519_key_is_malformed() -> None:
    assert refused_to_verify(EDWARDS, token_of("k2", signature_bytes=32)) is Reason.SIG_MALFORMED
    Keyring([EDWARDS]).check_for_verify(EDWARDS, token_of("k2", signature_bytes=64), CREATED)


def test_lifetime_up_to_the_keys_maximum_is_taken_and_one_second_more_refused() -> None:
    key = replace(KEY, max_lifetime_s=60)
    Keyring([key]).check_for_verify(key, token_of(lifetime_s=60), CREATED)
    assert refused_to_verify(key, token_of(lifetime_s=61)) is Reason.SIG_LIFETIME


def test_maximum_lifetime_is_seven_days_unless_said() -> None:
    week_s = 7 * 86400
    Keyring([KEY]).check_for_verify(KEY, token_of(lifetime_s=week_s), CREATED)
    assert refused_to_verify(KEY, token_of(lifetime_s=week_s + 1)) is Reason.SIG_LIFETIME


def test_repr_of_a_key_shows_no_material() -> None:
    assert "HmacSha256(...)" in repr(KEY)


@pytest.mark.parametrize(
    ("name", "kid"), [("web-b", "web-b"), ("web-*", "web-b"), ("*", "web-b"), ("web-c*", "web-c")]
)
def test_first_signer_of_a_name_is_the_first_that_can_sign(name: str, kid: str) -> None:
    secret = HmacSha256(bytes(range(32)))
    keys = [
        Key("web-a", secret, KeyState.VERIFY),
        Key("web-z", secret, not_before=200),
        Key("web-b", secret),
        Key("web-c", secret),
    ]
    assert Keyring(keys).first_signer(name, 100.0).kid == kid


@pytest.mark.parametrize(("name", "reason"), [("other-*", Reason.SIG_KID), ("web-*", Reason.SIG_KEY_STATE)])
def test_name_of_which_no_key_can_sign_is_refused(name: str, reason: Reason) -> None:
    with pytest.raises(GateError) as refused:
        Keyring([Key("web-a", HmacSha256(bytes(range(32))), KeyState.VERIFY)]).first_signer(name, 0.0)
    assert refused.value.reason is reason

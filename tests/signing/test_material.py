from __future__ import annotations

from base64 import urlsafe_b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealgate.signing.algorithms import Ed25519
from sealgate.signing.material import (
    MaterialError,
    MaterialKind,
    algorithm_of,
    format_material,
    generate_ed25519,
    generate_hmac,
    is_material,
    kind_of,
    parse_secret,
)

HMAC, PRIVATE, PUBLIC = MaterialKind
GOOD = bytes.fromhex("8f1d3ac0527be966044ecd91b82f70a35d16e83bf4297ac5016b9edf4480d237")


def refusal(text: str, kind: MaterialKind = HMAC) -> str:
    with pytest.raises(MaterialError) as caught:
        parse_secret(text, kind)
    message = str(caught.value)
    payload = text.removeprefix("hex:").removeprefix(kind.value)
    assert len(payload) < 8 or payload not in message
    return message


@pytest.mark.parametrize("kind", MaterialKind)
def test_printed_material_reads_back(kind: MaterialKind) -> None:
    text = format_material(kind, GOOD)
    assert text.startswith(kind.value)
    assert "=" not in text
    assert parse_secret(text, kind) == GOOD
    assert kind_of(text) is kind
    assert is_material(text)


@pytest.mark.parametrize("digits", [GOOD.hex(), GOOD.hex().upper()])
def test_hexadecimal_digits_are_read(digits: str) -> None:
    assert parse_secret("hex:" + digits, HMAC) == GOOD
    assert is_material("hex:" + digits)
    assert kind_of("hex:" + digits) is None


@pytest.mark.parametrize(
    "text",
    [
        "changeme",
        "",
        GOOD.hex(),
        format_material(HMAC, GOOD).removeprefix("sgk_h_"),
        "sgk_x_" + "A" * 43,
        "HEX:00",
    ],
)
def test_what_has_no_known_prefix_is_never_taken_for_a_key(text: str) -> None:
    assert "is no key" in refusal(text)
    assert not is_material(text)


@pytest.mark.parametrize("digits", ["", "0", "zz" * 32, " " + "ab" * 32, "ab " * 32, "\u0661" * 64])
def test_broken_hexadecimal_digits_are_refused(digits: str) -> None:
    assert "hexadecimal" in refusal("hex:" + digits)


@pytest.mark.parametrize("spoil", ["pad", "newline", "alphabet", "trailing bits"])
def test_broken_base64url_is_refused(spoil: str) -> None:
    good = format_material(HMAC, GOOD)
    bad = {
        "pad": good + "=",
        "newline": good + "\n",
        "alphabet": good[:-1] + "\u00e9",
        "trailing bits": good[:-1] + "_",
    }[spoil]
    assert "base64url" in refusal(bad)


@pytest.mark.parametrize(
    ("found", "wanted", "name"),
    [
        (PRIVATE, HMAC, "private"),
        (HMAC, PUBLIC, "HMAC"),
        (PUBLIC, PRIVATE, "public"),
        (PRIVATE, PUBLIC, "private"),
    ],
)
def test_material_of_another_kind_is_refused_by_name(
    found: MaterialKind, wanted: MaterialKind, name: str
) -> None:
    text = format_material(found, GOOD)
    with pytest.raises(MaterialError, match=name) as caught:
        parse_secret(text, wanted)
    assert text not in str(caught.value)


def test_hmac_secret_of_32_to_256_bytes_is_taken() -> None:
    long = bytes((i * i * 7 + i // 3) % 256 for i in range(256))
    assert parse_secret("hex:" + long.hex(), HMAC) == long
    assert "31 bytes" in refusal("hex:" + GOOD[:31].hex())
    assert "257 bytes" in refusal("hex:" + long.hex() + "00")


@pytest.mark.parametrize("kind", [PRIVATE, PUBLIC])
@pytest.mark.parametrize("size", [31, 33, 64])
def test_ed25519_key_is_32_bytes(kind: MaterialKind, size: int) -> None:
    assert f"{size} bytes" in refusal(format_material(kind, (GOOD + GOOD)[:size]), kind)


@pytest.mark.parametrize("kind", [HMAC, PRIVATE])
@pytest.mark.parametrize(
    ("weak", "why"),
    [
        (bytes(32), "sample"),
        (b"\xff" * 64, "sample"),
        (bytes(range(32)), "sample"),
        (bytes(range(250, 256)) + bytes(range(26)), "sample"),
        (bytes(range(255, 223, -1)), "sample"),
        (bytes(range(0, 64, 2)), "sample"),
        (b"changeme" * 4, "text"),
        (b"correct horse battery staple 123", "text"),
        (bytes.fromhex("deadbeef") * 8, "too little"),
        (bytes(30) + b"\x01\x02", "too little"),
        (GOOD[:16] * 2, "too little"),
        (GOOD[:15] * 2 + GOOD[:2], "too little"),
    ],
)
def test_weak_secrets_are_refused_without_showing_them(kind: MaterialKind, weak: bytes, why: str) -> None:
    if kind is PRIVATE:
        weak = weak[:32]
    assert why in refusal(format_material(kind, weak), kind)
    assert why in refusal("hex:" + weak.hex(), kind)


def test_keys_of_public_test_vectors_are_refused() -> None:
    seeds = {
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60": "d75a980182b10ab7",
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb": "3d4017c3e843895a",
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7": "fc51cd8e6218a1a3",
    }
    for seed, public in seeds.items():
        assert Ed25519.of_private(bytes.fromhex(seed)).public_bytes.hex().startswith(public)
        assert "sample" in refusal("hex:" + seed, PRIVATE)
    jws = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"
    assert len(urlsafe_b64decode(jws + "==")) == 64
    assert "sample" in refusal("sgk_h_" + jws)


@pytest.mark.parametrize(
    "point",
    [
        bytes(32),
        bytes(31) + b"\x80",
        b"\x01" + bytes(31),
        b"\xec" + b"\xff" * 30 + b"\x7f",
        b"\xec" + b"\xff" * 31,
        bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85"),
    ],
)
def test_public_key_anyone_can_sign_for_is_refused(point: bytes) -> None:
    assert "small order" in refusal(format_material(PUBLIC, point), PUBLIC)


def test_generated_material_is_read_and_belongs_together() -> None:
    assert parse_secret(generate_hmac(GOOD), HMAC) == GOOD
    private, public = generate_ed25519(GOOD)
    signer = algorithm_of(PRIVATE, parse_secret(private, PRIVATE))
    verifier = algorithm_of(PUBLIC, parse_secret(public, PUBLIC))
    assert verifier.verify(b"data", signer.sign(b"data"))
    assert (signer.can_sign, verifier.can_sign) == (True, False)
    assert algorithm_of(HMAC, GOOD).name == "hmac-sha256"


def test_a_broken_random_source_generates_nothing() -> None:
    for broken in (bytes(32), GOOD[:8]):
        with pytest.raises(MaterialError):
            generate_hmac(broken)
        with pytest.raises(MaterialError):
            generate_ed25519(broken)


@given(st.integers(0, 2**64))
def test_what_a_random_generator_gives_is_taken(seed: int) -> None:
    from random import Random

    data = Random(seed).randbytes(32)
    assert parse_secret(generate_hmac(data), HMAC) == data

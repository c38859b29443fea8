"""Every value of the seal1 vectors, step by step, from the bytes of the content header."""

from __future__ import annotations

from hashlib import sha256

import pytest

from sealgate.signing.canonical import (
    ABSOLUTE_NAMES,
    OMITTED_FOR_SEAL,
    TOKEN_NAME,
    canonical_properties,
    encode_snapshot,
    signing_input,
)
from sealgate.signing.token import finish_token, parse_token, token_prefix
from sealgate.wire.properties import EXPIRATION, TIMESTAMP, scan_content_header
from support.vectors import VECTORS, Vector

every_vector = pytest.mark.parametrize("vector", VECTORS.values(), ids=VECTORS)


def test_all_nine_vectors_are_here() -> None:
    assert len(VECTORS) == 9


@every_vector
def test_message_gives_every_intermediate_value_and_the_token(vector: Vector) -> None:
    header = scan_content_header(vector.content_header, OMITTED_FOR_SEAL, ABSOLUTE_NAMES, TOKEN_NAME)
    properties = canonical_properties(header.fields)
    assert properties.hex() == vector.canonical_properties.hex()
    assert header.table.canonical.hex() == vector.canonical_headers.hex()

    snapshot = encode_snapshot(
        vector.exchange, vector.routing_key, header.fields[EXPIRATION], header.fields[TIMESTAMP]
    )
    prefix = token_prefix(vector.kid, vector.created, vector.expires, vector.nonce, snapshot)
    signed = signing_input(
        vector.alg,
        vector.deployment,
        vector.vhost,
        prefix,
        sha256(properties).digest(),
        sha256(header.table.canonical).digest(),
        len(vector.body),
        sha256(vector.body).digest(),
    )
    assert signed.hex() == vector.signing_input.hex()
    assert finish_token(prefix, vector.algorithm().sign(signed)) == vector.token


@every_vector
def test_token_reads_back_and_its_signature_is_good(vector: Vector) -> None:
    token = parse_token(vector.token)
    assert (token.kid, token.created, token.expires) == (vector.kid, vector.created, vector.expires)
    assert (token.nonce, token.profile) == (vector.nonce, "c1")
    assert (token.target.exchange, token.target.routing_key) == (vector.exchange, vector.routing_key)
    assert vector.algorithm().verify(vector.signing_input, token.signature)


@every_vector
def test_any_flipped_bit_of_the_signing_input_breaks_the_signature(vector: Vector) -> None:
    signature = parse_token(vector.token).signature
    algorithm = vector.algorithm()
    for at in range(0, len(vector.signing_input), 29):
        bent = bytearray(vector.signing_input)
        bent[at] ^= 1
        assert not algorithm.verify(bytes(bent), signature)


def test_reordered_headers_with_wider_integers_are_the_same_section() -> None:
    assert VECTORS["celery-v2-reordered"].content_header != VECTORS["celery-v2"].content_header
    assert VECTORS["celery-v2-reordered"].token == VECTORS["celery-v2"].token

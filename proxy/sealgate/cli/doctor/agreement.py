"""Whether who signs and who verifies agree: deployment, kid, state, and the secret itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sealgate.cli.doctor import config_rules as rules
from sealgate.cli.doctor.findings import Finding, Place, found
from sealgate.reason import GateError
from sealgate.signing.keyring import Key, Keyring, KeyState

#: Signed by the one and verified by the other. No signing input of seal1 begins like that.
_TRIAL = b"sealgate doctor"


@dataclass(slots=True, frozen=True)
class Signer:
    """Who signs: with which kid (or beginning of one and `*`) of which keys, and where that is set."""

    deployment: str
    kid: str
    keyring: Keyring
    place: Place


@dataclass(slots=True, frozen=True)
class Verifier:
    """Who verifies; `name` is the file of its configuration, `keys` that of its keys."""

    deployment: str
    keyring: Keyring
    name: str
    keys: str


def disagreements(signer: Signer, verifier: Verifier, now: float) -> Iterator[Finding]:
    """`now` in Unix seconds."""
    try:
        key = signer.keyring.first_signer(signer.kid, now)
    except GateError as error:
        change = f'state = "active", and a time within not_before and not_after, for {signer.kid}'
        yield found(rules.SIGNER, str(error), change, signer.place, signer.kid)
        return
    if signer.deployment != verifier.deployment:
        message = f'deployment is "{signer.deployment}", and "{verifier.deployment}" in {verifier.name}'
        change = f'deployment = "{verifier.deployment}"'
        yield found(rules.DEPLOYMENT, message, change, signer.place, "deployment")
    yield from _key(key, verifier, now)


def _key(key: Key, verifier: Verifier, now: float) -> Iterator[Finding]:
    kid, there = key.kid, verifier.keyring.get(key.kid)
    place = Place(verifier.keys, 0, "key")
    if there is None:
        known = ", ".join(verifier.keyring.kids()) or "none"
        message = f"{kid} signs, and the keys of {verifier.name} are {known}"
        yield found(rules.KID_UNKNOWN, message, f'[[key]] with kid = "{kid}", state = "verify"', place, kid)
        return
    trouble = _trouble(there, now)
    if trouble:
        change = 'state = "verify", and a not_after that is still to come'
        yield found(rules.KID_UNUSABLE, f"{trouble} in the keys of {verifier.name}", change, place, kid)
    same_kind = there.algorithm.name == key.algorithm.name
    if not same_kind or not there.algorithm.verify(_TRIAL, key.algorithm.sign(_TRIAL)):
        message = f"{kid} of {verifier.name} does not verify what the signer's {kid} signs"
        yield found(rules.MATERIAL, message, f"the same secret for {kid} on both sides", place, kid)


def _trouble(key: Key, now: float) -> str:
    """Why `key` does not verify now; "" when it does."""
    if key.state is KeyState.REVOKED:
        return f"key {key.kid} is revoked"
    try:
        key.check_time(now)
    except GateError as error:
        return error.detail
    return ""

"""Checks of the keys: what each may do, until when, and whether the two sides have the same ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Final

from sealgate.cli.doctor import config_rules as rules
from sealgate.cli.doctor.agreement import Signer, Verifier, disagreements
from sealgate.cli.doctor.config_case import Case
from sealgate.cli.doctor.findings import Finding, Severity, found
from sealgate.ops.key_ends import ENDING_S
from sealgate.reason import GateError
from sealgate.signing.keyring import Key, KeyState

_DAY_S: Final = 86_400
_LIFETIME_S_MIN: Final = 3600


def check_keys(case: Case, now: float) -> Iterator[Finding]:
    """`now` in Unix seconds."""
    if case.keyring is None:
        return
    publish = case.settings.publish
    used = [name for name in (publish.sign_with, publish.countersign_with) if name is not None]
    for key in case.keyring:
        if key.state is KeyState.REVOKED:
            continue
        yield from _limits(case, key)
        yield from _times(case, key, now, any(fnmatchcase(key.kid, name) for name in used))
        if key.max_lifetime_s < _LIFETIME_S_MIN:
            message = f"seals of {key.kid} live for {key.max_lifetime_s} s at most"
            yield case.about_key(rules.KEY_LIFETIME, key.kid, message, "max_lifetime", 'max_lifetime = "24h"')


def _limits(case: Case, key: Key) -> Iterator[Finding]:
    """Which messages: tasks or classes. Users and vhosts limit nobody who has the key."""
    if case.settings.publish.action == "verify" and key.tasks is None and key.classes is None:
        message = f"{key.kid} has neither tasks nor classes"
        change = 'classes = ["task"] and tasks = ["shop.tasks.*"], as its producers need'
        yield case.about_key(rules.KEY_UNLIMITED, key.kid, message, "classes", change)


def _times(case: Case, key: Key, now: float, signs_here: bool) -> Iterator[Finding]:
    if key.not_after is None:
        if key.state is KeyState.ACTIVE:
            message = f"{key.kid} has no not_after"
            moment = datetime.fromtimestamp(now + 90 * _DAY_S, UTC).strftime("%Y-%m-%dT00:00:00Z")
            yield case.about_key(rules.KEY_ENDLESS, key.kid, message, "not_after", f"not_after = {moment}")
        return
    left = key.not_after - now
    when = datetime.fromtimestamp(key.not_after, UTC).strftime("%Y-%m-%d %H:%M UTC")
    change = f"sealgate keys rotate begin FILE --kid {key.kid}, and then promote and retire (docs/keys.md)"
    if left < 0:
        message = f"{key.kid} has been over since {when}"
        finding = case.about_key(rules.KEY_OVER, key.kid, message, "not_after", change)
        severity = Severity.ERROR if signs_here else None
        yield found(finding.rule, message, change, finding.place, key.kid, severity)
    elif left < ENDING_S:
        message = f"{key.kid} ends in {left / _DAY_S:.1f} days, at {when}"
        finding = case.about_key(rules.KEY_ENDING, key.kid, message, "not_after", change)
        severity = Severity.ERROR if left < _DAY_S else None
        yield found(finding.rule, message, change, finding.place, key.kid, severity)


def check_agreement(case: Case, other: Case, now: float) -> Iterator[Finding]:
    """Between one that signs or countersigns and one that verifies, whichever way round."""
    for signing, verifying in ((case, other), (other, case)):
        if signing.keyring is None or verifying.keyring is None:
            continue
        for name in _signatures(verifying):
            kid = getattr(signing.settings.publish, name)
            if kid is not None:
                with suppress(GateError):  # told by what reads the keys
                    kid = signing.keyring.first_signer(kid, now).kid
                place = signing.place(f"publish.{name}")
                signer = Signer(signing.settings.deployment, kid, signing.keyring, place)
                yield from disagreements(signer, verifier_of(verifying), now)
        yield from _countersigned(signing, verifying)


def _signatures(verifying: Case) -> list[str]:
    """The settings of a signer whose keys this one has to have: as a gateway, or where it delivers."""
    settings = verifying.settings
    names = []
    if settings.publish.action == "verify" or settings.deliver.action == "verify":
        names.append("sign_with")
    if settings.deliver.action == "verify" and settings.deliver.require != "producer":
        names.append("countersign_with")
    return names


def _countersigned(signing: Case, verifying: Case) -> Iterator[Finding]:
    deliver, kid = verifying.settings.deliver, signing.settings.publish.countersign_with
    wanted = deliver.action == "verify" and deliver.require != "producer"
    if wanted and signing.settings.publish.action == "verify" and kid not in deliver.countersigned_by:
        told = "nothing is countersigned there" if kid is None else f"{kid} countersigns there"
        message = f"{told}, and deliver.countersigned_by is {list(deliver.countersigned_by)}"
        change = f'countersigned_by = ["{kid or "KID"}"], and publish.countersign_with in {signing.name}'
        yield verifying.about(rules.COUNTERSIGNER, message, "deliver.countersigned_by", change)


def verifier_of(case: Case) -> Verifier:
    """The gateway that a configuration makes."""
    assert case.keyring is not None
    return Verifier(case.settings.deployment, case.keyring, case.name, case.keys_file)

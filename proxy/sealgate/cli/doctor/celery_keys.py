"""In-process signing: whether the transport's options and keys are good, and are those of the gateway."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from sealgate.cli.doctor import celery_rules as rules
from sealgate.cli.doctor.agreement import Signer, disagreements
from sealgate.cli.doctor.celery_case import Case, signs
from sealgate.cli.doctor.findings import Finding, Report
from sealgate.cli.doctor.keys_checks import verifier_of
from sealgate.config.errors import ConfigError
from sealgate.config.sources import Sources, read_keyring
from sealgate.integrations.options import Options, OptionsError, read_options
from sealgate.integrations.signer import key_to_sign_with
from sealgate.reason import GateError

_OPTION = "broker_transport_options"


def check_signing(case: Case, report: Report, now: float) -> None:
    """Nothing to say of an application that has a sidecar: its keys are the sidecar's."""
    if not any(signs(broker) for broker in case.facts.brokers):
        return
    given: dict[str, Any] = case.facts.transport_options.get("sealgate") or {}
    try:
        options = read_options(given)
    except OptionsError as error:
        change = case.locator.line(_OPTION, '{"sealgate": {"keys": "file:/path", "sign_with": "KID"}}')
        report.add([case.at(rules.SIGNING, str(error), _OPTION, change, "options")])
        return
    if not options.verify and any("read" in broker.purposes for broker in case.facts.brokers):
        change = case.locator.line(_OPTION, '{"sealgate": {"verify": True}}')
        report.add([case.at(rules.NOT_VERIFYING, "the option verify is off", _OPTION, change, "verify")])
    report.add(_keys(case, options, report, now))


def _keys(case: Case, options: Options, report: Report, now: float) -> Iterator[Finding]:
    scheme, _, name = options.keys.partition(":")
    if scheme == "env" and name not in os.environ:
        report.skipped.append(f"the keys it signs with ({options.keys} is not set here)")
        return
    try:
        keyring = read_keyring(options.keys, Sources(os.environ))
    except ConfigError as error:
        change = f"mend {options.keys}"
        yield case.at(rules.SIGNING, "; ".join(str(error).splitlines()), _OPTION, change, "keys")
        return
    kid = options.sign_with or ""
    if keyring.get(kid) is None:
        try:
            kid = key_to_sign_with(keyring, options.sign_with, now).kid
        except GateError as error:
            change = case.locator.line(_OPTION, '{"sealgate": {"sign_with": "KID"}}')
            message = f"there is no key {kid} in {options.keys}: {error.detail}"
            if not kid:
                message = f"sign_with is not set, and {options.keys} has not just one active key that signs"
            yield case.at(rules.SIGNING, message, _OPTION, change, "sign_with")
            return
    report.examined.append(f"the keys of {options.keys}, of which {kid} signs")
    if case.gateway is None or case.gateway.keyring is None:
        return
    signer = Signer(options.deployment, kid, keyring, case.locator.place(_OPTION))
    yield from disagreements(signer, verifier_of(case.gateway), now)

"""The brokers as they are: who answers, who is let in, and whether the way around is closed."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from sealgate.app import build
from sealgate.app.errors import StartError
from sealgate.cli.doctor import live_rules as rules
from sealgate.cli.doctor.config_case import Case
from sealgate.cli.doctor.findings import Finding, Report, Severity
from sealgate.cli.doctor.greeting import Greeting, NoGreetingError, greet
from sealgate.cli.doctor.own_login import lets_in
from sealgate.net.endpoints import Endpoint, endpoint

_CERTIFICATE_DAYS_MIN: Final = 21.0


def check_brokers(case: Case, report: Report, timeout_s: float) -> None:
    """Each of upstream.urls: its greeting, its certificate, its well-known login, its other addresses."""
    settings = case.settings
    try:
        tls = build.build_upstream_tls(settings, settings.upstream.urls)
    except StartError as error:
        report.skipped.append(f"the brokers: {error}")
        return
    name = settings.upstream.tls.server_name if settings.upstream.tls is not None else None
    for index, url in enumerate(settings.upstream.urls):
        key = f"upstream.urls[{index}]"
        at = endpoint(url, tls, name)
        try:
            greeting = _greeted(at, timeout_s)
        except NoGreetingError as error:
            change = f"the address of a broker that runs, reachable from here ({at.address})"
            report.add([case.about(rules.BROKER_AWAY, f"{at.address}: {error}", key, change)])
            continue
        report.add(_about(case, key, at, greeting))
        report.examined.append(f"{at.address}: {greeting.product or 'a broker'} {greeting.version}".strip())
        if not greeting.is_gateway:
            report.add(_logins(case, key, at, timeout_s))
            report.add(_other_addresses(case, key, at, timeout_s))


def _greeted(at: Endpoint, timeout_s: float) -> Greeting:
    return greet(at.host, at.port, at.tls, at.server_name, timeout_s)


def _about(case: Case, key: str, at: Endpoint, greeting: Greeting) -> Iterator[Finding]:
    where = f"{at.address}"
    if case.settings.publish.action == "sign" and not greeting.is_gateway:
        change = f'urls = ["amqp://GATEWAY:6672"], and the gateway in front of {where}'
        yield case.about(rules.NO_GATEWAY, f"{where} is {greeting.product or 'a broker'} itself", key, change)
    if "ANONYMOUS" in greeting.mechanisms:
        change = "auth_mechanisms.1 = PLAIN  (rabbitmq.conf, and no ANONYMOUS)"
        yield case.about(rules.ANONYMOUS, f"{where} offers {' '.join(greeting.mechanisms)}", key, change)
    days = greeting.certificate_days
    if days is not None and days < _CERTIFICATE_DAYS_MIN:
        severity = Severity.ERROR if days < 1 else None
        message = f"the certificate of {where} ends in {days:.1f} days"
        yield case.about(rules.CERTIFICATE, message, key, "a new certificate at the broker", severity)


def _logins(case: Case, key: str, at: Endpoint, timeout_s: float) -> Iterator[Finding]:
    if lets_in(at, "guest", "guest", "/", timeout_s):
        change = "rabbitmqctl delete_user guest"
        severity = None if is_here(at.host) else Severity.ERROR
        message = f"{at.address} lets guest in with the password guest, from here"
        yield case.about(rules.DEFAULT_LOGIN, message, key, change, severity)


def _other_addresses(case: Case, key: str, at: Endpoint, timeout_s: float) -> Iterator[Finding]:
    """A broker on this host that is used by a loopback address need not listen at any other."""
    if not at.host.startswith("127.") and at.host not in ("localhost", "::1"):
        return
    for address in own_addresses():
        with suppress(NoGreetingError):
            greet(address, at.port, at.tls, at.server_name, timeout_s)
            change = f"listeners.tcp.1 = 127.0.0.1:{at.port}  (rabbitmq.conf)"
            message = f"it answers at {address}:{at.port}, and the gateway uses {at.host}"
            yield case.about(rules.BROKER_OPEN, message, key, change)
            return


def own_addresses() -> list[str]:
    """This host's addresses, less those of the loopback interface."""
    found: list[str] = []
    with suppress(OSError):
        for *_, address in socket.getaddrinfo(socket.gethostname(), None, type=socket.SOCK_STREAM):
            found.append(str(address[0]))
    for family, target in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        # Where it would go is looked up; nothing is sent.
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((target, 9))
            found.append(str(probe.getsockname()[0]))
    return [each for each in dict.fromkeys(found) if not each.startswith("127.") and each != "::1"]


def is_here(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.") or host in own_addresses()

"""What is asked for an application when connecting is allowed: the way around, and the result store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from urllib.parse import quote

from sealgate.app import build
from sealgate.app.errors import StartError
from sealgate.cli.doctor import celery_rules as rules
from sealgate.cli.doctor.celery_case import Case
from sealgate.cli.doctor.config_case import Case as PolicyCase
from sealgate.cli.doctor.findings import Finding, Report
from sealgate.cli.doctor.greeting import NoGreetingError, greet
from sealgate.cli.doctor.live_redis import RedisAwayError, ask_redis, redacted
from sealgate.cli.doctor.own_login import lets_in
from sealgate.net.endpoints import endpoint

_POLICY: Final = "noeviction"


def check_connected(case: Case, report: Report, timeout_s: float) -> None:
    if case.gateway is None:
        report.skipped.append("whether the broker can be reached around the gateway (--policy FILE)")
    else:
        report.add(_around(case, case.gateway, report, timeout_s))
    if "redis" in case.facts.backend.kind.lower():
        report.add(_redis(case, report, timeout_s))


def _around(case: Case, gateway: PolicyCase, report: Report, timeout_s: float) -> Iterator[Finding]:
    """Each of the gateway's brokers is tried with each login of the application."""
    upstream = gateway.settings.upstream
    try:
        tls = build.build_upstream_tls(gateway.settings, upstream.urls)
    except StartError as error:
        report.skipped.append(f"whether the broker can be reached around the gateway: {error}")
        return
    server_name = upstream.tls.server_name if upstream.tls is not None else None
    logins = {(each.user, each.password, each.vhost) for each in case.facts.brokers if each.user}
    for url in upstream.urls:
        at = endpoint(url, tls, server_name)
        report.examined.append(f"whether {at.address} lets the application in from here")
        try:
            if greet(at.host, at.port, at.tls, at.server_name, timeout_s).is_gateway:
                continue
        except NoGreetingError:
            continue  # as it should be
        for user, password, vhost in sorted(logins):
            if lets_in(at, user, password, vhost, timeout_s):
                message = f"{at.address} lets {user} in, from here, at {vhost}"
                change = 'a firewall that lets the gateway alone reach it, or credentials.mode = "replace"'
                subject = f"{user}@{at.address}"
                yield case.at(rules.BROKER_REACHABLE, message, "broker_url", change, subject)


def _redis(case: Case, report: Report, timeout_s: float) -> Iterator[Finding]:
    url = _url(case)
    where = redacted(url)
    try:
        info, _ = ask_redis(url, timeout_s)
    except RedisAwayError as error:
        change = case.locator.line("result_backend", '"rediss://:PASSWORD@HOST:6379/0"')
        yield case.at(rules.REDIS_UNREACHABLE, f"{where}: {error}", "result_backend", change)
        return
    policy = info.get("maxmemory_policy", _POLICY)
    report.examined.append(f"the eviction policy of {where}")
    if policy != _POLICY:
        message = f"{where} has maxmemory-policy {policy}"
        change = "maxmemory-policy noeviction  (redis.conf), and result_expires to keep it small"
        yield case.at(rules.REDIS_EVICTION, message, "result_backend", change)


def _url(case: Case) -> str:
    """The backend's URL; made of the redis_* settings where there is none."""
    backend = case.facts.backend
    if "://" in backend.url and backend.url.partition("://")[2]:
        return backend.url
    redis = backend.redis
    password = f":{quote(str(redis.password), safe='')}@" if redis.password else ""
    return f"redis://{password}{redis.host or 'localhost'}:{redis.port or 6379}/{redis.db or 0}"

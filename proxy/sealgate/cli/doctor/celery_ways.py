"""The ways of messages and results: brokers, confirms, reconnecting, result stores; and slips of the pen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from sealgate.cli.doctor import celery_rules as rules
from sealgate.cli.doctor.celery_case import Case, names, signs
from sealgate.cli.doctor.celery_facts import Broker
from sealgate.cli.doctor.findings import Finding, Place, Severity, found

_AMQP: Final = ("amqp", "amqps", "pyamqp", "librabbitmq")


def check_ways(case: Case) -> Iterator[Finding]:
    for broker in case.facts.brokers:
        yield from _broker(case, broker)
    yield from _confirms(case)
    yield from _reconnecting(case)
    yield from _results(case)
    yield from _secrets(case)
    yield from _slips(case)


def _broker(case: Case, broker: Broker) -> Iterator[Finding]:
    setting = _url_setting(case, broker)
    subject = f"{broker.scheme}://{broker.address}"
    if not _is_amqp(broker):
        change = case.locator.line(setting, '"amqp://USER:PASSWORD@127.0.0.1:6672//"')
        yield case.at(rules.NOT_AMQP, f"{setting} is {broker.scheme}://", setting, change, subject)
        return
    if not case.through_sealgate(broker):
        yield _around(case, broker, setting, subject)
    local = is_local(broker.host)
    if not broker.ssl and not local:
        message = f"{setting} leads to {broker.address} without TLS"
        change = case.locator.line("broker_use_ssl", "True") + "  # or amqps:// in " + setting
        yield case.at(rules.PLAINTEXT, message, setting, change, subject)
    if (broker.user, broker.password) == ("guest", "guest"):
        message = f"{setting} logs in at {broker.address} as guest"
        change = f"give each producer a login of its own in {setting}"
        yield case.at(rules.DEFAULT_LOGIN, message, setting, change, subject)


def _around(case: Case, broker: Broker, setting: str, subject: str) -> Finding:
    """Certain when the gateways were named, else likely: nobody is known to stand at that address."""
    known = names(sorted(case.gateways)) if case.gateways else "port 6672 or 6671"
    message = f"{setting} leads to {broker.address}, which is not Sealgate's ({known})"
    port = "127.0.0.1:6672" if not case.gateways else sorted(case.gateways)[0]
    change = case.locator.line(setting, f'"amqp://USER:PASSWORD@{port}/{broker.vhost}"')
    severity = Severity.ERROR if case.gateways else None
    return found(rules.AROUND, message, change, case.locator.place(setting), subject, severity)


def _is_amqp(broker: Broker) -> bool:
    return signs(broker) or broker.transport in _AMQP or broker.transport.startswith("kombu.transport.pyamqp")


def _url_setting(case: Case, broker: Broker) -> str:
    """The setting that this broker comes from."""
    if broker.purposes == ["write"]:
        return "broker_write_url"
    return "broker_read_url" if broker.purposes == ["read"] else "broker_url"


def is_local(host: str) -> bool:
    return host in ("localhost", "::1", "") or host.startswith("127.")


def _confirms(case: Case) -> Iterator[Finding]:
    writers = [broker for broker in case.facts.brokers if "write" in broker.purposes and _is_amqp(broker)]
    if writers and not all(broker.confirms for broker in writers):
        message = "broker_transport_options has no confirm_publish"
        options = ", ".join(f"{name!r}: {value!r}" for name, value in case.facts.transport_options.items())
        value = f'{{"confirm_publish": True{", " + options if options else ""}}}'
        if case.facts.transport_options.get("confirm_publish") is not None:
            message, value = "confirm_publish is off", '{"confirm_publish": True}'
        yield case.about(rules.CONFIRMS, message, "broker_transport_options", value)


def _reconnecting(case: Case) -> Iterator[Finding]:
    if not case.setting("broker_connection_retry"):
        message = "broker_connection_retry is off"
        yield case.about(rules.RETRY_OFF, message, "broker_connection_retry", "True")
    if not case.setting("task_publish_retry"):
        message = "task_publish_retry is off"
        yield case.about(rules.PUBLISH_RETRY, message, "task_publish_retry", "True")
    if not case.setting("broker_heartbeat"):
        yield case.about(rules.HEARTBEAT, "broker_heartbeat is off", "broker_heartbeat", "120")


def _results(case: Case) -> Iterator[Finding]:
    backend = case.facts.backend
    kind = backend.kind.lower()
    if kind == "disabled" or "disabledbackend" in kind:
        return
    expires = case.setting("result_expires")
    if not expires or expires < 0:
        message = f"result_expires is {expires!r}"
        yield case.about(rules.RESULT_FOREVER, message, "result_expires", "3600")
    elif not backend.expires_by_itself:
        message = f"{backend.kind.rpartition(':')[2]} keeps results until celery.backend_cleanup deletes them"
        change = "run celery beat, and look that celery.backend_cleanup is done every day"
        yield case.at(rules.RESULT_CLEANUP, message, "result_backend", change)
    if "redis" in kind:
        yield from _redis(case)


def _redis(case: Case) -> Iterator[Finding]:
    backend = case.facts.backend
    # redis-py takes the password of the URL before that of redis_password, as Celery's backend does.
    host, password = _redis_login(backend.url)
    host = host or str(backend.redis.host or "localhost")
    if not password and not backend.redis.password:
        change = case.locator.line("result_backend", '"rediss://:PASSWORD@HOST:6379/0"')
        message = f"result_backend leads to Redis at {host} without a password"
        yield case.at(rules.REDIS_PASSWORD, message, "result_backend", change)
    encrypted = backend.url.startswith("rediss") or bool(case.setting("redis_backend_use_ssl"))
    if not encrypted and not is_local(host) and not backend.url.startswith("socket"):
        change = case.locator.line("result_backend", '"rediss://:PASSWORD@HOST:6379/0"')
        message = f"result_backend leads to Redis at {host} without TLS"
        yield case.at(rules.REDIS_PLAINTEXT, message, "result_backend", change)


def _redis_login(url: str) -> tuple[str, str]:
    try:
        parts = urlsplit(url)
        return parts.hostname or "", parts.password or ""
    except ValueError:
        return "", ""


def _secrets(case: Case) -> Iterator[Finding]:
    """Passwords that stand in the application's own files."""
    backend = case.facts.backend
    secrets = {each.password: _url_setting(case, each) for each in case.facts.brokers}
    secrets[_redis_login(backend.url)[1]] = "result_backend"
    secrets[str(backend.redis.password or "")] = "redis_password"
    for word, setting in secrets.items():
        # A word as short as that may stand anywhere; guest's has a rule of its own.
        place = case.locator.literal(word) if len(word) > 3 and word != "guest" else None
        if place is not None:
            variable = f"CELERY_{setting.upper()}"
            change = case.locator.line(setting, f'os.environ["{variable}"]')
            message = f"the password of {setting} stands there"
            yield found(rules.LITERAL, message, change, Place(place.file, place.line, setting), setting)


def _slips(case: Case) -> Iterator[Finding]:
    for name, meant in case.facts.misspelt:
        if meant:
            message = f"{name} is set; {meant} was probably meant"
            change = f"rename {name} to {case.locator.name(meant)}"
            yield found(rules.MISSPELT, message, change, case.locator.place(name), name)
        else:
            change = f"remove {name}; sign with Sealgate's keys (sealgate keys generate)"
            message = f"{name} is set, and nothing reads it"
            yield found(rules.SECRET_KEY, message, change, case.locator.place(name), name)
    if case.setting("task_always_eager"):
        yield case.about(rules.EAGER, "task_always_eager is on", "task_always_eager", "False")
    for problem in case.facts.problems:
        file, _, line = problem.where.rpartition(":")
        place = case.locator.at_line(file, int(line)) if file else case.locator.place("imports")
        yield found(rules.IMPORT, str(problem), "mend the import", place, Path(place.file).name)

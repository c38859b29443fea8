"""Checks of a configuration: what may be asked before anything is connected to."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

from sealgate.cli.doctor import config_rules as rules
from sealgate.cli.doctor.config_case import Case, place_of
from sealgate.cli.doctor.findings import Finding, Rule, found
from sealgate.config.errors import Problem

#: Above these a setting is wider than any network or queue asks for.
_MAX_AGE_S: Final = 3600.0
_SKEW_S: Final = 300.0
#: Warnings of check-config that have a rule of their own: what the message says, and the line to write.
_WARNINGS: Final[tuple[tuple[str, Rule, str], ...]] = (
    (r"is written into the file", rules.LITERAL_SECRET, '"env:NAME" or "file:/path" in place of the secret'),
    (r"password in it|is the password itself", rules.LITERAL_SECRET, '"env:NAME" in place of the value'),
    (r"can be read by every user|can be changed by others", rules.READABLE_SECRET, "chmod 600"),
    (r"is the same as that of", rules.KEY_SHARED, "a secret of its own: sealgate keys generate"),
    (r"is open to the network", rules.ADMIN_OPEN, 'address = "127.0.0.1:9672"'),
    (r"is not encrypted", rules.UPSTREAM_PLAINTEXT, '"amqps://HOST:5671"'),
)


def check_config(case: Case) -> Iterator[Finding]:
    """Everything; where the configuration can not be used, the reasons alone."""
    for problem in case.loaded.problems:
        yield _told(rules.INVALID, problem, "mend this value")
    if case.loaded.problems:
        return
    for warning in case.loaded.warnings:
        yield _warning(warning)
    for check in _CHECKS:
        yield from check(case)


def _warning(warning: Problem) -> Finding:
    for pattern, rule, change in _WARNINGS:
        if re.search(pattern, warning.message):
            return _told(rule, warning, change)
    return _told(rules.WARNING, warning, "see the message; `sealgate schema` describes the key")


def _told(rule: Rule, problem: Problem, change: str) -> Finding:
    place = place_of(problem)
    name = problem.key or problem.where
    return found(rule, f"{name} {problem.message}", change, place, name)


def _mode(case: Case) -> Iterator[Finding]:
    settings = case.settings
    if settings.publish.action == "pass" and settings.deliver.action == "pass":
        yield case.about(rules.PASSES, 'publish.action is "pass"', "publish.action", 'action = "verify"')
    if settings.publish.action != "verify":
        return
    if settings.mode.default == "observe":
        message = 'mode.default is "observe"'
        yield case.about(rules.OBSERVES, message, "mode.default", 'default = "enforce"')
    for index, rule in enumerate(settings.rule):
        if rule.mode == "observe" and settings.mode.default != "observe":
            message = f"rule[{index}] only observes"
            yield case.about(rules.OBSERVING_RULE, message, f"rule[{index}].mode", 'mode = "enforce"')


def _rates(case: Case) -> Iterator[Finding]:
    if case.settings.publish.action != "verify":
        return
    if not case.settings.rate:
        change = '[rate] with "*" = "2000/s burst 4000"'
        yield case.about(rules.NO_RATES, "there is no [rate]", "rate", change)
    elif "*" not in case.settings.rate:
        message = f"[rate] has {len(case.settings.rate)} lines, and none is for all tasks"
        yield case.about(rules.NO_REST_RATE, message, "rate", '"*" = "2000/s burst 4000"')


def _bounds(case: Case) -> Iterator[Finding]:
    settings = case.settings
    if settings.publish.action == "verify" and settings.content.profile == "celery" and not settings.bound:
        change = '[[bound]] with task = "*", time_limit = { max = "5m" }, expires = { required = true }'
        yield case.about(rules.NO_BOUNDS, "there is no [[bound]]", "bound", change)


def _expiry(case: Case) -> Iterator[Finding]:
    settings = case.settings
    if settings.publish.action != "verify" or settings.content.profile != "celery":
        return
    expires = [bound.expires for bound in settings.bound if bound.expires is not None]
    if settings.bound and not any(each.required or each.default is not None for each in expires):
        change = "expires = { required = true } in a [[bound]]"
        yield case.about(rules.NO_TASK_EXPIRY, "no [[bound]] asks for expires", "bound", change)
    expiry = settings.expiry
    if (expiry.expiration_max, expiry.expires_max, expiry.message_ttl_max) == (None, None, None):
        change = '[expiry] with expires_max = "1d" and message_ttl_max = "1d"'
        yield case.about(rules.NO_RESULT_EXPIRY, "[expiry] sets no limit", "expiry", change)
    if settings.prefetch.max is None:
        change = "[prefetch] with max = 16"
        yield case.about(rules.NO_PREFETCH, "prefetch.max is not set", "prefetch", change)


def _content(case: Case) -> Iterator[Finding]:
    if case.settings.publish.action == "verify" and "*" in case.settings.content.types:
        message = 'content.types is ["*"]'
        yield case.about(rules.ANY_TYPE, message, "content.types", 'types = ["application/json"]')


def _replay(case: Case) -> Iterator[Finding]:
    settings = case.settings
    replay = settings.replay
    if settings.publish.action != "verify":
        return
    if replay.max_age > _MAX_AGE_S:
        message = f"replay.max_age is {replay.max_age:g} s"
        yield case.about(rules.LONG_WINDOW, message, "replay.max_age", 'max_age = "5m"')
    if replay.clock_skew > _SKEW_S:
        message = f"replay.clock_skew is {replay.clock_skew:g} s"
        yield case.about(rules.WIDE_SKEW, message, "replay.clock_skew", 'clock_skew = "30s"')
    if replay.store == "memory" and replay.journal is None and replay.nonces == "any":
        change = 'journal = "/var/lib/sealgate/nonces", or store = "redis://HOST:6379/0"'
        yield case.about(
            rules.MEMORY_STORE, "replay.store is memory without a journal", "replay.journal", change
        )


def _network(case: Case) -> Iterator[Finding]:
    settings = case.settings
    host = settings.listen.address.host
    if settings.listen.tls is None and host not in ("localhost", "::1") and not host.startswith("127."):
        message = f"listen.address is {settings.listen.address}, and there is no listen.tls"
        change = '[listen.tls] with cert = "/path/chain.pem" and key = "/path/key.pem"'
        yield case.about(rules.LISTEN_PLAINTEXT, message, "listen.tls", change)
    if settings.publish.action == "verify" and not settings.admin.enabled:
        yield case.about(rules.NO_METRICS, "admin.enabled is false", "admin.enabled", "enabled = true")
    if settings.publish.action == "verify" and settings.credentials.mode == "passthrough":
        message = 'credentials.mode is "passthrough"'
        change = 'mode = "replace", with users, user and password'
        yield case.about(rules.PASSTHROUGH, message, "credentials.mode", change)


_CHECKS: Final[tuple[Callable[[Case], Iterator[Finding]], ...]] = (
    _mode,
    _rates,
    _bounds,
    _expiry,
    _content,
    _replay,
    _network,
)

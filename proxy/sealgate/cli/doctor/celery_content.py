"""Serializers and content types: what is sent, and what is taken."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sealgate.cli.doctor import celery_rules as rules
from sealgate.cli.doctor.celery_case import Case, names
from sealgate.cli.doctor.findings import Finding, Rule

_PICKLES: Final = ("pickle", "application/x-python-serialize", "application/x-pickle", "application/pickle")
_YAMLS: Final = ("yaml", "application/x-yaml", "application/yaml", "text/yaml")
_KNOWN: Final = ("json", "msgpack", "application/json", "application/x-msgpack", "application/msgpack")
_SENDS: Final = ("task_serializer", "result_serializer", "event_serializer")
_TAKES: Final = ("accept_content", "result_accept_content")
#: The content types under which kombu's codecs mark a body (kombu.compression).
_COMPRESSIONS: Final = {
    "zlib": "application/x-gzip",
    "gzip": "application/x-gzip",
    "bzip2": "application/x-bz2",
    "bzip": "application/x-bz2",
    "lzma": "application/x-lzma",
    "xz": "application/x-lzma",
    "zstd": "application/zstd",
    "zstandard": "application/zstd",
}


def check_content(case: Case) -> Iterator[Finding]:
    yield from _sent(case)
    yield from _sent_by_tasks(case)
    yield from _taken(case)
    yield from _always_taken(case)
    yield from _compressed(case)
    if case.setting("task_protocol") == 1:
        yield case.about(rules.PROTOCOL, "task_protocol is 1", "task_protocol", "2")
        if case.policy is not None and not case.policy.celery.protocol_1:
            yield case.about(rules.GATEWAY_PROTOCOL, "celery.protocol_1 is false there", "task_protocol", "2")


def _sent(case: Case) -> Iterator[Finding]:
    for setting in _SENDS:
        name = str(case.setting(setting))
        rule = _rule_of(name)
        if rule is not None:
            yield case.about(rule, f'{setting} is "{name}"', setting, '"json"')
        yield from _refused_by_gateway(case, name, setting)


def _sent_by_tasks(case: Case) -> Iterator[Finding]:
    for task in case.facts.tasks:
        name = task.serializer
        if name is None or name == case.setting("task_serializer"):
            continue
        rule = _rule_of(name)
        if rule is not None:
            change = 'serializer="json"'
            yield case.about_task(rule, task, f'{task.name} is sent as "{name}"', "serializer", change)


def _refused_by_gateway(case: Case, name: str, setting: str) -> Iterator[Finding]:
    kind = case.facts.content_type(name)
    # What Sealgate could not check is told already, and no gateway's configuration can list it.
    if case.policy is None or not kind or _rule_of(name) is not None:
        return
    allowed = case.policy.content.types
    if kind not in allowed and "*" not in allowed:
        message = f'{setting} is "{name}" ({kind}), and content.types there is {", ".join(allowed)}'
        yield case.about(rules.GATEWAY_TYPE, message, setting, '"json"')


def _rule_of(name: str) -> Rule | None:
    if name in _PICKLES:
        return rules.PICKLE
    if name in _YAMLS:
        return rules.YAML
    if name in ("auth", "application/data"):
        return rules.AUTH
    return None if name in _KNOWN else rules.UNKNOWN_SERIALIZER


def _taken(case: Case) -> Iterator[Finding]:
    for setting in _TAKES:
        accepted = case.setting(setting)
        if accepted is None and setting == "result_accept_content":
            continue  # accept_content counts
        if not isinstance(accepted, list):
            odd = rules.ACCEPT_ALL if accepted is None else rules.UNKNOWN_SERIALIZER
            yield case.about(odd, f"{setting} is {accepted!r}", setting, '["json"]')
            continue
        for name in map(str, accepted):
            rule = _rule_of(name)
            if rule is not None:
                kept = [f'"{other}"' for other in map(str, accepted) if _rule_of(other) is None]
                value = "[" + (", ".join(kept) or '"json"') + "]"
                yield case.about(rule, f'{setting} has "{name}"', setting, value, f"{setting}:{name}")


def _always_taken(case: Case) -> Iterator[Finding]:
    """No setting closes these, so all that can be asked is whether somebody stands in front."""
    trusted = case.facts.serializers.trusted
    open_ways = [
        broker.address
        for broker in case.facts.brokers
        if "read" in broker.purposes and not case.through_sealgate(broker)
    ]
    if trusted and open_ways:
        message = f"{names(trusted)} from {names(open_ways)} reach the worker whatever accept_content says"
        change = "put a verifying gateway in front of the broker: content.types is exact there"
        yield case.at(rules.TRUSTED_CONTENT, message, "accept_content", change)


def _compressed(case: Case) -> Iterator[Finding]:
    for setting in ("task_compression", "result_compression"):
        name = case.setting(setting)
        if not name:
            continue
        kind = _COMPRESSIONS.get(str(name), str(name))
        if case.policy is not None and kind not in case.policy.content.compression:
            message = f'{setting} is "{name}", and content.compression there lacks "{kind}"'
            yield case.about(rules.GATEWAY_COMPRESSION, message, setting, "None")
        elif case.policy is None:
            yield case.about(rules.COMPRESSION, f'{setting} is "{name}"', setting, "None")

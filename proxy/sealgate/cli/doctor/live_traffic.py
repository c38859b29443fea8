"""What a running gateway has counted: read from its /metrics, and /readyz."""

from __future__ import annotations

import http
from collections.abc import Iterator
from typing import Final

from sealgate.cli.asking import UnansweredError, ask
from sealgate.cli.doctor import live_rules as rules
from sealgate.cli.doctor.config_case import Case
from sealgate.cli.doctor.findings import Finding, Place, Report, Rule, Severity, found

#: Reasons, by prefix, that say something of a producer: the rule, and what to do.
_REASONS: Final[tuple[tuple[tuple[str, ...], Rule, str], ...]] = (
    (("sig.kid",), rules.UNKNOWN_KID, 'bring the key to the gateway first, with state = "verify"'),
    (("sig.missing",), rules.UNSIGNED, "point the producer at its sidecar, or sign in it"),
    (("sig.bad",), rules.BAD_SEAL, "the same secret and the same deployment on both sides"),
    (("sig.key_state",), rules.KEY_STATE, "sign_with = the new key's kid, where it signs"),
    (("time.",), rules.OFF_TIME, "NTP on the signer's host"),
    (("celery.expires",), rules.NO_EXPIRY, "expires= in apply_async, or a default in [[bound]]"),
)

Samples = dict[str, list[tuple[dict[str, str], float]]]


def check_traffic(case: Case, report: Report, timeout_s: float, must_answer: bool) -> None:
    """Ask the gateway at the admin address of `case`; whether it has to be there, `must_answer` says."""
    address = case.settings.admin.address
    try:
        status, body = ask(address, "/metrics", timeout_s, headers={"Accept": "text/plain"})
        ready, _ = ask(address, "/readyz", timeout_s)
    except UnansweredError as error:
        if must_answer:
            change = f"start it, or give its address: --admin HOST:PORT (asked {address})"
            report.add([found(rules.GATEWAY_AWAY, str(error), change, Place(), str(address))])
        else:
            report.skipped.append(f"the traffic of a gateway: none answers at {address} (--admin HOST:PORT)")
        return
    samples = _samples(body)
    if status != http.HTTPStatus.OK or "sealgate_build_info" not in samples:
        change = "--admin with the address of a gateway"
        report.add([found(rules.GATEWAY_AWAY, f"{address} is no gateway's", change, Place(), str(address))])
        return
    if ready != http.HTTPStatus.OK:
        change = f"curl http://{address}/readyz?verbose says what is missing"
        report.add([found(rules.NOT_READY, f"/readyz: {ready}", change, Place(), str(address))])
    report.add(_traffic(case, samples))
    report.examined.append(f"what the gateway at {address} has counted since its start")


def _samples(body: bytes) -> Samples:
    from prometheus_client.parser import text_string_to_metric_families

    samples: Samples = {}
    try:
        for family in text_string_to_metric_families(body.decode()):
            for sample in family.samples:
                samples.setdefault(sample.name, []).append((sample.labels, sample.value))
    except ValueError:
        return {}
    return samples


def _traffic(case: Case, samples: Samples) -> Iterator[Finding]:
    yield from _reasons(samples)
    yield from _clocks(case, samples)
    for name, rule, what, change in (
        (
            "unconfirmed_refusals_total",
            rules.UNCONFIRMED,
            "refusals could not be told",
            'broker_transport_options = {"confirm_publish": True} in the producer',
        ),
        ("replay_store_errors_total", rules.DEGRADED, "calls failed", "see docs/redis.md, and the log"),
        ("quarantine_dropped_total", rules.LOST_RECORDS, "records were lost", "quarantine.url, and the log"),
    ):
        count = _sum(samples, name)
        if count:
            yield found(rule, f"{count:g} {what}", change, Place("", 0, f"sealgate_{name}"))
    for name, label, value, rule, change in (
        ("config_reloads_total", "result", "failed", rules.RELOADS, "mend the file: the log names it"),
        ("logins_total", "result", "broker", rules.LOGIN_BROKER, "credentials.user and credentials.password"),
    ):
        count = _sum(samples, name, **{label: value})
        if count:
            metric = f'sealgate_{name}{{{label}="{value}"}}'
            yield found(rule, f"{count:g} times", change, Place("", 0, metric))
    for labels, up in samples.get("sealgate_upstream_up", []):
        if not up:
            broker = labels.get("upstream", "")
            change = "upstream.urls, or the broker"
            place = Place("", 0, "sealgate_upstream_up")
            yield found(rules.UPSTREAM_DOWN, f"{broker} could not be reached", change, place, broker)


def _reasons(samples: Samples) -> Iterator[Finding]:
    """Refused and observed alike: either way a producer is not as it should be."""
    place = Place("", 0, "sealgate_messages_total")
    counts: dict[str, float] = {}
    for labels, value in samples.get("sealgate_messages_total", []):
        if labels.get("verdict") in ("refused", "observed") and value:
            reason = labels.get("reason", "")
            counts[reason] = counts.get(reason, 0) + value
    for prefixes, rule, change in _REASONS:
        for reason, count in sorted(counts.items()):
            if reason.startswith(prefixes):
                yield found(rule, f"{count:g} messages with {reason}", change, place, reason)
    observed = _sum(samples, "messages_total", verdict="observed")
    if observed:
        message = f"{observed:g} messages were observed"
        yield found(rules.OBSERVED, message, 'mode.default = "enforce", when they are mended', place)


def _clocks(case: Case, samples: Samples) -> Iterator[Finding]:
    allowed = case.settings.replay.clock_skew
    for labels, skew in samples.get("sealgate_producer_clock_skew_seconds", []):
        if abs(skew) > allowed / 2:
            kid = labels.get("kid", "")
            message = (
                f"{kid} signs {abs(skew):.0f} s {'ahead' if skew > 0 else 'late'}; {allowed:g} s are allowed"
            )
            severity = Severity.ERROR if abs(skew) > allowed else None
            place = Place("", 0, "sealgate_producer_clock_skew_seconds")
            yield found(rules.DRIFT, message, "NTP on the hosts that sign with it", place, kid, severity)


def _sum(samples: Samples, name: str, **labels: str) -> float:
    rows = samples.get(f"sealgate_{name}", [])
    return sum(value for has, value in rows if all(has.get(key) == want for key, want in labels.items()))

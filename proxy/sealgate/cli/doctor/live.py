"""Everything that is asked of a broker, a store and a gateway that run."""

from __future__ import annotations

from dataclasses import dataclass

from sealgate.cli.doctor.config_case import Case
from sealgate.cli.doctor.findings import Report
from sealgate.cli.doctor.live_broker import check_brokers
from sealgate.cli.doctor.live_management import check_management
from sealgate.cli.doctor.live_redis import check_redis
from sealgate.cli.doctor.live_traffic import check_traffic
from sealgate.cli.doctor.own_login import check_own_login


@dataclass(slots=True, frozen=True)
class Live:
    """What to ask. `management` is a URL with its login, or "" for not at all; `admin_given`: the operator
    named the gateway, so it has to answer."""

    timeout_s: float
    admin_given: bool
    management: str
    gateways: tuple[str, ...]


def check_live(case: Case, report: Report, live: Live) -> None:
    """Connects. Each question has `timeout_s`; what can not be asked is noted, and the rest is asked."""
    check_brokers(case, report, live.timeout_s)
    check_own_login(case, report, live.timeout_s)
    if live.management:
        check_management(case, report, live.management, live.gateways, live.timeout_s)
    elif case.settings.publish.action == "verify":
        report.skipped.append("who else is connected to the broker (--management URL)")
    if case.settings.publish.action == "verify":
        check_redis(case, report, live.timeout_s)
    if case.settings.admin.enabled:
        check_traffic(case, report, live.timeout_s, live.admin_given)

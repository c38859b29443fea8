"""The page at `/`: what an operator wants to see first, as plain HTML without script or outside parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import Final

from sealgate import __version__
from sealgate.ops.health import Report
from sealgate.session.records import Tally
from sealgate.variant import core_variant

#: Lines of one table: the page is for a glance, /metrics has the rest.
ROWS_MAX: Final = 20

_PAGE: Final = """\
<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>Sealgate {title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem; color: #222; background: #fff }}
table {{ border-collapse: collapse; margin-bottom: 1.5rem }}
caption {{ text-align: left; font-weight: 600 }}
td, th {{ padding: .1rem 1.5rem .1rem 0; text-align: left; font-weight: 400 }}
td + td {{ font-variant-numeric: tabular-nums }}
</style></head>
<body>
<h1>Sealgate {title}</h1>
{tables}
<p><a href="metrics">metrics</a> <a href="livez?verbose">livez</a> <a href="readyz?verbose">readyz</a>
{links}</p>
</body></html>
"""

Rows = Iterable[tuple[str, object]]


@dataclass(slots=True, frozen=True)
class Facts:
    """What the page shows besides counts; `about` is such as deployment, place and addresses."""

    about: Mapping[str, str]
    started_at: float
    now: float


def render(facts: Facts, live: Report, ready: Report, tally: Tally, more: Iterable[str] = ()) -> str:
    """The whole page; every text in it is escaped. `more` are paths of other pages."""
    tally.settle()
    checks = {**live.checks, **ready.checks}
    about: dict[str, object] = {
        "version": f"{__version__} ({core_variant()} core)",
        **facts.about,
        "started": _time(facts.started_at),
        "client connections": tally.client_connections,
        "upstream connections": tally.upstream_connections,
        "in quarantine since start": sum(tally.quarantined.values()),
        "refused but not in quarantine": sum(tally.quarantine_dropped.values()),
    }
    tables = [
        _table("State", about.items()),
        _table("Checks", [(name, problem or "ok") for name, problem in checks.items()]),
        _table("Messages", _verdicts(tally).most_common()),
        _table("Not accepted, by reason", _reasons(tally).most_common(ROWS_MAX)),
        _table("Keys, last used", _keys(tally, facts.now)),
    ]
    title = "is ready" if ready.ok else "is not ready"
    links = "".join([f' <a href="{escape(path[1:])}">{escape(path[1:])}</a>' for path in more])
    return _PAGE.format(title=title, tables="\n".join(filter(None, tables)), links=links)


def _verdicts(tally: Tally) -> Counter[str]:
    totals: Counter[str] = Counter()
    for (direction, verdict, _), count in tally.messages.items():
        totals[f"{direction} {verdict}"] += count
    return totals


def _reasons(tally: Tally) -> Counter[str]:
    totals: Counter[str] = Counter()
    for (_, verdict, reason), count in tally.messages.items():
        if verdict in ("refused", "observed"):
            totals[f"{reason} ({verdict})"] += count
    return totals


def _keys(tally: Tally, now: float) -> Rows:
    used = [(kid, use.last_used) for kid, use in tally.key_use.items() if use.last_used]
    newest = sorted(used, key=lambda row: row[1], reverse=True)
    return [(kid, f"{_time(used)}, {max(0, now - used):.0f} s ago") for kid, used in newest[:ROWS_MAX]]


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(" ", "seconds")


def _table(caption: str, rows: Rows) -> str:
    lines = [f"<tr><td>{escape(name)}</td><td>{escape(str(value))}</td></tr>" for name, value in rows]
    if not lines:
        return ""
    return f"<table><caption>{escape(caption)}</caption>\n" + "\n".join(lines) + "\n</table>"

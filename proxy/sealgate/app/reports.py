"""What supervisor and worker say to each other, and the sum of what all workers have told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

from sealgate.control.observed import rows_of
from sealgate.control.orders import Parked, entry_of
from sealgate.ops.health import Report as Checks
from sealgate.ops.keys import ring_of
from sealgate.ops.sums import add, clear, from_plain
from sealgate.session.records import Tally

#: Orders, each a line of JSON. Reports are asked for; one more comes when the gate listens, and a last one.
REPORT: Final = "report"
RELOAD: Final = "reload"
DRAIN: Final = "drain"
CUT: Final = "cut"
#: All orders of the operator, in a table of this one name.
CONTROLS: Final = "controls"

#: A report has a line for each task, key and reason that was counted: 2 MB with ten thousand rates.
REPORT_BYTES_MAX: Final = 16_777_216

_CPU: Final = "process_cpu_seconds_total"
#: When the first of these started, and how many files one of them may have, is not a matter of sums.
_NOT_SUMMED: Final = frozenset({"process_start_time_seconds"})


class Report:
    """How one worker was when it said so."""

    __slots__ = (
        "entries",
        "errors",
        "keys",
        "listening",
        "live",
        "observed",
        "parking",
        "process",
        "ready",
        "tally",
        "tasks",
        "upstreams",
    )

    def __init__(self, data: Mapping[str, Any]) -> None:
        """`data` as `Vitals.report` gives it, with `listening`. Raises KeyError, TypeError or ValueError."""
        self.tally: Final = from_plain(data["tally"])
        self.entries: Final[int] = data["store"][0]
        self.errors: Final[int] = data["store"][1]
        self.tasks: Final[int] = data["tasks"]
        self.upstreams: Final[dict[str, float]] = data["upstreams"]
        self.process: Final[dict[str, float]] = data["process"]
        self.live: Final = _checks(data["live"])
        self.ready: Final = _checks(data["ready"])
        self.listening: Final[bool] = data["listening"]
        self.keys: Final = ring_of(data["keys"])
        #: Since the report before.
        self.observed: Final = rows_of(data["observed"])
        #: Park queues to be kept, and names of those that are empty.
        self.parking: Final = parking_of(data["parking"])


def parking_of(data: Mapping[str, Any]) -> tuple[list[Parked], list[str]]:
    """What `parking.FarClerk.take` gave, after JSON. Raises KeyError, TypeError or ValueError."""
    wanted = [entry for entry in map(entry_of, data["wanted"]) if isinstance(entry, Parked)]
    return wanted, [str(name) for name in data["empty"]]


def _checks(data: Mapping[str, Any]) -> Checks:
    return Checks(data["checks"], frozenset(data["advisory"]))


class Sum:
    """Everything the workers counted, the dead ones too, and how those who live are now.

    `tally` stays the same object. `errors` and `entries` are of the replay stores, as one store has them.
    """

    def __init__(self) -> None:
        self.tally: Final = Tally()
        self.errors = 0
        self.entries = 0
        self.tasks = 0
        self.upstreams: dict[str, float] = {}
        self.process: Counter[str] = Counter()
        self._dead: Final = Tally()
        self._dead_errors = 0
        self._dead_cpu_s = 0.0

    def bury(self, report: Report) -> None:
        """Keep what a worker that has ended had counted."""
        add(self._dead, report.tally, alive=False)
        self._dead_errors += report.errors
        self._dead_cpu_s += report.process.get(_CPU, 0.0)

    def update(self, reports: Iterable[Report]) -> None:
        """Take `reports`, the newest of each worker that lives, for how things are."""
        reports = list(reports)
        self._forget_keys(reports)
        clear(self.tally)
        add(self.tally, self._dead)
        self.errors, self.entries, self.tasks = self._dead_errors, 0, 0
        self.upstreams = {}
        self.process = Counter({_CPU: self._dead_cpu_s})
        for report in reports:
            add(self.tally, report.tally)
            self.errors += report.errors
            self.entries += report.entries
            self.tasks += report.tasks
            self.process.update({k: v for k, v in report.process.items() if k not in _NOT_SUMMED})
            for address, up in report.upstreams.items():
                # One worker that can not reach it is one too many.
                self.upstreams[address] = min(up, self.upstreams.get(address, up))

    def _forget_keys(self, reports: list[Report]) -> None:
        """As each worker does with keys that have left its keyring."""
        known = {key.kid for report in reports for key in report.keys.keys}
        for kid in set(self._dead.key_use) - known if reports else ():
            del self._dead.key_use[kid]

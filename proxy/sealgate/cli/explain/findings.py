"""What the checks of one message found, and how a peer's words and times are written."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from sealgate.quarantine.describe import printable
from sealgate.reason import Reason
from sealgate.signing.keyring import Key
from sealgate.signing.token import Token
from sealgate.verify.verdict import Refused, Verdict

OK: Final = "ok"
REFUSED: Final = "refused"
#: Could not be asked, because something before it failed.
SKIPPED: Final = "skipped"
#: Only a running gateway knows.
OPEN: Final = "open"
#: Characters of a name that a peer wrote.
SHOWN_MAX: Final = 80


@dataclass(slots=True)
class Step:
    """One check: `verdict` as above, `reason` and `detail` where it refused."""

    name: str
    verdict: str
    saw: str = ""
    wanted: str = ""
    reason: str = ""
    detail: str = ""


@dataclass(slots=True)
class Findings:
    """What the checks found; `bad_signature` when all of a signature was there, and it was wrong."""

    steps: list[Step] = field(default_factory=list)
    digests: dict[str, str] = field(default_factory=dict)
    verdict: Verdict | None = None
    token: Token | None = None
    key: Key | None = None
    bad_signature: bool = False
    task: str = ""

    @property
    def reason(self) -> Reason:
        """The verdict as a reason, `ok` for a message that would pass."""
        verdict = self.verdict
        if isinstance(verdict, Refused):
            return verdict.reason
        return Reason.OK if verdict is None or verdict.observed is None else verdict.observed


def shown(text: str) -> str:
    """A text that a peer wrote, in quotes, for a terminal."""
    cut = text if len(text) <= SHOWN_MAX else text[: SHOWN_MAX - 3] + "..."
    return f'"{printable(cut)}"'


def moment(seconds: float) -> str:
    """A time in UTC, or the number where no calendar has it."""
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return f"{seconds:.0f} s after 1970"

"""What in-process signing is told: the sidecar's own settings, as far as a process has use for them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from sealgate.signing.filetable import suggest
from sealgate.signing.keyfile import parse_duration
from sealgate.signing.token import is_kid
from sealgate.verify.targets import TargetPolicy

KEYS_DEFAULT: Final = "env:SEALGATE_KEYS"
#: The gateway's own names for these settings, so that one environment does for sidecar and application.
VARIABLES: Final = {
    "keys": "SEALGATE__KEYS__SOURCE",
    "sign_with": "SEALGATE__PUBLISH__SIGN_WITH",
    "deployment": "SEALGATE__DEPLOYMENT",
    "verify": "SEALGATE__DELIVER__ACTION",
    "require": "SEALGATE__DELIVER__REQUIRE",
    "countersigned_by": "SEALGATE__DELIVER__COUNTERSIGNED_BY",
    "mode": "SEALGATE__MODE__DEFAULT",
    "clock_skew": "SEALGATE__REPLAY__CLOCK_SKEW",
}
#: What a delivery's target may be beside the signed one (seal1.md, "At the consumer").
TARGETS: Final = tuple(policy.value for policy in TargetPolicy)
MODES: Final = ("enforce", "observe")
#: Whose signature a delivery must carry.
REQUIREMENTS: Final = ("producer", "gateway", "both")
_VERIFY: Final = {"verify": True, "pass": False}


class OptionsError(ValueError):
    """All that is wrong with the options, one line each. The text is safe to print."""


@dataclass(slots=True, frozen=True)
class Options:
    """`keys` is a reference (`env:NAME`, `file:/path`, `cred:NAME`), never a secret itself.

    `sign_with` is the kid that signs, or the beginning of one and `*`: the first key of such a name, as the
    file has them, that can sign now; absent, the one active key that can. `require` is one of `REQUIREMENTS`,
    and `countersigned_by` the kids of the gateways it speaks of. `clock_skew` is in seconds.
    `queues` says by queue what a delivery's target may be beside the signed one; absent queues are strict.
    """

    keys: str = KEYS_DEFAULT
    sign_with: str | None = None
    deployment: str = "prod"
    verify: bool = False
    require: str = "producer"
    countersigned_by: tuple[str, ...] = ()
    mode: str = "enforce"
    clock_skew: int = 30
    queues: tuple[tuple[str, str], ...] = ()

    def target_of(self, queue: str) -> str:
        """One of `TARGETS`."""
        return dict(self.queues).get(queue, "strict")


def read_options(given: Mapping[str, Any] | None = None, environ: Mapping[str, str] = os.environ) -> Options:
    """The options in `given`, then in the environment (`VARIABLES`), then the defaults.

    Raises `OptionsError` with everything that is wrong.
    """
    errors: list[str] = []
    values: dict[str, Any] = {}
    known = [name.name for name in fields(Options)]
    for name in given or ():
        if name not in known:
            errors.append(f"{name}: is not known{suggest(name, known)}")
    for name in known:
        variable = VARIABLES.get(name)
        if given is not None and name in given:
            where, value = name, given[name]
        elif variable is not None and variable in environ:
            where, value = variable, environ[variable]
        else:
            continue
        try:
            values[name] = _READERS[name](value)
        except ValueError as error:
            errors.append(f"{where}: {error}")
    if values.get("require", "producer") != "producer" and not values.get("countersigned_by"):
        errors.append("countersigned_by: which gateways' keys? (require)")
    if errors:
        raise OptionsError("sealgate: " + "; ".join(errors))
    return Options(**values)


def _keys(value: object) -> str:
    if (
        isinstance(value, str)
        and value.partition(":")[0] in ("env", "file", "cred")
        and value.partition(":")[2]
    ):
        return value
    raise ValueError(
        "want env:NAME, file:/path or cred:NAME (what is behind it may be a secret; this is not)"
    )


def _sign_with(value: object) -> str:
    # `A*` is a kid where the pattern `*` is told: the beginning of a kid may be empty.
    if isinstance(value, str) and (is_kid(value) or (value.endswith("*") and is_kid("A" + value[:-1]))):
        return value
    raise ValueError("want a kid: 1 to 64 of A-Z a-z 0-9 _ -, or the beginning of one and *")


def _deployment(value: object) -> str:
    if isinstance(value, str) and 0 < len(value.encode()) <= 255:
        return value
    raise ValueError("want a name of up to 255 bytes")


def _verify(value: object) -> bool:
    if isinstance(value, str) and value in _VERIFY:
        return _VERIFY[value]
    if isinstance(value, bool):
        return value
    raise ValueError("want true or false, or as deliver.action: verify or pass")


def _require(value: object) -> str:
    if value in REQUIREMENTS:
        return str(value)
    raise ValueError("want producer, gateway or both")


def _countersigned_by(value: object) -> tuple[str, ...]:
    if isinstance(value, str):  # as the gateway reads it from the environment
        value = [kid.strip().strip("\"'") for kid in value.strip().strip("[]").split(",")]
    if isinstance(value, list | tuple) and all(isinstance(kid, str) and is_kid(kid) for kid in value):
        return tuple(value)
    raise ValueError("want a list of kids")


def _mode(value: object) -> str:
    if value in MODES:
        return str(value)
    raise ValueError("want enforce or observe")


def _clock_skew(value: object) -> int:
    if value in (0, "0s"):
        return 0
    if isinstance(value, str):
        return parse_duration(value)
    if type(value) is int and value > 0:
        return value
    raise ValueError("want seconds, or a duration like 30s")


def _queues(value: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, Mapping):
        raise ValueError("want queues with strict, dead_letter or delayed for each")
    for queue, target in value.items():
        if not isinstance(queue, str) or target not in TARGETS:
            raise ValueError(f"{queue}: want strict, dead_letter or delayed")
    return tuple(sorted(value.items()))


_READERS: Final = {
    "keys": _keys,
    "sign_with": _sign_with,
    "deployment": _deployment,
    "verify": _verify,
    "require": _require,
    "countersigned_by": _countersigned_by,
    "mode": _mode,
    "clock_skew": _clock_skew,
    "queues": _queues,
}

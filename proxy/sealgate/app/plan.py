"""What a supervisor must know, as plain data; and how a process that knows it becomes one.

Reading the configuration takes libraries that a supervisor never needs again. So the process that has read it
gives the plan to itself (in memory that has no name, for there may be passwords in it) and starts over.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from sealgate.app.controlling import ControlPlan, control_plan
from sealgate.app.facts import about

if TYPE_CHECKING:
    from sealgate.config.settings import Settings

#: What is added to the command of a process that is to become a supervisor, followed by a file descriptor.
OPTION: Final = "--supervise"


@dataclass(slots=True, frozen=True)
class Plan:
    """`values` are what the settings were made from; workers are given them, so that all are the same,
    whatever becomes of the file. `admin` is empty where there is no admin address; `state` is
    `control.state`, and `control` what the desk for orders is built from."""

    values: dict[str, Any]
    workers: int
    host: str
    port: int
    admin: str
    state: str | None
    control: ControlPlan
    drain_s: float
    about: dict[str, str]
    log_level: str
    log_format: Literal["auto", "json", "text"]


def plan_of(settings: Settings, values: dict[str, Any]) -> Plan:
    return Plan(
        values,
        settings.listen.workers,
        settings.listen.address.host,
        settings.listen.address.port,
        str(settings.admin.address) if settings.admin.enabled else "",
        settings.control.state,
        control_plan(settings),
        settings.drain.timeout,
        {**about(settings), "workers": str(settings.listen.workers)},
        settings.log.level,
        settings.log.format,
    )


def start_over(plan: Plan) -> None:
    """Become the supervisor of `plan`. Returns only where that can not be done: no Linux, or half of one."""
    try:
        held = os.memfd_create("sealgate", 0)  # without the flag that would close it at exec
    except (AttributeError, OSError):
        return
    with os.fdopen(held, "w") as file:
        json.dump(asdict(plan), file)
        file.flush()
        os.lseek(held, 0, os.SEEK_SET)
        with contextlib.suppress(OSError):
            os.execv(sys.executable, [*own_command(), OPTION, str(held)])  # noqa: S606 - ourselves


def taken_over(held: int) -> Plan:
    """The plan that `start_over` left. Raises OSError, ValueError or TypeError where there is none."""
    with os.fdopen(held) as file:
        plan = json.load(file)
        control = ControlPlan(**plan.pop("control", {}))
        return Plan(**plan, control=control)


def own_command() -> list[str]:
    """The command of this process, with the options of the interpreter, as the operator gave it."""
    command = [sys.executable, *sys.orig_argv[1:]]
    return command[:-2] if OPTION in command[-2:-1] else command

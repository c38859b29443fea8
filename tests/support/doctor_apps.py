"""Celery applications for the doctor: one that lacks nothing, and others that lack one thing each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from sealgate.cli import main

PASSWORD = "Wj3kq"
#: Every mitigation that a Celery application can apply by itself.
PERFECT: dict[str, Any] = {
    "broker_url": "amqp://shop:Wj3kq@127.0.0.1:6672//",
    "broker_transport_options": {"confirm_publish": True},
    "result_backend": "rpc://",
    "result_expires": 3600,
    "task_time_limit": 300,
    "task_soft_time_limit": 240,
    "task_default_rate_limit": "10/s",
    "worker_prefetch_multiplier": 1,
    "worker_enable_remote_control": False,
}
APP = """\
from celery import Celery

app = Celery("shop")
app.config_from_object("shop_config")


@app.task
def add(x, y):
    open(__file__ + ".ran", "w").close()
    return x + y
"""


def write_app(folder: Path, changes: dict[str, Any] | None = None, more: str = "", app: str = APP) -> None:
    """`shop.py` and `shop_config.py`; a change to None takes it out; `more` is appended to shop.py."""
    settings = {**PERFECT, **(changes or {})}
    (folder / "shop_config.py").write_text(setting_lines(settings))
    (folder / "shop.py").write_text(app + more)


def setting_lines(settings: dict[str, Any], prefix: str = "") -> str:
    """Settings as a module, one on each line from the second on; `PASSWORD` itself does not stand there."""
    lines = [f'WORD = "".join({list(PASSWORD)})']
    for name, value in settings.items():
        if value is not None:
            key = f"{prefix}_{name}".upper() if prefix else name
            lines.append(f"{key} = {value!r}".replace(PASSWORD, "' + WORD + '"))
    return "\n".join(lines) + "\n"


def doctor(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["doctor", *map(str, arguments)])


def findings_of(folder: Path, *arguments: str | Path) -> list[dict[str, Any]]:
    """What `doctor celery` finds in `shop` of `folder`, as its JSON tells it."""
    result = doctor("celery", "-A", "shop", "--workdir", folder, "--format", "json", *arguments)
    assert result.exit_code in (0, 1), result.output
    found: list[dict[str, Any]] = json.loads(result.stdout)["findings"]
    return found


def pairs(findings: list[dict[str, Any]]) -> set[tuple[str, str]]:
    """(id, subject) of each; none twice."""
    found = [(finding["id"], finding["subject"]) for finding in findings]
    assert len(found) == len(set(found)), found
    return set(found)

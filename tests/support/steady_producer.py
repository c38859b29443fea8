"""A producer process of the project that publishes tasks one after the other until it gets SIGTERM.

`steady` keeps its connection, as web processes do; `fresh` opens one for each task. At the end it prints one
line of JSON: the ids it published, and the failures its caller would have seen.
"""

from __future__ import annotations

import json
import signal
import sys
import time

from celery.utils import uuid

from support.celery_project import add, app

PAUSE_S = 0.005


def main(how: str) -> None:
    going = True

    def stop(*_: object) -> None:
        nonlocal going
        going = False

    signal.signal(signal.SIGTERM, stop)
    published: list[str] = []
    failed: list[str] = []
    while going:
        task_id = uuid()
        try:
            if how == "fresh":
                with app.connection_for_write() as connection:
                    add.apply_async((1, 1), task_id=task_id, connection=connection)
            else:
                add.apply_async((1, 1), task_id=task_id)
        except Exception as error:
            failed.append(f"{type(error).__name__}: {error}")
        else:
            published.append(task_id)
        time.sleep(PAUSE_S)
    print(json.dumps({"published": published, "failed": failed}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])

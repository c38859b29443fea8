"""Sealgate: a message-signing proxy for AMQP brokers.

The rooms, top to bottom; an import may only go down:

    cli  celery             one-shot commands; the name that Celery's setting takes
    app                     builds everything from the settings, runs, drains, stops
    net stores quarantine   edges: siblings that never import each other
    ops control config
    devbroker integrations
    ---------------------------------------------------------------------------------
    session                 one client-broker conversation: events in, commands out
    verify  accounts        a message in, a verdict out; a login in, a grant out
    signing  wire           bytes; they know nothing of each other
    reason                  the closed set of reasons

Below the line is the core: it takes bytes and the time and returns what should happen. No asyncio, no
sockets, no clock, no randomness, no logging. `lint-imports` holds the picture true.
"""

from __future__ import annotations

from typing import Final

__version__: Final = "0.1.0"

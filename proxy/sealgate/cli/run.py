"""`sealgate run`: the product."""

from __future__ import annotations

import gc
import logging
from typing import Any

import click

from sealgate.cli.options import load_settings, settings_options

_EPILOG = """\b
Examples:
  sealgate run --config gateway.toml
  sealgate run --upstream amqp://rabbitmq:5672         keys from SEALGATE_KEYS
  sealgate run --preset celery-gateway --upstream amqp://rabbitmq:5672
  sealgate run -c gateway.toml --observe               refuse nothing yet, only count
  sealgate run -c gateway.toml --workers 4             four processes that share the port

\b
Signals: TERM drains and stops, a second one stops at once; HUP reads the keys again.
A broker that is away at the start is waited for: 30 s, or as upstream.start_timeout says.
Exit codes: 0 after a clean drain, 1 when it ran out of time, 69 replay store or broker
unavailable at start, 70 bug, 77 permission, 78 configuration or an address that is taken."""


@click.command(epilog=_EPILOG)
@settings_options
@click.option("--observe", is_flag=True, help="Set mode.default = observe: count refusals, let all pass.")
@click.option(
    "--workers", type=int, metavar="N", help="Processes that share the port, under a supervisor (default 1)."
)
@click.option("--worker", type=int, hidden=True, help="What a supervisor adds: be its worker of this number.")
@click.option("--supervise", type=int, hidden=True, help="What this command adds: a descriptor with a plan.")
def run(worker: int | None, supervise: int | None, **options: Any) -> int:
    """Run the gateway or sidecar that the configuration describes."""
    if supervise is not None:
        return _supervise(supervise)
    # What a start makes it needs: searching that for cycles was a twentieth of it, and found none. The
    # gate searches again once it listens.
    gc.disable()
    try:
        if worker is not None:
            from sealgate.app.worker import run_worker

            return run_worker(worker)
        return _run(**options)
    finally:
        gc.enable()


def _run(**options: Any) -> int:
    from sealgate.config.checking import check
    from sealgate.ops.logging import configure_logging

    loaded = load_settings(**options)
    check(loaded)
    settings = loaded.require()
    configure_logging(settings.log.level, settings.log.format)
    log = logging.getLogger("sealgate.config")
    for warning in loaded.warnings:
        log.warning("config.warning", extra={"detail": str(warning)})
    if settings.listen.workers > 1:
        from sealgate.app.plan import plan_of, start_over
        from sealgate.app.supervisor import supervise as supervise_here

        gc.enable()
        plan = plan_of(settings, loaded.values)
        start_over(plan)
        return supervise_here(plan)

    from sealgate.app.process import run as run_gate

    return run_gate(settings)


def _supervise(held: int) -> int:
    from sealgate.app.plan import taken_over
    from sealgate.app.supervisor import supervise

    try:
        plan = taken_over(held)
    except (OSError, ValueError, TypeError):
        raise click.UsageError("--supervise is for sealgate itself to use") from None
    return supervise(plan)

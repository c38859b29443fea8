"""Options of every command that reads the configuration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from sealgate.config.loading import Loaded

Command = Callable[..., Any]

#: click itself would call a file that may not be read a wrong usage (64). Whoever reads it knows better (77).
FILE_PATH: Final = click.Path(path_type=Path, readable=False)


def duration(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    """Callback of options that take a time, `90s` or `2h`: seconds. Raises `click.BadParameter`."""
    from sealgate.config.fields import parse_duration

    if value is None:
        return None
    try:
        return parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def settings_options(command: Command) -> Command:
    """--config, --preset, --upstream, --listen, --admin and --set: the keyword arguments of `load`."""
    for option in (
        click.option(
            "--set",
            "assignments",
            multiple=True,
            metavar="KEY=VALUE",
            help="Set any key, as in --set replay.max_age=10m. Can be repeated.",
        ),
        click.option("--admin", metavar="HOST:PORT", help="Where metrics and health are served."),
        click.option("--listen", metavar="HOST:PORT", help="Where AMQP clients connect."),
        click.option(
            "--upstream",
            multiple=True,
            metavar="URL",
            help="The broker, as amqp://host:port; more than one are tried in order.",
        ),
        click.option(
            "--preset",
            metavar="NAME",
            help="A complete policy for one place, below the file: celery-gateway, celery-producer, "
            "celery-worker, dramatiq, taskiq or plain.",
        ),
        click.option(
            "--config",
            "-c",
            type=FILE_PATH,
            envvar="SEALGATE_CONFIG",
            show_envvar=True,
            help="The TOML file; without one there are defaults, the environment and the command line.",
        ),
    ):
        command = option(command)
    return command


def load_settings(
    config: Path | None,
    upstream: tuple[str, ...],
    listen: str | None,
    admin: str | None,
    assignments: tuple[str, ...],
    preset: str | None = None,
    observe: bool = False,
    workers: int | None = None,
) -> Loaded:
    """What `settings_options` were given, with all the layers below, loaded."""
    from sealgate.config.loading import load

    options: dict[str, tuple[str, object]] = {
        "preset": ("--preset", preset),
        "upstream.urls": ("--upstream", list(upstream) or None),
        "listen.address": ("--listen", listen),
        "admin.address": ("--admin", admin),
        "listen.workers": ("--workers", workers),
        "mode.default": ("--observe", "observe" if observe else None),
    }
    return load(config, options, assignments)

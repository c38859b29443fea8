"""Commands that look at the configuration, or at a gateway that runs, and change nothing."""

from __future__ import annotations

import http.client
import json
import platform
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sealgate import __version__
from sealgate.cli.asking import UnansweredError, ask
from sealgate.cli.exits import EXIT_FAILED, EXIT_OK
from sealgate.cli.options import FILE_PATH, load_settings, settings_options
from sealgate.variant import core_variant

if TYPE_CHECKING:
    from sealgate.config.loading import Loaded

_FILE = click.argument("file", required=False, type=FILE_PATH)


@click.command(
    "check-config",
    epilog="""\b
Examples:
  sealgate check-config gateway.toml
  sealgate check-config && systemctl restart sealgate

\b
Exit codes: 0 good (warnings are printed), 69 a secret store can not be reached, 77 a file may not be
read, 78 not good.""",
)
@_FILE
@settings_options
def check_config(file: Path | None, **options: Any) -> int:
    """Say everything that is wrong with a configuration: FILE, or --config, and the environment.

    Files, keys and certificates it names are read, too, from Vault and AWS where they are there. No broker
    and no Redis is connected to.
    """
    from sealgate.config.checking import check

    loaded = load_settings(**_with_file(options, file))
    check(loaded)
    if not loaded.problems:
        check_certificates(loaded)
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)
    loaded.require()
    click.echo(f"{loaded.file or 'configuration'}: ok")
    return EXIT_OK


@click.command(
    "print-config",
    epilog="""\b
Examples:
  sealgate print-config gateway.toml --origin
  sealgate print-config --preset celery-worker --upstream amqp://gateway:6672 --origin
  SEALGATE__LOG__LEVEL=debug sealgate print-config --upstream amqp://localhost""",
)
@_FILE
@settings_options
@click.option("--redact/--no-redact", default=True, help="Hide passwords (the default) or show them.")
@click.option("--origin", is_flag=True, help="Say where each value was set.")
def print_config(file: Path | None, redact: bool, origin: bool, **options: Any) -> int:
    """Print the configuration as it takes effect, as TOML: FILE, or --config, with all layers applied."""
    from sealgate.config.printing import print_settings

    loaded = load_settings(**_with_file(options, file))
    loaded.require()
    for line in print_settings(loaded, redact, origin):
        click.echo(line)
    return EXIT_OK


@click.command()
def schema() -> int:
    """Print the JSON Schema of the configuration file, for editors and CI."""
    from sealgate.config.schema import json_schema

    click.echo(json.dumps(json_schema(), indent=2))
    return EXIT_OK


@click.command()
def version() -> int:
    """Print the version, and whether the core is compiled."""
    where = f"Python {platform.python_version()}, {platform.system()}"
    click.echo(f"sealgate {__version__} ({core_variant()} core, {where})")
    return EXIT_OK


@click.command(
    epilog="""\b
Exit codes: 0 well, 1 not well or not there. Made for a container's HEALTHCHECK.""",
)
@settings_options
@click.option("--ready", is_flag=True, help="Ask /readyz (broker, store and keys) instead of /livez.")
@click.option("--timeout", default=2.0, show_default=True, help="Seconds to wait for an answer.")
def healthcheck(ready: bool, timeout: float, **options: Any) -> int:
    """Ask the gateway at the admin address whether it is well.

    A configuration that is not good is no reason to fail: the gateway runs with the one it read.
    """
    address = load_settings(**options).settings.admin.address
    path = "/readyz" if ready else "/livez"
    try:
        status, _ = ask(address, path, timeout)
    except UnansweredError as error:
        click.echo(str(error), err=True)
        return EXIT_FAILED
    click.echo(f"{address}{path}: {status}")
    return EXIT_OK if status == http.client.OK else EXIT_FAILED


def check_certificates(loaded: Loaded) -> None:
    """Add to `loaded` what `run` would find wrong in the TLS files of settings that are good."""
    from sealgate.app import build
    from sealgate.app.errors import EXIT_PERMISSION, StartError
    from sealgate.config.errors import Problem

    settings = loaded.settings
    urls = [*settings.upstream.urls, *build.quarantine_urls(settings)]
    for load_files in (
        partial(build.build_listen_tls, settings),
        partial(build.build_upstream_tls, settings, urls),
    ):
        try:
            load_files()
        except StartError as error:
            key, _, message = str(error).partition(": ")
            permission = error.exit_code == EXIT_PERMISSION
            loaded.problems.append(Problem(str(loaded.file or ""), key, message, permission))


def _with_file(options: dict[str, Any], file: Path | None) -> dict[str, Any]:
    return options if file is None else {**options, "config": file}

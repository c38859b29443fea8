"""The command line: `main`, one file per group of commands, each imported when it is called.

A command returns its exit code, or None for 0. What it raises is told in one line here: `ConfigError` as
every problem with exit 77 or 78, a wrong call as exit 64, what nobody expected as our bug, exit 70. Its one
warning: importing this module must stay cheap, so nothing of the other rooms is imported at its top.
"""

from __future__ import annotations

import errno
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final

import click

from sealgate.cli.exits import EXIT_BUG, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, EXIT_PERMISSION, EXIT_USAGE
from sealgate.config.errors import ConfigError

_DISK_FULL: Final = (errno.ENOSPC, errno.EDQUOT)

#: name -> (module:attribute, what it is for); the order is that of the help.
COMMANDS: Final = {
    "run": ("sealgate.cli.run:run", "Run the gateway or sidecar."),
    "demo": (
        "sealgate.cli.demo:demo",
        "Show it all in one process: broker, gateway, Celery and an attacker.",
    ),
    "dev": ("sealgate.cli.dev:dev", "Run a small broker behind a gateway, to try your own application."),
    "check-config": (
        "sealgate.cli.checking:check_config",
        "Say everything that is wrong with a configuration.",
    ),
    "print-config": ("sealgate.cli.checking:print_config", "Print the configuration as it takes effect."),
    "schema": ("sealgate.cli.checking:schema", "Print the JSON Schema of the configuration file."),
    "keys": ("sealgate.cli.keys:keys", "Generate, list, check and rotate keys."),
    "users": ("sealgate.cli.users:users", "Hash passwords, list and check users."),
    "sign": ("sealgate.cli.sealing:sign", "Sign one message given as JSON."),
    "verify": ("sealgate.cli.sealing:verify", "Verify one message given as JSON."),
    "explain": ("sealgate.cli.explain.command:explain", "Say why one message passes or not, check by check."),
    "doctor": ("sealgate.cli.doctor:doctor", "Find what is wrong with a set-up, and the line to change."),
    "quarantine": ("sealgate.cli.quarantine:quarantine", "List, show and discard refused messages."),
    "pause": ("sealgate.cli.controls:pause", "Park a task, or all that match, in the broker for now."),
    "shed": ("sealgate.cli.controls:shed", "Refuse a task, or all that match, for now."),
    "revoke": ("sealgate.cli.controls:revoke", "Refuse one task id."),
    "resume": ("sealgate.cli.controls:resume", "Let a task through again."),
    "unrevoke": ("sealgate.cli.controls:unrevoke", "Let a task id through again."),
    "controls": ("sealgate.cli.controls:controls", "List what is paused, shed and revoked."),
    "observed": (
        "sealgate.cli.observed:observed",
        "Show what rules that only observe would have refused.",
    ),
    "healthcheck": ("sealgate.cli.checking:healthcheck", "Ask a running gateway whether it is well."),
    "version": ("sealgate.cli.checking:version", "Print the version."),
}

_EPILOG: Final = """\b
Examples:
  sealgate demo
  sealgate run --upstream amqp://rabbitmq:5672
  sealgate run --config /etc/sealgate/sealgate.toml
  sealgate check-config /etc/sealgate/sealgate.toml

\b
Exit codes:
   0  all well             70  a bug in sealgate
  64  wrong usage          77  permission denied
  69  broker or store      78  configuration
      unavailable at start

Every key of the configuration can be set as SEALGATE__SECTION__KEY, too."""


class LazyGroup(click.Group):
    """A group that imports a command when it is called, and gives exit codes of its own."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, purpose) for name, (_, purpose) in COMMANDS.items()])

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run and leave the process with the command's exit code."""
        try:
            code = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        except click.ClickException as error:
            error.show()
            code = EXIT_USAGE if isinstance(error, click.UsageError) else error.exit_code
        except click.Abort:
            code = EXIT_INTERRUPTED
        if not standalone_mode:
            return code
        sys.exit(code if isinstance(code, int) else EXIT_OK)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.Abort, click.exceptions.Exit, EOFError):
            raise
        except ConfigError as error:
            click.echo(str(error), err=True)
            return error.exit_code
        except PermissionError as error:
            _tell(ctx, f"permission denied: {error.filename or error.strerror or error}")
            return EXIT_PERMISSION
        except BrokenPipeError:
            sys.stderr.close()
            return EXIT_OK
        except Exception as error:
            if isinstance(error, OSError) and error.errno in _DISK_FULL:
                _tell(ctx, f"can not write: {error.strerror}")
                return EXIT_FAILED
            _tell(ctx, f"a bug in sealgate: {type(error).__name__}: {error}")
            return EXIT_BUG


def _tell(ctx: click.Context, message: str) -> None:
    """One line about what went wrong, and with --debug where."""
    click.echo(f"sealgate: {message}", err=True)
    if ctx.params.get("debug"):
        click.echo(traceback.format_exc(), err=True)
    else:
        click.echo("(--debug or SEALGATE_DEBUG=1 shows where)", err=True)


@click.group(
    cls=LazyGroup,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("--debug", is_flag=True, envvar="SEALGATE_DEBUG", help="Show a traceback for our own bugs.")
def main(debug: bool) -> None:
    """Sealgate: nothing unsigned, replayed, malformed or over its rate reaches your broker."""

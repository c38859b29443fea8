"""`sealgate dev`: the built-in broker kept running, with a gateway and a signing sidecar in front of it."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import click

from sealgate.cli.exits import EXIT_OK, EXIT_UNAVAILABLE

_EPILOG: Final = """\b
Examples:
  sealgate dev
  sealgate dev --port 6672 --observe

\b
Point your application at the signing sidecar. What is published to the gateway directly must be
signed already, and is refused when it is not; the broker itself takes anything.
Nothing is kept when it ends: this broker is for trying, never for production."""


@click.command(epilog=_EPILOG)
@click.option("--host", default="127.0.0.1", show_default=True, help="Where all three listen.")
@click.option(
    "--port", default=6673, show_default=True, help="Port of the signing sidecar; 0 takes a free one."
)
@click.option("--gateway-port", default=6672, show_default=True, help="Port of the verifying gateway.")
@click.option("--broker-port", default=0, show_default=True, help="Port of the broker behind it.")
@click.option("--observe", is_flag=True, help="Refuse nothing, only say what would be refused.")
def dev(host: str, port: int, gateway_port: int, broker_port: int, observe: bool) -> int:
    """Run a small broker behind a gateway, to try your own application."""
    from sealgate.app.errors import StartError
    from sealgate.ops.logging import configure_logging

    configure_logging("info", "auto")
    try:
        asyncio.run(_serve(host, port, gateway_port, broker_port, observe))
    except (StartError, OSError) as error:
        click.echo(f"sealgate: {error}", err=True)
        return EXIT_UNAVAILABLE
    return EXIT_OK


async def _serve(host: str, port: int, gateway_port: int, broker_port: int, observe: bool) -> None:
    """Run until SIGINT or SIGTERM. Raises StartError and OSError when a port is taken."""
    from sealgate.cli import stack
    from sealgate.devbroker.server import DevBroker

    async with AsyncExitStack() as cleanup:
        home = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="sealgate-dev-")))
        broker = DevBroker(host, broker_port)
        await broker.start()
        cleanup.push_async_callback(broker.close)
        keys = stack.write_keys(home, "keys.toml", [stack.new_key("dev")])
        gate = stack.gateway(
            _address(host, gateway_port),
            broker.url,
            keys,
            mode={"default": "observe" if observe else "enforce"},
            content={"types": ["application/json", "application/x-msgpack"]},
        )
        cleanup.push_async_callback(gate.close)
        await gate.start()
        signer = stack.sidecar(_address(host, port), _url(host, gate.port), keys, "dev")
        cleanup.push_async_callback(signer.close)
        await signer.start()
        _print_urls(_url(host, signer.port), _url(host, gate.port), broker.url)
        await _until_stopped()


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _url(host: str, port: int) -> str:
    return f"amqp://guest:guest@{_address(host, port)}/"


def _print_urls(sidecar: str, gateway: str, broker: str) -> None:
    click.echo(f"sidecar  {sidecar}  signs: point your application here")
    click.echo(f"gateway  {gateway}  takes what is signed, refuses the rest")
    click.echo(f"broker   {broker}  built in, unprotected")
    click.echo("Ctrl-C ends it.")


async def _until_stopped() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()

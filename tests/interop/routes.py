"""The ways to a broker: direct, through one gate that passes everything, through signer and gateway.

Each time with a broker of its own, so that no suite finds what another has left. `Ends` is what a suite is
told: where to connect, plain and with TLS, and the certificates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interop.fetch import CACHE
from interop.suites import HERE, Suite
from support.certificates import Authority, Pair
from support.gateway import gateway, key, new_secret
from support.processes import accepts_tcp, free_port, wait_until
from support.rabbitmq_server import private_rabbitmq

HOST = "localhost"
#: Suites open connections faster than any application.
_LIMITS = {"connections_per_address_max": 1000}
#: Their largest messages are larger than any sane task.
_BODY_BYTES_MAX = 33_554_432


@dataclass(slots=True, frozen=True)
class Ends:
    """Where a suite finds its broker."""

    port: int
    tls_port: int
    management_port: int
    authority: Authority
    client: Pair
    #: A certificate that the broker does not know.
    other: Pair

    def values(self) -> Mapping[str, object]:
        """What `suites.toml` may put into an environment variable or a file."""
        return {
            "host": HOST,
            "clients": HERE / "clients",
            "cache": CACHE,
            "port": self.port,
            "tls_port": self.tls_port,
            "management_port": self.management_port,
            "ca": self.authority.ca,
            "cert": self.client.cert,
            "key": self.client.key,
            "other_cert": self.other.cert,
            "other_key": self.other.key,
        }


@contextmanager
def opened(route: str, suite: Suite, home: Path) -> Iterator[Ends]:
    """A fresh broker and what stands in front of it on `route`; all of it is gone afterwards."""
    authority = Authority(home / "certificates")
    server = authority.issue(HOST, "server")
    with ExitStack() as stack:
        tls_port, management_port = free_port(), free_port()
        plugins = ["rabbitmq_management"] if suite.management else []
        config = _config(authority, server, tls_port, suite.client_certificates) + suite.config + "\n"
        if suite.management:
            config += f"management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {management_port}\n"
        broker = stack.enter_context(private_rabbitmq(plugins, config))
        if suite.management:
            wait_until(lambda: accepts_tcp(management_port), 30, "the management plugin")
        port = broker.port
        if route != "direct":
            tls = {"cert": server.cert, "key": server.key}
            if suite.client_certificates:
                tls["client_ca"] = authority.ca
            gates = _Gates(stack, home, tls)
            port, tls_port = gates.passing(port) if route == "pass" else gates.chain(port)
        other = Authority(home / "other", "another authority").issue("stranger")
        yield Ends(port, tls_port, management_port, authority, authority.issue("client"), other)


def _config(authority: Authority, server: Pair, tls_port: int, client_certificates: bool) -> str:
    """TLS as the gates have it: clients need a certificate, or are not asked for one."""
    lines = [
        f"listeners.ssl.1 = 127.0.0.1:{tls_port}",
        f"ssl_options.cacertfile = {authority.ca}",
        f"ssl_options.certfile = {server.cert}",
        f"ssl_options.keyfile = {server.key}",
        f"ssl_options.verify = verify_{'peer' if client_certificates else 'none'}",
        f"ssl_options.fail_if_no_peer_cert = {str(client_certificates).lower()}",
    ]
    return "\n".join(lines) + "\n"


class _Gates:
    """Starts what stands between. A gate listens on one port: TLS has a second process of the same kind."""

    def __init__(self, stack: ExitStack, home: Path, tls: Mapping[str, str]) -> None:
        self._stack = stack
        self._home = home
        self._tls = tls
        self._keys = [key("interop", new_secret())]

    def _run(self, name: str, upstream_port: int, settings: Mapping[str, Any]) -> int:
        settings = {"limits": _LIMITS, **settings}
        process = gateway(self._home / name, upstream_port, self._keys, settings)
        return self._stack.enter_context(process).port

    def _pair(self, name: str, upstream_port: int, settings: Mapping[str, Any]) -> tuple[int, int]:
        plain = self._run(name, upstream_port, settings)
        secure = self._run(f"{name}-tls", upstream_port, {**settings, "listen": {"tls": self._tls}})
        return plain, secure

    def passing(self, broker_port: int) -> tuple[int, int]:
        """(plain, TLS) ports of a gate that looks at nothing."""
        return self._pair("pass", broker_port, {"publish": {"action": "pass"}})

    def chain(self, broker_port: int) -> tuple[int, int]:
        """(plain, TLS) ports of a signing sidecar whose upstream is a verifying gateway."""
        content = {"profile": "generic", "types": ["*"], "body_bytes_max": _BODY_BYTES_MAX}
        generic = {"content": content, "limits": _LIMITS | {"connection_bytes_max": 4 * _BODY_BYTES_MAX}}
        verifier = self._run("gateway", broker_port, generic)
        signer = {"publish": {"action": "sign", "sign_with": "interop"}, **generic}
        return self._pair("sidecar", verifier, signer)

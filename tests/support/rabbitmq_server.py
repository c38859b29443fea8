"""A private RabbitMQ for the tests: own node name, data, ports and epmd; no system service is touched.

It runs the installed server's own start script directly, because Debian's wrapper would switch to the
user `rabbitmq` and to the system's data. Works as root and as a user.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pika
import pika.exceptions

from support.processes import accepts_tcp, end, find_program, free_port, spawn, wait_until

_FOLDERS = (
    "/usr/lib/rabbitmq/bin",
    "/opt/homebrew/opt/rabbitmq/sbin",
    "/usr/local/opt/rabbitmq/sbin",
)
_START_SECONDS_MAX = 60
#: Where several lanes of tests share a processor a handshake may take longer than RabbitMQ's ten seconds.
_CONFIG = """\
listeners.tcp.1 = 127.0.0.1:{port}
loopback_users = none
disk_free_limit.absolute = 20MB
handshake_timeout = 60000
log.console = true
log.console.level = warning
"""
#: Make each virtual host and give guest everything in it.
_MAKE_VHOSTS = """
lists:foreach(fun(Name) ->
    rabbit_vhost:add(Name, <<"tests">>),
    rabbit_auth_backend_internal:set_permissions(<<"guest">>, Name, <<".*">>, <<".*">>, <<".*">>, <<"tests">>)
end, [{names}]).
"""
_DELETE_VHOSTS = """
lists:foreach(fun(Name) -> rabbit_vhost:delete(Name, <<"tests">>) end, [{names}]).
"""


def _erl_call() -> str | None:
    """Erlang's program that has a node evaluate something: milliseconds, where rabbitmqctl takes a second."""
    erl = shutil.which("erl", path=os.pathsep.join((os.environ.get("PATH", ""), *_FOLDERS)))
    found = Path(erl).resolve().parents[1].glob("erts-*/bin/erl_call") if erl else iter(())
    return next(map(str, found), None)


class RabbitMQServer:
    """One private node. `start` may be called again after `stop` or `kill`: it keeps its data and port.

    `plugins` of the server's own are enabled; `config` is more lines of rabbitmq.conf.
    """

    def __init__(self, home: Path, plugins: Sequence[str] = (), config: str = "") -> None:
        self.port = free_port()
        self.node = f"sealgate-{self.port}@127.0.0.1"
        self._cookie = f"SEALGATETESTS{self.port}"
        self.log = home / "rabbitmq.log"
        self._home = home
        self._program = find_program("rabbitmq-server", *_FOLDERS)
        self._ctl = str(Path(self._program).parent / "rabbitmqctl")
        self._epmd_port = free_port()
        self._env = self._environment()
        self._epmd: subprocess.Popen[bytes] | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._erl_call = _erl_call()
        self._vhosts: list[str] = []
        self._vhosts_made = 0
        (home / "rabbitmq.conf").write_text(_CONFIG.format(port=self.port) + config)
        (home / "enabled_plugins").write_text(f"[{','.join(plugins)}].\n")
        cookie = home / ".erlang.cookie"
        cookie.write_text(self._cookie)
        cookie.chmod(0o400)

    def _environment(self) -> dict[str, str]:
        home = self._home
        return {
            "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/usr/bin:/bin",
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": self.node,
            # A node named by its address needs no name service, and Erlang calls that a long name.
            "RABBITMQ_USE_LONGNAME": "true",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(home / "mnesia"),
            "RABBITMQ_LOG_BASE": str(home / "log"),
            "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(home / "advanced.config"),
            "RABBITMQ_CONF_ENV_FILE": str(home / "rabbitmq-env.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "enabled_plugins"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(home / "generated"),
            "RABBITMQ_PID_FILE": str(home / "rabbitmq.pid"),
            # Schedulers that spin while idle would take the tests' cores.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}"
            ),
            # Run the emulator in the start script's place: one process to signal and to kill.
            "RABBITMQ_ALLOW_INPUT": "1",
        }

    @property
    def url(self) -> str:
        """The default virtual host as guest."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}"

    def url_of(self, vhost: str) -> str:
        return f"{self.url}/{vhost}"

    @property
    def pid(self) -> int:
        """The process that a fault test may stop or kill."""
        assert self._server is not None, "RabbitMQ is not running"
        return self._server.pid

    def start(self) -> None:
        """Start the node and return when it serves AMQP; an error shows the end of its log."""
        if self._epmd is None:
            # In the foreground, as our child: the one Erlang starts by itself outlives everybody.
            self._epmd = spawn([find_program("epmd", "/opt/homebrew/bin")], self.log, self._env)
            wait_until(lambda: accepts_tcp(self._epmd_port), 10, "epmd")
        self._server = spawn([self._program, "-noinput"], self.log, self._env)
        try:
            wait_until(self._serves, _START_SECONDS_MAX, "RabbitMQ")
        except AssertionError as error:
            tail = self.log.read_text(errors="replace")[-4000:]
            raise AssertionError(f"{error}; the end of its log:\n{tail}") from None

    def _serves(self) -> bool:
        assert self._server is not None
        if self._server.poll() is not None:
            raise AssertionError(f"RabbitMQ ended with {self._server.returncode}")
        if not accepts_tcp(self.port):
            return False
        try:
            pika.BlockingConnection(self._parameters("%2F")).close()
        except (pika.exceptions.AMQPError, OSError):
            return False
        return True

    def stop(self) -> None:
        """Stop as an operator would: everything confirmed is on disk."""
        if self._server is not None:
            end(self._server)
            self._server = None

    def write_definitions(self) -> None:
        """Have what was declared on disk, before a `kill`: of thirty nodes killed at once one had lost it."""
        assert self.evaluate("mnesia:sync_log().") == "ok"

    def kill(self) -> None:
        """SIGKILL, as a power cut would."""
        if self._server is not None:
            end(self._server, signal.SIGKILL)
            self._server = None

    def close(self) -> None:
        """End node and epmd for good."""
        self.kill()
        if self._epmd is not None:
            end(self._epmd)
            self._epmd = None

    def ctl(self, *arguments: str) -> str:
        """`rabbitmqctl` on this node; its output. Costs about a second: see `evaluate`."""
        command = [self._ctl, "--node", self.node, "--quiet", *arguments]
        done = subprocess.run(command, env=self._env, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != 0:
            raise AssertionError(
                f"rabbitmqctl {arguments[0]} ended with {done.returncode}: {done.stderr.strip()}"
            )
        return done.stdout

    def evaluate(self, code: str) -> str:
        """What an Erlang expression, ended by a full stop, is on this node."""
        if self._erl_call is None:
            return self.ctl("eval", code).strip()
        command = [self._erl_call, "-name", self.node, "-c", self._cookie, "-e"]
        done = subprocess.run(
            command,
            input=f"{code.strip()}\n",
            env=self._env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        said = done.stdout.strip()
        if done.returncode != 0 or not said.startswith("{ok, "):
            raise AssertionError(f"erl_call ended with {done.returncode}: {said} {done.stderr.strip()}")
        return said.removeprefix("{ok, ").removesuffix("}")

    def new_vhost(self) -> str:
        """The name of a virtual host that no other test has used; `delete_vhosts` takes it away."""
        name = f"test{self._vhosts_made}"
        self._vhosts_made += 1
        self.make_vhosts([name])
        self._vhosts.append(name)
        return name

    def make_vhosts(self, names: list[str]) -> None:
        """Virtual hosts with these names, in which guest may do everything."""
        self.evaluate(_MAKE_VHOSTS.format(names=_binaries(names)))

    def delete_vhosts(self) -> None:
        """Those that `new_vhost` has made: each costs half a second when a killed node comes back."""
        if self._vhosts:
            self.evaluate(_DELETE_VHOSTS.format(names=_binaries(self._vhosts)))
            self._vhosts.clear()

    def queue_depths(self, vhost: str) -> dict[str, int]:
        """Messages (ready and unacknowledged) of every queue of `vhost`, as the broker counts them."""
        listing = self.ctl("list_queues", "--vhost", vhost, "--no-table-headers", "name", "messages")
        rows = [line.split("\t") for line in listing.splitlines() if line.strip()]
        return {name: int(messages) for name, messages in rows}

    def depth(self, vhost: str, queue: str) -> int:
        """Messages ready in one queue, asked over AMQP: cheap enough to poll."""
        connection = pika.BlockingConnection(self._parameters(vhost))
        try:
            declared = connection.channel().queue_declare(queue, passive=True)
            return int(declared.method.message_count)
        finally:
            connection.close()

    def fill(self, vhost: str, queue: str, count: int, body: bytes) -> None:
        """Declare a queue, and put so many messages into it."""
        with pika.BlockingConnection(self._parameters(vhost)) as connection:
            channel = connection.channel()
            channel.queue_declare(queue)
            for _ in range(count):
                channel.basic_publish("", queue, body)

    def _parameters(self, vhost: str) -> pika.URLParameters:
        return pika.URLParameters(f"{self.url_of(vhost)}?connection_attempts=1&socket_timeout=5")


def _binaries(names: list[str]) -> str:
    return ",".join(f'<<"{name}">>' for name in names)


@contextmanager
def private_rabbitmq(plugins: Sequence[str] = (), config: str = "") -> Iterator[RabbitMQServer]:
    """A started private node, gone without a trace afterwards."""
    with tempfile.TemporaryDirectory(prefix="sealgate-rabbitmq-", ignore_cleanup_errors=True) as home:
        server = RabbitMQServer(Path(home), plugins, config)
        try:
            server.start()
            yield server
        finally:
            server.close()

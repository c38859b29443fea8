"""The ways to one broker that must look the same: directly, and through gates of every kind.

pass      a gate that only relays
observe   a verifying gate that lets pass what it would have refused; nothing is sealed
verify    a verifying gate that enforces; the client seals its messages itself
worker    a signing sidecar that verifies what the broker delivers; the client knows nothing
chain     a signing sidecar in front of a verifying gate; the client knows nothing
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from sealgate.session.handshake import ADDED_HEADER_BYTES_MAX
from sealgate.signing.algorithms import HmacSha256
from sealgate.signing.keyring import Key, Keyring
from sealgate.verify.message import Message, Peer
from sealgate.verify.sealer import Sealer, SignerSession
from support.gateway import GatewayProcess, key, new_secret
from support.processes import wait_until
from support.rabbitmq_server import RabbitMQServer
from support.speaker import Seal, Way
from support.transcript import Notation

DIRECT = "direct"
GATED = ("pass", "observe", "verify", "worker", "chain")
#: Names of one length: texts that hold them are then as long on every way.
VHOSTS = {
    DIRECT: "way-d",
    "pass": "way-p",
    "observe": "way-o",
    "verify": "way-v",
    "worker": "way-w",
    "chain": "way-c",
}
DEPLOYMENT = "prod"
#: Bodies are left unread and every type is taken: what is under test is the protocol.
ANY_CONTENT = {"content": {"profile": "generic", "types": ["*"]}}
#: Conversations run at the same time, from one address.
ROOM = {"limits": {"connections_per_address_max": 2000}}
VERIFYING: dict[str, Any] = {**ANY_CONTENT, **ROOM, "replay": {"clock_skew": "1s"}}

JUDGED = {"action": "verify", "queue": [{"match": "*", "target": "dead_letter"}]}

#: A virtual host and a user that may have no connections, a user who may do nothing, and a mechanism of
#: two rounds.
_MAKE_USERS = """
lists:foreach(fun(Name) -> rabbit_auth_backend_internal:add_user(Name, Name, <<"tests">>) end,
              [<<"limited">>, <<"stranger">>]),
lists:foreach(fun(Vhost) ->
    rabbit_auth_backend_internal:set_permissions(
        <<"limited">>, Vhost, <<".*">>, <<".*">>, <<".*">>, <<"tests">>)
end, [{vhosts}]),
rabbit_auth_backend_internal:set_user_limits(<<"limited">>, #{{<<"max-connections">> => 0}}, <<"tests">>),
application:set_env(rabbit, auth_mechanisms, ['PLAIN', 'AMQPLAIN', 'RABBIT-CR-DEMO']),
rabbit_vhost_limit:set(<<"full">>, [{{<<"max-connections">>, 0}}], <<"tests">>).
"""


class Ways:
    """All of them, in front of one broker; `gates` by their name, the sidecar as `chain`."""

    def __init__(self, ways: dict[str, Way], gates: dict[str, GatewayProcess]) -> None:
        self.ways = ways
        self.gates = gates


@contextmanager
def ways_to(broker: RabbitMQServer, home: Path) -> Iterator[Ways]:
    """Start a gate of each kind, and make a virtual host for each way."""
    secret = new_secret()
    keys = [key("k1", secret, classes=["task", "result", "event", "control"])]
    signer = Key("k1", HmacSha256(bytes.fromhex(secret.removeprefix("hex:"))))
    broker.make_vhosts([*VHOSTS.values(), "full"])
    names = ",".join(f'<<"{name}">>' for name in VHOSTS.values())
    broker.evaluate(_MAKE_USERS.format(vhosts=names))
    with ExitStack() as running:
        # Its threads must outlive the processes that they start: the kernel kills those with their thread.
        starters = running.enter_context(ThreadPoolExecutor(2))

        def gate(name: str, upstream: int, settings: dict[str, Any]) -> GatewayProcess:
            kept = {"quarantine": {"exchange": f"quarantine.{name}", "url": broker.url}}
            process = GatewayProcess(home / name, upstream, keys, {**settings, **kept})
            running.callback(process.stop, signal.SIGKILL)
            return process

        gates = {
            "pass": gate("pass", broker.port, {**ROOM, "publish": {"action": "pass"}}),
            "observe": gate("observe", broker.port, {**VERIFYING, "mode": {"default": "observe"}}),
            "verify": gate("verify", broker.port, VERIFYING),
            "chained": gate("chained", broker.port, VERIFYING),
        }
        signing = {**ROOM, "publish": {"action": "sign", "sign_with": "k1"}}
        gates["worker"] = gate("worker", broker.port, {**ANY_CONTENT, **signing, "deliver": JUDGED})
        gates["chain"] = gate("chain", gates["chained"].port, signing)
        list(starters.map(GatewayProcess.start, gates.values()))
        started = time.time()
        # Stored nonces made before a memory store's gateway had started are not taken.
        wait_until(lambda: time.time() > started + 2, 5, "the horizon of the memory store")
        yield Ways(_ways(broker, gates, signer), gates)


def _ways(broker: RabbitMQServer, gates: dict[str, GatewayProcess], signer: Key) -> dict[str, Way]:
    notations = {
        DIRECT: Notation(VHOSTS[DIRECT]),
        "pass": Notation(VHOSTS["pass"]),
        "observe": Notation(VHOSTS["observe"], strips_challenge=True),
        "verify": Notation(VHOSTS["verify"], strips_challenge=True, strips_seal=True),
        # The room for the seal is taken from the frame_max that the client is offered.
        "worker": Notation(VHOSTS["worker"], frame_max_taken=ADDED_HEADER_BYTES_MAX),
        "chain": Notation(VHOSTS["chain"], strips_seal=True, frame_max_taken=ADDED_HEADER_BYTES_MAX),
    }
    ways = {}
    for name, notation in notations.items():
        port = gates[name].port if name in gates else broker.port
        vhost = VHOSTS[name]
        seal = _seal(signer, vhost) if name == "verify" else None
        ways[name] = Way(port, vhost, notation, seal, name != DIRECT)
    return ways


def _seal(signer: Key, vhost: str) -> Seal:
    sealer = Sealer(Keyring([signer]), signer.kid, DEPLOYMENT, os.urandom)

    def seal(message: Message) -> bytes:
        return sealer.seal(message, Peer(DEPLOYMENT, vhost), SignerSession(), time.time())

    return seal

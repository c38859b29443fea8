"""Presets: complete policies that one line selects, for the places where Sealgate stands.

A preset is the layer below the file (`layers.py`): the file, the environment and the command line change any
key of it. It says all that makes up the policy of its place, also where that is the default today, so that a
default that changes later does not change it. What only the operator knows (brokers, keys, rates, rules,
where the journal is) is in none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sealgate.config.layers import Layer

Tables = Mapping[str, Mapping[str, Any]]

_ORIGIN: Final = "preset "
#: Off in a sidecar's preset for want of the other one.
_KEPT: Final = ("quarantine", "enabled")
_KEPT_WHERE: Final = ("quarantine", "url")

#: Each client of a sidecar comes from 127.0.0.1, and all clients of a host reach the gateway from one
#: address: the default of 100 is for clients that come by themselves.
_CONNECTIONS_OF_A_HOST: Final = 1000

#: A gateway before the broker: nothing unsigned, altered, replayed or malformed gets past it.
_GATEWAY: Final[Tables] = {
    "listen": {"address": "0.0.0.0:6672"},
    "publish": {"action": "verify"},
    "deliver": {"action": "pass"},
    "replay": {"max_age": "5m", "clock_skew": "30s", "nonces": "any"},
    "refuse": {"confirmed": "auto", "unconfirmed": "quarantine", "over_rate": "delay", "delay_max": "1h"},
    "quarantine": {"enabled": True},
    "mode": {"default": "enforce"},
    "limits": {"connections_per_address_max": _CONNECTIONS_OF_A_HOST},
}
#: Beside the processes of one host. What it refuses is told by closing the channel: its upstream is a
#: gateway, which would take no record for quarantine without a seal. Once quarantine.url says where, it is
#: kept there.
_SIDECAR: Final[Tables] = {
    "listen": {"address": "127.0.0.1:6672"},
    "publish": {"action": "sign"},
    "deliver": {"action": "pass"},
    "refuse": {"confirmed": "auto", "unconfirmed": "close"},
    "quarantine": {"enabled": False},
    "mode": {"default": "enforce"},
    "limits": {"connections_per_address_max": _CONNECTIONS_OF_A_HOST},
}
#: A worker sees nothing but sealed messages, whoever writes to the broker. The target of quorum queues'
#: delayed delivery is one that was signed as well.
_DELIVERIES: Final[Tables] = {
    "publish": {"sign_with": "worker"},
    "deliver": {
        "action": "verify",
        "require": "producer",
        "queue": [{"match": "*", "target": "delayed"}],
    },
}
#: What Celery sends when nothing else is configured; pickle and yaml can not be proven and stay out.
_CELERY: Final[Tables] = {
    "content": {
        "profile": "celery",
        "types": ["application/json"],
        "compression": [],
        "b64_pickle": "flag",
    },
    "celery": {"protocol_1": False},
}


def _with(*parts: Tables) -> Tables:
    """All of `parts` together, later ones over earlier ones."""
    tables: dict[str, dict[str, Any]] = {}
    for part in parts:
        for section, values in part.items():
            tables.setdefault(section, {}).update(values)
    return tables


PRESETS: Final[Mapping[str, Tables]] = {
    "celery-gateway": _with(_GATEWAY, _CELERY),
    "celery-producer": _with(_SIDECAR, _CELERY, {"publish": {"sign_with": "producer"}}),
    "celery-worker": _with(_SIDECAR, _CELERY, _DELIVERIES),
    # Both send JSON bodies under no content type (dramatiq 1.17 on pika, taskiq-aio-pika 0.4).
    "dramatiq": _with(_GATEWAY, {"content": {"profile": "dramatiq", "types": [""], "compression": []}}),
    "taskiq": _with(_GATEWAY, {"content": {"profile": "taskiq", "types": [""], "compression": []}}),
    # Any AMQP client: who sent it, where to and when is checked, and what is in it is left alone.
    "plain": _with(_GATEWAY, {"content": {"profile": "generic", "types": ["*"], "compression": []}}),
}


def is_preset(origin: str) -> bool:
    """Whether `origin` is what `preset_layer` calls a preset."""
    return origin.startswith(_ORIGIN)


def preset_layer(given: Layer) -> Layer:
    """The layer of the preset that `given` names, to lie below it; an empty one where it names none."""
    layer = Layer()
    name = given.values.get("preset")
    tables = PRESETS.get(name) if isinstance(name, str) else None
    for section, values in (tables or {}).items():
        for key, value in values.items():
            if (section, key) == _KEPT and given.origin(_KEPT_WHERE) is not None:
                continue
            layer.put((section, key), value, f"{_ORIGIN}{name}")
    return layer

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from support.processes import free_port
from support.rabbitmq_server import RabbitMQServer, private_rabbitmq

#: `sealgate` may do what a gateway needs, `halfway` may not publish elsewhere, `weak` may log in and no more.
_USERS = """
Rights = [{<<"sealgate">>, <<"^sealgate\\.">>, <<".*">>, <<"^sealgate\\.">>},
          {<<"halfway">>, <<"^sealgate\\.">>, <<"^sealgate\\.">>, <<"^sealgate\\.">>},
          {<<"weak">>, <<"^$">>, <<"^$">>, <<"^$">>}],
VHosts = [<<"taken">>, <<"filling">>],
lists:foreach(fun(VHost) ->
    rabbit_vhost:add(VHost, <<"tests">>),
    All = <<".*">>,
    rabbit_auth_backend_internal:set_permissions(<<"guest">>, VHost, All, All, All, <<"tests">>)
end, VHosts),
lists:foreach(fun({User, Configure, Write, Read}) ->
    rabbit_auth_backend_internal:add_user(User, <<"Rq7broker">>, <<"tests">>),
    lists:foreach(fun(VHost) ->
        rabbit_auth_backend_internal:set_permissions(User, VHost, Configure, Write, Read, <<"tests">>)
    end, [<<"/">> | VHosts])
end, Rights).
"""


@dataclass(frozen=True)
class Managed:
    """A RabbitMQ with its management API."""

    server: RabbitMQServer
    management: str


@pytest.fixture(scope="session")
def managed() -> Iterator[Managed]:
    """A private RabbitMQ with the users and virtual hosts of `_USERS`."""
    port = free_port()
    config = f"management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {port}\n"
    config += "collect_statistics_interval = 1000\n"
    with private_rabbitmq(["rabbitmq_management"], config) as server:
        server.evaluate(_USERS)
        yield Managed(server, f"http://guest:guest@127.0.0.1:{port}")

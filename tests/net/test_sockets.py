from __future__ import annotations

import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from sealgate.net.sockets import bind, plain_address, reserve, turn_away


@pytest.mark.asyncio
async def test_address_in_use_is_an_error_that_names_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"in use.*127.0.0.1.*{port}"):
            await bind("127.0.0.1", port)


@pytest.mark.asyncio
async def test_name_of_nothing_is_an_error() -> None:
    with pytest.raises(OSError):
        await bind("no such host", 0)


@pytest.mark.asyncio
@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::", "localhost"])
async def test_reserved_port_takes_no_client_and_lets_others_listen(host: str) -> None:
    with ExitStack() as closing:
        port = await reserve(host, 0, closing)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, port))
        for _ in range(2):
            for listening in await bind(host, port, reuse_port=True):
                closing.enter_context(listening)
        with pytest.raises(OSError, match="in use"):
            await bind(host, port)
        with socket.create_connection((host, port)):
            pass


@pytest.mark.asyncio
async def test_port_of_somebody_else_can_not_be_reserved() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        ExitStack() as closing,
        pytest.raises(OSError, match="in use"),
    ):
        await reserve("127.0.0.1", taken.getsockname()[1], closing)


def test_addresses_are_told_and_counted_as_people_write_them() -> None:
    assert plain_address("::ffff:10.0.0.7") == "10.0.0.7"
    assert plain_address("10.0.0.7") == "10.0.0.7"
    assert plain_address("fe80::1%eth0") == "fe80::1"
    assert plain_address("2001:DB8:0::1") == "2001:db8::1"


@pytest.mark.skipif(sys.platform != "linux", reason="a filter of Linux")
def test_who_is_turned_away_comes_to_the_next_listener_and_who_was_in_stays() -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=True, backlog=100) as old:
        address = old.getsockname()
        early = [socket.create_connection(address) for _ in range(5)]
        assert turn_away(old)
        with (
            socket.create_server(address, reuse_port=True, backlog=100) as new,
            ThreadPoolExecutor(20) as threads,
        ):
            knocking = [threads.submit(socket.create_connection, address, 20) for _ in range(20)]
            served = accept_all(old, 5)
            for client in early:
                client.sendall(b"x")
            assert [accepted.recv(1) for accepted in served] == [b"x"] * 5
            old.setblocking(False)
            with pytest.raises(BlockingIOError):
                old.accept()
            old.close()
            late = accept_all(new, 20)
            clients = [knock.result() for knock in knocking]
            for opened in (*early, *served, *late, *clients):
                opened.close()


def accept_all(listening: socket.socket, count: int) -> list[socket.socket]:
    listening.settimeout(20)
    return [listening.accept()[0] for _ in range(count)]

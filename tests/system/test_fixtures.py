"""The private servers that the other tests stand on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pika
import pika.exceptions
import pytest

from support.processes import accepts_tcp, free_port, wait_until
from support.rabbitmq_server import RabbitMQServer

pytestmark = pytest.mark.system

TESTS = Path(__file__).parents[1]


def publish(server: RabbitMQServer, vhost: str, queue: str, count: int) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(server.url_of(vhost)))
    channel = connection.channel()
    channel.confirm_delivery()
    channel.queue_declare(queue, durable=True)
    persistent = pika.BasicProperties(delivery_mode=2)
    for number in range(count):
        channel.basic_publish("", queue, f"message {number}".encode(), persistent)
    connection.close()


def test_a_virtual_host_is_fresh_and_its_depths_are_the_brokers(rabbitmq: RabbitMQServer) -> None:
    first, second = rabbitmq.new_vhost(), rabbitmq.new_vhost()
    assert first != second
    publish(rabbitmq, first, "orders", 3)
    assert rabbitmq.queue_depths(first) == {"orders": 3}
    assert rabbitmq.depth(first, "orders") == 3
    assert rabbitmq.queue_depths(second) == {}


def test_virtual_hosts_are_gone_once_they_are_over(rabbitmq: RabbitMQServer, vhost: str) -> None:
    assert vhost in rabbitmq.ctl("list_vhosts")
    rabbitmq.delete_vhosts()
    assert vhost not in rabbitmq.ctl("list_vhosts")


def test_a_mistake_in_what_a_node_evaluates_is_told(rabbitmq: RabbitMQServer) -> None:
    assert rabbitmq.evaluate("1 + 1.") == "2"
    with pytest.raises(AssertionError, match="no_such"):
        rabbitmq.evaluate("lists:no_such(1).")


def test_a_killed_node_starts_again_with_what_it_had_confirmed(rabbitmq: RabbitMQServer, vhost: str) -> None:
    publish(rabbitmq, vhost, "orders", 5)
    rabbitmq.write_definitions()
    before = rabbitmq.pid
    rabbitmq.kill()
    try:
        assert not accepts_tcp(rabbitmq.port)
    finally:
        rabbitmq.start()
    assert rabbitmq.pid != before

    def recovered() -> bool:
        # The port answers before every queue of the node is back.
        try:
            return rabbitmq.depth(vhost, "orders") == 5
        except pika.exceptions.AMQPError:
            return False

    wait_until(recovered, 90, "the confirmed messages")


def test_no_port_is_given_to_two_processes() -> None:
    program = "from support.processes import free_port; print(*(free_port() for _ in range(250)))"
    command, env = [sys.executable, "-c", program], {**os.environ, "PYTHONPATH": str(TESTS)}
    others = [subprocess.Popen(command, env=env, stdout=subprocess.PIPE) for _ in range(3)]
    given = [free_port() for _ in range(250)]
    for other in others:
        given += map(int, other.communicate(timeout=60)[0].split())
    assert len(given) == len(set(given)) == 1000


def test_the_node_is_private(rabbitmq: RabbitMQServer) -> None:
    assert rabbitmq.evaluate("os:getpid().").strip('"') == str(rabbitmq.pid)
    assert rabbitmq.port != 5672
    os.kill(rabbitmq.pid, 0)

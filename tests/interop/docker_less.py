"""Loaded into the test run of aio-pika, which would start its broker in a container: it gets ours."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from tests import docker_client

_PORTS = {"5672/tcp": int(os.environ["INTEROP_PORT"]), "5671/tcp": int(os.environ["INTEROP_TLS_PORT"])}


def _container() -> docker_client.ContainerInfo:
    return docker_client.ContainerInfo(id="ours", ports=_PORTS, host="127.0.0.1")


class _Client:
    """Takes the place of the suite's own client of the Docker daemon."""

    def __init__(self, host: object = None) -> None:
        pass

    def run(
        self, image: str, ports: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> docker_client.ContainerInfo:
        return _container()

    def kill(self, container: str) -> None:
        pass

    def remove(self, container: str) -> None:
        pass


docker_client.DockerClient = _Client
docker_client.check_docker_available = lambda: docker_client.DockerHostInfo(is_tcp=False)

"""A private AWS Secrets Manager for the tests: moto's server, in this process."""

from __future__ import annotations

import logging
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from support.processes import free_port
from support.vault_server import needs

REGION = "eu-central-1"
#: What boto3 reads; nothing of this machine's own.
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    "AWS_CONFIG_FILE": "/dev/null",
}


class AwsServer:
    """Secrets Manager at `url`. `secret` makes one, `stage` moves its versions."""

    def __init__(self, url: str) -> None:
        import boto3

        self.url = url
        self.client: Any = boto3.client(
            "secretsmanager",
            region_name=REGION,
            endpoint_url=url,
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )

    def secret(self, name: str, text: str) -> str:
        """Make it; its first version's id."""
        return str(self.client.create_secret(Name=name, SecretString=text)["VersionId"])

    def add(self, name: str, text: str, *stages: str) -> str:
        """One more version, in these stages (AWSCURRENT without any); its id."""
        options = {"VersionStages": list(stages)} if stages else {}
        return str(self.client.put_secret_value(SecretId=name, SecretString=text, **options)["VersionId"])

    def promote(self, name: str, version: str) -> None:
        """Make `version` the current one, as a rotation ends: the one before becomes AWSPREVIOUS."""
        current = self.client.get_secret_value(SecretId=name, VersionStage="AWSCURRENT")["VersionId"]
        self.client.update_secret_version_stage(
            SecretId=name, VersionStage="AWSCURRENT", MoveToVersionId=version, RemoveFromVersionId=current
        )
        self.client.update_secret_version_stage(
            SecretId=name, VersionStage="AWSPENDING", RemoveFromVersionId=version
        )


@contextmanager
def private_aws() -> Iterator[AwsServer]:
    """A running server; skips where moto is not installed."""
    needs("moto", "flask", "flask_cors", "boto3")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from moto.server import ThreadedMotoServer
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    port = free_port()
    server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
    server.start()
    # What it holds belongs to the process, and another test may have been here.
    urllib.request.urlopen(
        urllib.request.Request(f"http://127.0.0.1:{port}/moto-api/reset", method="POST")
    ).close()
    try:
        yield AwsServer(f"http://127.0.0.1:{port}")
    finally:
        server.stop()

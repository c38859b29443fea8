"""The tables of the secret stores, `[vault]` and `[aws]`: how references to them are read."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sealgate.config import fields as f
from sealgate.config.section import Section


class Vault(Section):
    address: f.HttpUrl | None = None
    """Vault or OpenBao, such as https://vault.internal:8200; VAULT_ADDR when absent."""
    namespace: f.Name | None = None
    """Namespace of all paths; VAULT_NAMESPACE when absent."""
    ca: f.FilePath | None = None
    """CA bundle for its certificate, PEM file; VAULT_CACERT when absent, else the system's."""
    auth: Literal["token", "approle", "kubernetes"] = "token"
    """How to log in to it."""
    mount: f.Name | None = None
    """Where that way to log in is mounted; its usual name when absent."""
    token: f.LocalSecret = Field(default="env:VAULT_TOKEN", repr=False)
    """The token (auth = "token"); a file is read again at each login, so that an agent may renew it."""
    role: f.Name | None = None
    """Role (auth = "kubernetes")."""
    role_id: f.LocalSecret | None = Field(default=None, repr=False)
    """Role id (auth = "approle")."""
    secret_id: f.LocalSecret | None = Field(default=None, repr=False)
    """Secret id (auth = "approle")."""
    jwt: f.FilePath = "/var/run/secrets/kubernetes.io/serviceaccount/token"
    """The service account's token (auth = "kubernetes")."""
    timeout: f.PositiveDuration = 5.0
    """How long one answer may take to begin."""


class Aws(Section):
    region: f.Name | None = None
    """Region; that of boto3 (AWS_REGION, profile) when absent."""
    profile: f.Name | None = None
    """Profile of the AWS configuration files; credentials come as boto3 finds them."""
    endpoint: f.HttpUrl | None = None
    """Instead of Amazon's own, such as that of a VPC."""
    timeout: f.PositiveDuration = 5.0
    """How long one answer may take to begin."""

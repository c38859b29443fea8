"""`keys rotate` of a key file in a field of a secret in Vault, which is a real OpenBao."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sealgate.cli.keys.keyfiles import read_files, write_files
from sealgate.config.errors import ConfigError
from sealgate.config.loading import load
from sealgate.config.sources import read_keyring, sources_of
from sealgate.signing.keyring import Keyring
from sealgate.signing.material import generate_hmac
from support.rotating import GatewayOf, Keys, Rotate, a_key
from support.vault_server import ROOT_TOKEN, VaultServer, private_vault

pytestmark = pytest.mark.system
SOURCE = "vault:secret/data/sealgate#keys"


@pytest.fixture(scope="module")
def vault() -> Iterator[VaultServer]:
    with private_vault() as server:
        yield server


def _config(folder: Path, vault: VaultServer, token: str = ROOT_TOKEN) -> Path:
    file = folder / "sealgate.toml"
    file.touch(mode=0o600)
    file.write_text(
        f'[upstream]\nurls = ["amqp://127.0.0.1"]\n[admin]\nenabled = false\n[keys]\nsource = "{SOURCE}"\n'
        f'[vault]\naddress = "{vault.url}"\ntoken = "{token}"\n'
    )
    return file


@pytest.fixture
def config(vault: VaultServer, tmp_path: Path) -> Path:
    """With a fresh secret: a key file, and something else."""
    table = f'# Ours.\n[[key]]\nkid = "k1"\nalg = "hmac-sha256"\nsecret = "{generate_hmac(os.urandom(32))}"\n'
    vault.put("sealgate", keys=f'{table}tasks = ["shop.*"] # only\n', other="kept")
    return _config(tmp_path, vault)


def ring(config: Path) -> Keyring:
    return read_keyring(SOURCE, sources_of(load(config, {}, ()).settings, {}))


def states(config: Path) -> dict[str, str]:
    return {key.kid: key.state.value for key in ring(config)}


def version(vault: VaultServer) -> int:
    return int(vault.api("GET", "secret/data/sealgate")["data"]["metadata"]["version"])


def test_key_file_in_vault_goes_through_a_whole_rotation(
    vault: VaultServer, config: Path, rotate: Rotate, gateway_of: GatewayOf
) -> None:
    before = version(vault)
    begun = rotate("begin", SOURCE, "-c", config, "--kid", "k1")
    assert (begun.exit_code, begun.stdout) == (0, ""), begun.output
    assert states(config) == {"k1": "active", "k2": "verify"}
    assert rotate("begin", SOURCE, "-c", config, "--kid", "k1").exit_code == 78
    assert rotate("promote", SOURCE, "-c", config, "--kid", "k2").exit_code == 69
    ready = gateway_of(a_key("k1"), a_key("k2", "verify"))
    assert rotate("promote", SOURCE, "-c", config, "--kid", "k2", *ready.gateway).exit_code == 0
    assert states(config) == {"k1": "verify", "k2": "active"}
    assert "k1 -> k2" in rotate("status", "-c", config).stdout
    assert rotate("revoke", "k1", SOURCE, "-c", config).exit_code == 0
    assert rotate("retire", SOURCE, "-c", config, "--kid", "k1").exit_code == 0
    assert states(config) == {"k2": "active"}
    found = vault.api("GET", "secret/data/sealgate")["data"]["data"]
    assert found["other"] == "kept"
    assert found["keys"].startswith('# Ours.\n[[key]]\nkid = "k2"\n') and "# only" in found["keys"]
    assert version(vault) == before + 4


def test_secret_that_somebody_else_changed_is_left_alone(
    vault: VaultServer, config: Path, tmp_path: Path
) -> None:
    """And so is the file beside it, which is put back."""
    keys = Keys(tmp_path / "files")
    before = keys.text()
    read = read_files([keys.path, Path(SOURCE)], load(config, {}, ()).settings)
    read[0].text.change("worker", {"state": "verify"})
    read[1].text.change("k1", {"state": "verify"})
    vault.put("sealgate", keys="[[key]]\n", other="theirs")
    with pytest.raises(ConfigError, match="changed by somebody else meanwhile") as refused:
        write_files(read)
    assert refused.value.exit_code == 69
    assert keys.text() == before
    assert vault.api("GET", "secret/data/sealgate")["data"]["data"]["other"] == "theirs"


def test_token_that_may_only_read_is_a_permission_error(
    vault: VaultServer, config: Path, rotate: Rotate, tmp_path: Path
) -> None:
    before = version(vault)
    reader = _config(tmp_path, vault, vault.new_token())
    refused = rotate("begin", SOURCE, "-c", reader, "--kid", "k1")
    assert (refused.exit_code, "writing it is not allowed" in refused.stderr) == (77, True)
    assert version(vault) == before


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ("vault:secret/data/none#keys", "there is no such secret"),
        ("vault:secret/data/sealgate#none", "there is no such field"),
        ("vault:secret/data/sealgate#other", "holds no key file"),
        ("vault:secret#keys", "must be followed by MOUNT/data/PATH"),
    ],
)
def test_what_is_no_key_file_is_told(config: Path, rotate: Rotate, reference: str, told: str) -> None:
    refused = rotate("begin", reference, "-c", config, "--kid", "k1")
    assert (refused.exit_code, told in refused.stderr) == (78, True), refused.output

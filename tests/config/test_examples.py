"""The files in configs/: they load, every key of the model is there, every key is commented."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from sealgate.accounts.userfile import load_users
from sealgate.accounts.users import BrokerLogin
from sealgate.config.loading import load
from sealgate.config.paths import leaves
from sealgate.config.settings import Bound, Rule, Settings
from sealgate.signing.keyfile import load_keyring
from sealgate.signing.material import generate_hmac

CONFIGS = Path(__file__).parents[2] / "configs"
RANDOM = bytes.fromhex("8f1d3ac0527be966044ecd91b82f70a35d16e83bf4297ac5016b9edf4480d237")
SETTINGS_FILES = ["gateway.toml", "signing-sidecar.toml", "worker-sidecar.toml"]

#: A key, on or off (`#key = ...`), and the head of a table, on or off.
_KEY = re.compile(r"#?([A-Za-z0-9_]+|\"[^\"]+\") = ")
_TABLE = re.compile(r"#?\[\[?([a-z.]+)\]?\]")


def switched_on(text: str) -> dict[str, Any]:
    """The file with every key that is off taken as on."""
    return tomllib.loads(re.sub(r"(?m)^#(?=[\[\"a-z])", "", text))


def without_comment_of_its_own(text: str) -> list[str]:
    lines = text.splitlines()
    return [
        line
        for above, line in zip(["", *lines], lines, strict=False)
        if _KEY.match(line) and not above.startswith("# ")
    ]


def missing_keys(text: str) -> list[str]:
    """Keys of the model that the file does not name, on or off."""
    tree = switched_on(text)
    found = []
    for path in leaves():
        table: Any = tree
        for part in path:
            table = table.get(part) if isinstance(table, dict) else None
        if table is None:
            found.append(".".join(map(str, path)))
    for key, model in (("rule", Rule), ("bound", Bound)):
        table = tree.get(key, [{}])[0]
        found += [f"{key}.{name}" for name in model.model_fields if name not in table]
    return found


@pytest.fixture
def gateway() -> str:
    return (CONFIGS / "gateway.toml").read_text()


@pytest.mark.parametrize("name", SETTINGS_FILES)
def test_shipped_file_loads(name: str) -> None:
    assert load(CONFIGS / name, environ={}).problems == []


def test_sidecars_sign_and_pass() -> None:
    for name, kid in (("signing-sidecar.toml", "k1"), ("worker-sidecar.toml", "worker")):
        settings = load(CONFIGS / name, environ={}).require()
        assert (settings.publish.action, settings.publish.sign_with) == ("sign", kid)
        assert settings.deliver.action == "pass"
        assert settings.listen.address.host == "127.0.0.1"


@pytest.mark.parametrize("name", [*SETTINGS_FILES, "keys.toml", "users.toml"])
def test_every_key_has_a_comment_above_it(name: str) -> None:
    lines = without_comment_of_its_own((CONFIGS / name).read_text())
    # Rates and the bounds of a key's life are explained once, above the first.
    assert [line for line in lines if not re.match(r'#?(".*" = |not_after = )', line)] == []


def test_a_key_without_comment_is_found(gateway: str) -> None:
    text = re.sub(r"(?m)^# .*\n# .*\n(?=exchange = )", "", gateway)
    assert 'exchange = "sealgate.quarantine"' in without_comment_of_its_own(text)


def test_gateway_file_has_every_key_of_the_model(gateway: str) -> None:
    assert missing_keys(gateway) == []


def test_a_key_missing_from_the_gateway_file_is_found(gateway: str) -> None:
    for name in ("channel_max", "server_name", "countersign_with"):
        text = re.sub(rf"(?m)^#?{name} = .*\n", "", gateway)
        assert [key.rpartition(".")[2] for key in missing_keys(text)] == [name]


def test_gateway_file_loads_with_every_key_on(gateway: str, tmp_path: Path) -> None:
    file = tmp_path / "all.toml"
    file.write_text(re.sub(r"(?m)^#(?=[\[\"a-z])", "", gateway))
    problems = load(file, environ={"SEALGATE_QUARANTINE_URL": "amqp://q:secret@rabbitmq"}).problems
    # The only contradictions are those between keys that no file would set together.
    assert [problem.key for problem in problems] == [
        "upstream.tls", "credentials.users", "credentials.user", "credentials.password", "publish.sign_with",
        "deliver.queue",
    ]  # fmt: skip


def test_defaults_told_in_the_gateway_file_are_those_of_the_model(gateway: str) -> None:
    told = _defaults_told(gateway)
    tree = Settings().model_dump(mode="json")
    for path, text in told.items():
        value: Any = tree
        for part in path:
            value = value[part] if isinstance(value, dict) else None
        expected = tomllib.loads(f"v = {text}")["v"] if not text.startswith("off") else None
        if path[:2] == ("upstream", "tls") and text == "true":
            value = True  # the table is off, so the model's dump does not have it
        assert value == expected, path
    silent = (
        set(leaves())
        - set(told)
        - {
            *[("rate",), ("rule",), ("bound",)],
            ("upstream", "urls"),
            ("deliver", "queue"),
        }
    )
    assert silent == {("listen", "tls", key) for key in ("cert", "key", "names")}


def _defaults_told(text: str) -> dict[tuple[str, ...], str]:
    """Path to the text after `# Default:`, for every key on or off, but those of rules and bounds."""
    told: dict[tuple[str, ...], str] = {}
    section: tuple[str, ...] = ()
    default = ""
    for line in text.splitlines():
        if line.startswith("# Default: "):
            default = line.removeprefix("# Default: ")
        elif match := _TABLE.match(line):
            section, default = tuple(match[1].split(".")), ""
        elif (match := _KEY.match(line)) and default and section not in (("rule",), ("bound",), ("rate",)):
            told[*section, match[1]], default = default, ""
    return told


@pytest.mark.parametrize("every", [False, True])
def test_users_file_loads(every: bool) -> None:
    text = (CONFIGS / "users.toml").read_text()
    if every:
        text = re.sub(r"(?m)^#(?=[a-z])", "", text)
    secrets = {"env:SEALGATE_REPORTS": "one", "env:SEALGATE_WEB": "two"}
    (web, reports), warnings = load_users(text, secrets.__getitem__, BrokerLogin("sealgate", "three"))
    assert warnings == []
    assert (web.name, web.vhosts, web.active, web.certificate != "") == ("web", ("/", "shop-*"), True, every)
    assert web.broker == (BrokerLogin("web", "two") if every else BrokerLogin("sealgate", "three"))
    assert reports.password is None


def test_keys_file_loads_with_secrets_from_the_environment() -> None:
    secrets = {"env:SEALGATE_K1": generate_hmac(RANDOM), "env:SEALGATE_WORKER": generate_hmac(RANDOM[::-1])}
    text = (CONFIGS / "keys.toml").read_text()
    keyring, warnings = load_keyring(text, secrets.__getitem__)
    assert keyring.kids() == ("k1", "worker")
    assert warnings == []

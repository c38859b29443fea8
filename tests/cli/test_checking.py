from __future__ import annotations

import json
import os
import socket
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from click.testing import CliRunner, Result

from sealgate import __version__
from sealgate.cli import main
from sealgate.variant import core_variant
from support.certificates import Authority
from support.config_files import GOOD, KEYS, SECRET, write
from support.vault_server import needs


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SEALGATE")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TEST_K1", SECRET)


def run(*arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(main, list(arguments), env=environ)


@pytest.fixture
def good(tmp_path: Path) -> Path:
    keys = write(tmp_path / "keys.toml", KEYS)
    return write(tmp_path / "sealgate.toml", f'{GOOD}keys.source = "file:{keys}"\n')


def test_good_file_is_ok_and_silent(good: Path) -> None:
    result = run("check-config", str(good))
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"{good}: ok\n", "")


def test_no_file_is_needed() -> None:
    result = run("check-config", "--upstream", "amqp://localhost", SEALGATE_KEYS=f"k1={SECRET}")
    assert (result.exit_code, result.stdout) == (0, "configuration: ok\n")


def test_world_readable_key_file_is_warned_about(good: Path) -> None:
    keys = write(good.parent / "keys.toml", KEYS, 0o644)
    result = run("check-config", str(good))
    assert result.exit_code == 0
    assert result.stderr.startswith(f"warning: {keys}: can be read by every user of this machine (mode 0644)")


def test_group_writable_secret_file_is_warned_about(good: Path) -> None:
    secret = write(good.parent / "k1", SECRET, 0o660)
    write(good.parent / "keys.toml", KEYS.replace("env:TEST_K1", f"file:{secret}"))
    result = run("check-config", str(good))
    assert result.exit_code == 0
    assert result.stderr.startswith(f"warning: {secret}: can be changed by others than its owner (mode 0660)")


def test_secret_written_into_the_key_file_is_warned_about(good: Path) -> None:
    keys = write(good.parent / "keys.toml", KEYS.replace("env:TEST_K1", SECRET))
    result = run("check-config", str(good))
    assert result.exit_code == 0
    assert result.stderr.startswith(f"warning: {keys}: key[0].secret: is written into the file")
    assert SECRET not in result.output


def test_tls_files_are_looked_at_and_a_readable_private_key_warned_about(good: Path) -> None:
    pair = Authority(good.parent).issue("gateway")
    key = Path(pair.key)
    key.chmod(0o644)
    write(good, f'{good.read_text()}[listen.tls]\ncert = "{pair.cert}"\nkey = "{key}"\n')
    result = run("check-config", str(good))
    assert result.exit_code == 0
    assert [line.partition(" can be")[0] for line in result.stderr.splitlines()] == [f"warning: {key}:"]


def test_certificates_that_would_stop_the_start_are_told(good: Path) -> None:
    authority = Authority(good.parent)
    pair, other = authority.issue("gateway"), authority.issue("other")
    write(
        good,
        good.read_text().replace("amqp://", "amqps://")
        + f'[listen.tls]\ncert = "{pair.cert}"\nkey = "{other.key}"\n[upstream.tls]\nca = "{good}"\n',
    )
    result = run("check-config", str(good))
    assert (result.exit_code, result.stdout) == (78, "")
    assert f"{good}: listen.tls: {pair.cert} with {other.key}: the private key is not that" in result.stderr
    assert f"{good}: upstream.tls: {good}: there is no PEM certificate in it\n" in result.stderr


def test_everybody_as_a_proxy_is_warned_about(good: Path) -> None:
    write(good, f'{good.read_text()}[listen]\nproxy_protocol = ["10.0.0.0/8", "::/0"]\n')
    result = run("check-config", str(good))
    assert result.exit_code == 0
    (line,) = result.stderr.splitlines()
    assert "listen.proxy_protocol[1]: is everybody" in line


def test_shared_port_without_an_admin_address_is_warned_about(good: Path) -> None:
    write(good, f"{good.read_text()}[admin]\nenabled = false\n")
    result = run("check-config", str(good))
    assert result.exit_code == 0
    assert "listen.reuse_port: is on, and no admin address" in result.stderr


def test_journal_in_a_directory_that_is_there_is_ok(good: Path) -> None:
    write(good, f'{good.read_text()}[replay]\njournal = "{good.parent / "nonces"}"\n')
    assert run("check-config", str(good)).exit_code == 0


def test_keys_are_not_needed_to_pass_everything(good: Path) -> None:
    write(good, f'{GOOD}[publish]\naction = "pass"\n')
    assert run("check-config", str(good)).exit_code == 0


def test_what_is_allowed_but_not_meant_is_warned_about(tmp_path: Path) -> None:
    text = (
        '[upstream]\nurls = ["amqp://u:hunter2@rabbitmq"]\n[upstream.tls]\nverify = false\n'
        '[admin]\naddress = "0.0.0.0:9672"\n[quarantine]\nenabled = false\n[content]\nprofile = "dramatiq"\n'
    ).replace('rabbitmq"]', 'rabbitmq", "amqps://other"]')
    file = write(tmp_path / "sealgate.toml", text)
    result = run("check-config", str(file), SEALGATE_KEYS=f"k1={SECRET}")
    assert result.exit_code == 0
    warned = [
        line.removeprefix(f"warning: {file}: ").partition(": ")[0] for line in result.stderr.splitlines()
    ]
    assert warned == [
        "upstream.urls[0]",
        "quarantine.enabled",
        "content.types",
        "upstream.tls.verify",
        "admin.address",
        "upstream.urls[0]",
    ]
    assert "hunter2" not in result.output


@pytest.mark.parametrize(
    ("listen", "upstream", "itself"),
    [
        ("127.0.0.1:5672", "amqp://127.0.0.1", True),
        ("127.0.0.1:5672", "amqp://localhost:5672", True),
        ("0.0.0.0:5671", "amqps://[::1]", True),
        ("0.0.0.0:5672", "amqps://rabbitmq:5672", False),
        ("127.0.0.1:5672", "amqp://127.0.0.2:5672", False),
        ("127.0.0.1:6672", "amqp://127.0.0.1:5672", False),
    ],
)
def test_upstream_that_is_the_gate_itself_is_warned_about(listen: str, upstream: str, itself: bool) -> None:
    result = run("check-config", "--listen", listen, "--upstream", upstream, SEALGATE_KEYS=f"k1={SECRET}")
    assert result.exit_code == 0
    told = "warning: --upstream[0]: is listen.address itself: each connection would open the next one\n"
    assert (told in result.stderr) == itself


@pytest.mark.parametrize(
    ("upstream", "settings", "warned"),
    [
        ("amqps://rabbitmq", (), True),
        ("amqps://127.0.0.1", (), False),
        ("amqps://rabbitmq", ("quarantine.url=env:KEPT_AT",), False),
        ("amqps://rabbitmq", ("quarantine.enabled=false",), False),
        ("env:KEPT_AT", (), False),
        ("amqps://rabbitmq", ("publish.action=sign", "publish.sign_with=k1"), False),
    ],
)
def test_quarantine_without_a_login_is_warned_about(
    upstream: str, settings: tuple[str, ...], warned: bool
) -> None:
    assignments = [word for setting in settings for word in ("--set", setting)]
    environ = {"SEALGATE_KEYS": f"k1={SECRET}", "KEPT_AT": "amqps://keeper:hunter2@rabbitmq"}
    result = run("check-config", "--upstream", upstream, *assignments, **environ)
    assert result.exit_code == 0
    told = "warning: --upstream[0]: has no user to keep the quarantine with, and quarantine.url is not set"
    assert (told in result.stderr) == warned


@pytest.mark.parametrize(("system", "warned"), [("darwin", True), ("linux", False)])
def test_workers_where_the_system_spreads_no_clients_are_warned_about(
    system: str, warned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", system)
    assignments = ("--set", "listen.workers=2", "--set", "replay.nonces=session")
    result = run("check-config", "--upstream", "amqp://localhost", *assignments, SEALGATE_KEYS=f"k1={SECRET}")
    assert result.exit_code == 0
    assert ("warning: --set listen.workers: share a port on this system" in result.stderr) == warned


def test_missing_content_type_listed_for_celery_is_warned_about() -> None:
    types = "content.types=application/json,"
    result = run(
        "check-config", "--upstream", "amqp://localhost", "--set", types, SEALGATE_KEYS=f"k1={SECRET}"
    )
    assert result.exit_code == 0
    assert result.stderr.startswith('warning: --set content.types: has "": ')


def test_rates_of_a_signer_are_warned_about() -> None:
    result = run(
        "check-config",
        *("--upstream", "amqp://localhost", "--set", "publish.action=sign", "--set", "publish.sign_with=k1"),
        *("--set", 'rate={ "*" = "5/m" }'),
        SEALGATE_KEYS=f"k1={SECRET}",
    )
    assert result.exit_code == 0
    assert result.stderr == 'warning: --set rate: does nothing: rates are for publish.action = "verify"\n'


def checked_with_rates(upstream: str, *settings: str) -> str:
    """What is warned about with a rate whose messages may wait."""
    given = ("--set", 'rate={ "*" = "5/m" }', *[word for setting in settings for word in ("--set", setting)])
    result = run("check-config", "--upstream", upstream, *given, SEALGATE_KEYS=f"k1={SECRET}")
    assert result.exit_code == 0
    return result.stderr


def test_rates_that_delay_nothing_where_rules_observe_are_warned_about() -> None:
    told = checked_with_rates("amqp://localhost", "mode.default=observe")
    assert "refuse.over_rate: does nothing where rules observe" in told
    assert checked_with_rates("amqp://localhost") == ""
    assert checked_with_rates("amqp://localhost", "mode.default=observe", "refuse.over_rate=refuse") == ""


def test_a_broker_whose_user_for_wait_queues_is_not_known_is_warned_about() -> None:
    what = "has no user to declare queues with"
    assert what in checked_with_rates("amqps://rabbit.internal")
    assert what not in checked_with_rates("amqps://gate:hunter2@rabbit.internal")
    kept = "quarantine.url=amqps://gate:hunter2@rabbit.internal"
    assert what not in checked_with_rates("amqps://rabbit.internal", kept)
    assert what not in checked_with_rates("amqps://rabbit.internal", "refuse.over_rate=refuse")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            '[vault]\nauth = "approle"\nrole_id = "r"',
            'vault.secret_id: is missing: auth = "approle" needs it',
        ),
        ('[vault]\nauth = "kubernetes"', 'vault.role: is missing: auth = "kubernetes" needs it'),
        ('[vault]\ntoken = "vault:a/data/b#c"', "vault.token: must be env:NAME, file:/path or cred:NAME"),
        ('[vault]\naddress = "vault.internal:8200"', "vault.address: has no host"),
        ('[vault]\naddress = "https://user:hunter2@vault"', "vault.address: takes no user"),
        ('[aws]\nendpoint = "ftp://a"', "aws.endpoint: must be an https:// or http:// URL"),
    ],
)
def test_wrong_table_of_a_secret_store_is_told(good: Path, table: str, message: str) -> None:
    write(good, good.read_text() + table + "\n")
    result = run("check-config", str(good))
    assert result.exit_code == 78
    assert f"{good}: {message}" in result.stderr
    assert "hunter2" not in result.output


def test_secret_store_that_is_away_is_told_with_the_key_that_asks_for_it(tmp_path: Path) -> None:
    needs("hvac")
    config = write(
        tmp_path / "sealgate.toml",
        'upstream.urls = "vault:secret/data/broker#url"\nkeys.source = "vault:secret/data/keys"\n'
        'vault.address = "http://127.0.0.1:1"\nvault.token = "hunter2"\n',
    )
    result = run("check-config", str(config))
    assert result.exit_code == 69
    away = "vault: the Vault can not be reached"
    assert f"{config}: upstream.urls: {away}" in result.stderr
    assert "hunter2" not in result.output


def test_table_that_is_wrong_is_no_reason_to_ask_elsewhere(good: Path) -> None:
    """A reference is not read with the defaults of a table that has an error in it."""
    text = good.read_text() + 'quarantine.url = "vault:secret/data/q#url"\n[vault]\nauth = "ldap"\n'
    write(good, text)
    result = run("check-config", str(good), VAULT_ADDR="http://127.0.0.1:1", VAULT_TOKEN="t")
    assert "quarantine.url: vault: references can not be read: the table [vault] is wrong" in result.stderr
    assert "vault.auth: must be 'token', 'approle' or 'kubernetes'" in result.stderr


def test_store_without_encryption_and_secrets_in_the_file_are_warned_about(good: Path) -> None:
    table = '[vault]\naddress = "http://vault.internal:8200"\ntoken = "hunter2"\n'
    write(good, good.read_text() + table + '[aws]\nendpoint = "http://aws.internal"\n')
    result = run("check-config", str(good))
    assert result.exit_code == 0
    assert "vault.address: is not encrypted: all keys can be read on the way" in result.stderr
    assert "aws.endpoint: is not encrypted" in result.stderr
    assert "vault.token: is written into the configuration" in result.stderr
    assert "hunter2" not in result.output


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file_exits_77(good: Path) -> None:
    good.chmod(0)
    result = run("check-config", str(good))
    assert (result.exit_code, result.stderr) == (77, f"{good}: may not be read by this user\n")


def test_file_that_may_not_be_opened_exits_77(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same as above for root, whom no mode stops."""
    opened = Path.open

    def refusing(path: Path, *arguments: str) -> object:
        if path == good:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments)

    monkeypatch.setattr(Path, "open", refusing)
    result = run("check-config", str(good))
    assert (result.exit_code, result.stderr) == (77, f"{good}: may not be read by this user\n")


@pytest.mark.parametrize(
    "command",
    ["check-config", "print-config", "run -c", "keys check", "keys list", "users check", "users list"],
)
def test_every_file_that_may_not_be_opened_is_77_and_no_wrong_usage(
    good: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """As root may read every file, the machine's refusals are played."""

    def refusing(path: Path, *_: object, **__: object) -> object:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(Path, "open", refusing)
    result = run(*command.split(), str(good))
    assert result.exit_code == 77
    assert "may not be read by this user" in result.stderr


def test_missing_file_exits_78(tmp_path: Path) -> None:
    result = run("check-config", str(tmp_path / "none.toml"))
    assert result.exit_code == 78
    assert "can not be read: No such file or directory" in result.stderr


def test_print_config_reads_back_as_the_same_settings(good: Path, tmp_path: Path) -> None:
    write(good, good.read_text() + '[rate]\n"a.*" = "5/m burst 2"\n[[rule]]\nmatch = { task = "x" }\n')
    printed = run("print-config", str(good), "--no-redact")
    assert printed.exit_code == 0
    again = write(tmp_path / "again.toml", printed.stdout)
    assert run("print-config", str(again), "--no-redact").stdout == printed.stdout
    assert tomllib.loads(printed.stdout)["rate"] == {"a.*": "5/m burst 2"}


def test_print_config_tells_where_each_value_is_from(good: Path) -> None:
    result = run(
        "print-config",
        *(str(good), "--origin", "--listen", "[::1]:7000", "--set", "log.format=json"),
        SEALGATE__LOG__LEVEL="debug",
        SEALGATE__CONTENT__TYPES="application/json; charset=utf-8,application/x-msgpack",
    )
    for line in (
        'deployment = "prod"  # default',
        'address = "[::1]:7000"  # --listen',
        f'urls = ["amqp://127.0.0.1:5672"]  # {good}',
        'types = ["application/json; charset=utf-8", "application/x-msgpack"]  # SEALGATE__CONTENT__TYPES',
        'level = "debug"  # SEALGATE__LOG__LEVEL',
        'format = "json"  # --set log.format',
    ):
        assert line in result.stdout.splitlines()


def test_print_config_hides_passwords_unless_asked(tmp_path: Path) -> None:
    password = write(tmp_path / "url", "amqp://q:hunter3@rabbitmq")
    arguments = ["print-config", "--upstream", "amqps://u:hunter2@rabbitmq/v"]
    arguments += ["--set", "replay.store=env:STORE", "--set", f"quarantine.url=file:{password}"]
    hidden = run(*arguments, STORE="redis://:hunter4@h:6379/0")
    assert hidden.exit_code == 0
    assert "hunter" not in hidden.stdout
    assert 'urls = ["amqps://u:***@rabbitmq/v"]' in hidden.stdout
    assert 'store = "env:STORE"' in hidden.stdout
    assert f'url = "file:{password}"' in hidden.stdout
    shown = run(*arguments, "--no-redact", STORE="redis://:hunter4@h:6379/0").stdout
    assert all(f"hunter{n}" in shown for n in (2, 3, 4))


def test_schema_is_json_and_knows_every_section() -> None:
    result = run("schema")
    document = json.loads(result.stdout)
    assert document["additionalProperties"] is False
    assert document["properties"]["deployment"]["default"] == "prod"
    assert document["$defs"]["Replay"]["properties"]["max_age"]["default"] == "5m"
    assert document["$defs"]["Listen"]["properties"]["address"]["default"] == "127.0.0.1:6672"


def test_version_is_printed() -> None:
    assert run("version").stdout.startswith(f"sealgate {__version__} ({core_variant()} core, Python ")


@pytest.fixture
def admin() -> Iterator[tuple[str, list[str]]]:
    """An HTTP server that is alive and not ready; its address and the paths it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200 if self.path == "/livez" else 503)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()


def test_healthcheck_asks_the_admin_address(admin: tuple[str, list[str]]) -> None:
    address, asked = admin
    assert run("healthcheck", "--admin", address).exit_code == 0
    assert run("healthcheck", "--ready", SEALGATE__ADMIN__ADDRESS=address).exit_code == 1
    assert asked == ["/livez", "/readyz"]


def test_healthcheck_asks_this_machine_when_admin_listens_everywhere(admin: tuple[str, list[str]]) -> None:
    port = admin[0].partition(":")[2]
    assert run("healthcheck", "--admin", f"0.0.0.0:{port}").exit_code == 0


def test_healthcheck_of_nobody_fails(unused_port: int) -> None:
    result = run("healthcheck", "--admin", f"127.0.0.1:{unused_port}")
    assert result.exit_code == 1
    assert "/livez" in result.stderr


@pytest.fixture
def unused_port() -> Iterator[int]:
    """A port that is taken and on which nobody answers."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]

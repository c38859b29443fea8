from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sealgate.cli import main
from sealgate.signing.keyfile import load_keyring
from sealgate.signing.material import MaterialKind, generate_ed25519, generate_hmac, parse_secret

RANDOM = bytes.fromhex("8f1d3ac0527be966044ecd91b82f70a35d16e83bf4297ac5016b9edf4480d237")
SECRET = generate_hmac(RANDOM)
PRIVATE, PUBLIC = generate_ed25519(RANDOM[::-1])
KEY = '[[key]]\nkid = "k1"\nalg = "hmac-sha256"\nsecret = "env:K1"\n'


def run(*arguments: str, **environ: str) -> Result:
    result = CliRunner().invoke(main, ["keys", *arguments], env=environ)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


@pytest.fixture
def keyfile(tmp_path: Path) -> Path:
    file = tmp_path / "keys.toml"
    file.touch(mode=0o600)
    file.write_text(KEY)
    return file


def test_generated_secret_alone_is_on_stdout_and_reads_back() -> None:
    result = run("generate")
    assert result.exit_code == 0
    assert len(parse_secret(result.stdout.strip(), MaterialKind.HMAC_SECRET)) == 32
    assert result.stdout.count("\n") == 1
    assert result.stdout.strip() not in result.stderr


def test_two_generated_secrets_differ() -> None:
    assert run("generate").stdout != run("generate").stdout


def test_generated_lines_and_secret_make_a_keyring() -> None:
    result = run("generate", "--kid", "web-1")
    keyring, warnings = load_keyring(result.stderr, {"env:SEALGATE_WEB_1": result.stdout}.__getitem__)
    assert keyring.kids() == ("web-1",)
    assert warnings == []


def test_generated_ed25519_lines_hold_both_sides_of_one_key() -> None:
    result = run("generate", "--alg", "ed25519")
    private, public = tomllib.loads(result.stderr)["key"]
    assert private["private"] == "env:SEALGATE_K1"
    signer, _ = load_keyring({"key": [private]}, {"env:SEALGATE_K1": result.stdout}.__getitem__)
    verifier, _ = load_keyring({"key": [public]}, {}.__getitem__)
    signature = next(iter(signer)).algorithm.sign(b"data")
    assert next(iter(verifier)).algorithm.verify(b"data", signature)


def test_kid_outside_its_grammar_is_a_usage_error() -> None:
    result = run("generate", "--kid", "k 1")
    assert result.exit_code == 64
    assert "--kid" in result.stderr
    assert result.stdout == ""


def test_list_shows_states_times_and_permissions_without_secrets(keyfile: Path) -> None:
    keyfile.write_text(
        KEY
        + 'tasks = ["shop.*"]\nclasses = ["task"]\nmax_lifetime = "36h"\n'
        + "created = 2020-01-01T00:00:00Z\nstate_since = 2020-01-02T00:00:00Z\n"
        + '[[key]]\nkid = "old"\nalg = "hmac-sha256"\nsecret = "changeme"\nnot_after = 2020-01-02T03:04:05Z\n'
        + '[[key]]\nkid = "next"\nalg = "ed25519"\nprivate = "env:NONE"\nnot_before = 2199-01-01T00:00:00Z\n'
        + f'[[key]]\nkid = "peer"\nalg = "ed25519"\npublic = "{PUBLIC}"\nmax_lifetime = "90s"\n'
        + KEY.replace("k1", "gone")
        + 'state = "revoked"\nmax_lifetime = "5m"\n'
    )
    result = run("list", str(keyfile))
    assert result.exit_code == 0
    rows = [line.split("  ") for line in result.stdout.splitlines()]
    cells = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    assert cells == [
        ["KID", "ALG", "STATE", "SINCE", "SIGNS", "CREATED", "FROM", "UNTIL", "LIFETIME", "MAY"],
        [
            *("k1", "hmac-sha256", "active", "2020-01-02T00:00:00Z", "yes", "2020-01-01T00:00:00Z", "-", "-"),
            *("36h", "tasks=['shop.*'] classes=['task']"),
        ],
        [
            *("old", "hmac-sha256", "active (over)", "-", "no", "-", "-", "2020-01-02T03:04:05Z"),
            *("7d", "anything"),
        ],
        [
            *("next", "ed25519", "active (not yet)", "-", "no", "-", "2199-01-01T00:00:00Z", "-"),
            *("7d", "anything"),
        ],
        ["peer", "ed25519", "active", "-", "no", "-", "-", "-", "90s", "anything"],
        ["gone", "hmac-sha256", "revoked", "-", "no", "-", "-", "-", "5m", "anything"],
    ]
    assert "changeme" not in result.output
    assert PUBLIC not in result.output


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[[key]\n", "not TOML"),
        ("key = [1]\n", "key[0]: want a table"),
        ("key = 1\n", "key: want at least one"),
        (KEY + 'state = "x"\n', "key[0].state: want active, verify or revoked"),
    ],
)
def test_list_of_a_wrong_file_tells_why_and_exits_78(keyfile: Path, text: str, error: str) -> None:
    keyfile.write_text(text)
    result = run("list", str(keyfile))
    assert result.exit_code == 78
    assert str(keyfile) in result.stderr
    assert error in result.stderr


@pytest.mark.parametrize("command", ["list", "check"])
def test_missing_file_exits_78(tmp_path: Path, command: str) -> None:
    result = run(command, str(tmp_path / "none.toml"))
    assert result.exit_code == 78
    assert "none.toml" in result.stderr


def test_check_of_a_good_file_says_so(keyfile: Path) -> None:
    result = run("check", str(keyfile), K1=SECRET)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"{keyfile}: 1 key, ok\n"


def test_check_takes_a_reference() -> None:
    result = run("check", "env:RING", RING=f"a={SECRET}")
    assert (result.exit_code, result.stdout) == (0, "env:RING: 1 key, ok\n")
    assert run("check", "env:NONE").exit_code == 78


def test_check_tells_all_that_is_wrong_and_exits_78(keyfile: Path) -> None:
    keyfile.write_text(
        KEY + 'state = "x"\nzzz = 1\n[[key]]\nkid = "k1"\nalg = "hmac-sha256"\nsecret = "env:K2"\n'
    )
    result = run("check", str(keyfile), K1="hunter2", K2="hex:" + bytes(range(32)).hex())
    assert result.exit_code == 78
    lines = result.stderr.splitlines()
    assert len(lines) == 5
    for line, path in zip(
        sorted(lines),
        ("key[0].secret", "key[0].state", "key[0].zzz", "key[1].kid", "key[1].secret"),
        strict=True,
    ):
        assert line.startswith(f"{keyfile}: {path}: ")
    assert "hunter2" not in result.output
    assert "00010203" not in result.output


def test_check_warns_of_files_that_others_can_read(keyfile: Path, tmp_path: Path) -> None:
    secret = tmp_path / "k1"
    secret.write_text(SECRET + "\n")
    secret.chmod(0o644)
    keyfile.write_text(KEY.replace("env:K1", f"file:{secret}"))
    keyfile.chmod(0o604)
    result = run("check", str(keyfile))
    assert result.exit_code == 0
    warned = [line for line in result.stderr.splitlines() if line.startswith("warning: ")]
    assert [str(keyfile) in line or str(secret) in line for line in warned] == [True, True]
    assert "mode 0644" in result.stderr and "mode 0604" in result.stderr


def test_check_warns_of_literal_secrets_and_keys_past_their_time(keyfile: Path) -> None:
    keyfile.write_text(KEY.replace("env:K1", SECRET) + "not_after = 2020-01-01T00:00:00Z\n")
    result = run("check", str(keyfile))
    assert result.exit_code == 0
    assert "key[0].secret: is written into the file" in result.stderr
    assert "key[0].not_after: k1 has not been usable since 2020-01-01T00:00:00Z" in result.stderr
    assert SECRET not in result.output


def test_check_doubts_a_key_held_to_tasks_that_may_send_any_command(keyfile: Path) -> None:
    keyfile.write_text(KEY + 'tasks = ["shop.*"]\n')
    result = run("check", str(keyfile), K1=SECRET)
    assert result.exit_code == 0
    assert "key[0].tasks: k1 may send some tasks only, but any command to workers" in result.stderr
    keyfile.write_text(KEY + 'tasks = ["shop.*"]\nclasses = ["task"]\n')
    assert run("check", str(keyfile), K1=SECRET).stderr == ""


def test_revoked_key_past_its_time_is_no_matter(keyfile: Path) -> None:
    keyfile.write_text(KEY + 'not_after = 2020-01-01T00:00:00Z\nstate = "revoked"\n')
    assert run("check", str(keyfile), K1=SECRET).stderr == ""

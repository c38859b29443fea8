"""`keys rotate begin`: what the new key is, and where its material goes."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest

from sealgate.config.sources import Sources, read_keyring
from sealgate.signing.keyring import KeyState
from sealgate.signing.material import MaterialKind, generate_ed25519, generate_hmac, parse_secret
from support.rotating import Keys, Rotate


def test_new_key_has_the_old_ones_grants_and_only_verifies(keys: Keys, rotate: Rotate) -> None:
    before = keys.text()
    begun = rotate("begin", keys.path, "--kid", "web1-a")
    assert (begun.exit_code, begun.stdout) == (0, "")
    ring = read_keyring(f"file:{keys.path}", Sources({"SEALGATE_WORKER": generate_hmac(os.urandom(32))}))
    assert ring.kids() == ("web1-a", "web1-b", "worker")
    old, new = ring.get("web1-a"), ring.get("web1-b")
    assert old is not None and new is not None
    assert (old.state, new.state) == (KeyState.ACTIVE, KeyState.VERIFY)
    assert (new.tasks, new.max_lifetime_s, new.replaces) == (("shop.*",), 3600, "web1-a")
    assert new.created == new.state_since and abs((new.created or 0) - time.time()) < 60
    assert old.algorithm.sign(b"x") != new.algorithm.sign(b"x")
    assert "web1-b" in begun.stderr and 'publish.sign_with = "web1-*"' in begun.stderr
    assert "promote" in begun.stderr
    # Nothing of what was there is another one.
    assert keys.text().replace(keys.text()[_block(keys.text(), "web1-b")], "") == before


def _block(text: str, kid: str) -> slice:
    start = text.index(f'[[key]]\nkid = "{kid}"')
    return slice(start, text.index("\n\n", start) + 2)


def test_comments_inside_the_table_come_along(keys: Keys, rotate: Rotate) -> None:
    rotate("begin", keys.path, "--kid", "web1-a")
    new = keys.text()[_block(keys.text(), "web1-b")]
    assert 'tasks = ["shop.*"]  # nothing else\n' in new
    assert '#users = ["web"]\n' in new
    assert "# What" not in new


def test_new_secret_has_a_file_of_its_own_named_after_the_key(keys: Keys, rotate: Rotate) -> None:
    rotate("begin", keys.path, "--kid", "web1-a")
    secret = keys.path.with_name("web1-b.secret")
    assert keys.tables()["web1-b"]["secret"] == f"file:{secret}"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert len(parse_secret(secret.read_text().strip(), MaterialKind.HMAC_SECRET)) == 32


@pytest.mark.parametrize(
    ("mode", "expected"), [(0o600, 0o600), (0o640, 0o640), (0o644, 0o640), (0o400, 0o400)]
)
def test_new_secret_is_as_open_as_the_old_one_but_not_for_everybody(
    keys: Keys, rotate: Rotate, mode: int, expected: int
) -> None:
    keys.secret.chmod(mode)
    rotate("begin", keys.path, "--kid", "web1-a")
    assert stat.S_IMODE(keys.path.with_name("web1-b.secret").stat().st_mode) == expected


def test_key_file_keeps_its_owner_and_mode(keys: Keys, rotate: Rotate) -> None:
    keys.path.chmod(0o604)
    before = keys.path.stat()
    assert rotate("begin", keys.path, "--kid", "web1-a").exit_code == 0
    after = keys.path.stat()
    assert after.st_ino != before.st_ino  # another file, put in its place at once
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert sorted(path.name for path in keys.path.parent.iterdir()) == [
        "keys.toml",
        "web1-a.secret",
        "web1-b.secret",
    ]


@pytest.mark.skipif(os.getuid() != 0, reason="gives files to another user")
def test_files_of_a_service_stay_readable_by_it(keys: Keys, rotate: Rotate) -> None:
    for path in (keys.path, keys.secret):
        os.chown(path, 0, 4321)
        path.chmod(0o640)
    assert rotate("begin", keys.path, "--kid", "web1-a").exit_code == 0
    for path in (keys.path, keys.path.with_name("web1-b.secret")):
        found = path.stat()
        assert (found.st_gid, stat.S_IMODE(found.st_mode)) == (4321, 0o640)


def test_secret_in_a_variable_is_printed_alone(keys: Keys, rotate: Rotate) -> None:
    begun = rotate("begin", keys.path, "--kid", "worker")
    assert begun.exit_code == 0
    assert keys.tables()["worker-b"]["secret"] == "env:SEALGATE_WORKER_B"
    assert begun.stdout.count("\n") == 1
    parse_secret(begun.stdout.strip(), MaterialKind.HMAC_SECRET)
    assert begun.stdout.strip() not in begun.stderr + keys.text()
    assert "env:SEALGATE_WORKER_B" in begun.stderr


def test_credential_of_systemd_is_named_alike(keys: Keys, rotate: Rotate) -> None:
    keys.write(keys.text().replace("env:SEALGATE_WORKER", "cred:sealgate.worker"))
    begun = rotate("begin", keys.path, "--kid", "worker")
    assert keys.tables()["worker-b"]["secret"] == "cred:sealgate.worker-b"
    parse_secret(begun.stdout.strip(), MaterialKind.HMAC_SECRET)


def test_literal_stays_a_literal_with_the_usual_warning(keys: Keys, rotate: Rotate) -> None:
    keys.write(keys.text().replace("env:SEALGATE_WORKER", generate_hmac(os.urandom(32))))
    begun = rotate("begin", keys.path, "--kid", "worker")
    assert (begun.exit_code, begun.stdout) == (0, "")
    parse_secret(keys.tables()["worker-b"]["secret"], MaterialKind.HMAC_SECRET)
    assert "written into the key file" in begun.stderr
    assert keys.tables()["worker-b"]["secret"] not in begun.output


@pytest.mark.parametrize("reference", ["vault:secret/data/web1#secret", "aws:shop/web1"])
def test_store_on_the_network_needs_to_be_told_where(keys: Keys, rotate: Rotate, reference: str) -> None:
    keys.write(keys.text().replace("env:SEALGATE_WORKER", reference))
    before = keys.text()
    refused = rotate("begin", keys.path, "--kid", "worker")
    assert refused.exit_code == 64
    assert "--secret" in refused.stderr
    assert keys.text() == before
    begun = rotate("begin", keys.path, "--kid", "worker", "--secret", "vault:secret/data/web2#secret")
    assert begun.exit_code == 0
    assert keys.tables()["worker-b"]["secret"] == "vault:secret/data/web2#secret"
    parse_secret(begun.stdout.strip(), MaterialKind.HMAC_SECRET)


def test_print_writes_no_file(keys: Keys, rotate: Rotate) -> None:
    """A copy of a file whose secrets are on another machine."""
    keys.secret.unlink()
    begun = rotate("begin", keys.path, "--kid", "web1-a", "--print")
    assert begun.exit_code == 0
    parse_secret(begun.stdout.strip(), MaterialKind.HMAC_SECRET)
    assert [path.name for path in keys.path.parent.iterdir()] == ["keys.toml"]


def test_several_files_get_the_same_key_each_in_its_own_way(tmp_path: Path, rotate: Rotate) -> None:
    signers, gateways = Keys(tmp_path / "signers"), Keys(tmp_path / "gateways")
    gateways.write_secret(signers.secret.read_text().strip())
    gateways.write(gateways.text().replace("# All our keys.", "# The gateways'."))
    begun = rotate("begin", signers.path, gateways.path, "--kid", "web1-a")
    assert (begun.exit_code, begun.stdout) == (0, "")
    assert (
        signers.secret.with_name("web1-b.secret").read_text()
        == gateways.secret.with_name("web1-b.secret").read_text()
    )
    assert (
        signers.states() == gateways.states() == {"web1-a": "active", "web1-b": "verify", "worker": "active"}
    )


def test_files_that_hold_another_key_of_that_name_are_told(tmp_path: Path, rotate: Rotate) -> None:
    one, other = Keys(tmp_path / "one"), Keys(tmp_path / "other")
    before = one.text(), other.text()
    refused = rotate("begin", one.path, other.path, "--kid", "web1-a")
    assert refused.exit_code == 78
    assert "not the same key" in refused.stderr
    assert (one.text(), other.text()) == before


def _ed25519_files(tmp_path: Path) -> tuple[Keys, Keys, str]:
    """A signer's key file with the private half, a gateway's with the public one, and that."""
    private, public = generate_ed25519(os.urandom(32))
    signer, gateway = Keys(tmp_path / "signer"), Keys(tmp_path / "gateway")
    signer.write_secret(private)
    table = '[[key]]\nkid = "web1-a"\nalg = "ed25519"\n'
    signer.write(f'{table}private = "file:{signer.secret}"\n')
    gateway.write(f'{table}public = "{public}"\n')
    return signer, gateway, public


def test_ed25519_gives_each_file_the_half_it_had(tmp_path: Path, rotate: Rotate) -> None:
    signer, gateway, public = _ed25519_files(tmp_path)
    begun = rotate("begin", signer.path, gateway.path, "--kid", "web1-a")
    assert (begun.exit_code, begun.stdout) == (0, "")
    new = gateway.tables()["web1-b"]
    assert "private" not in new and new["public"] != public
    text = signer.secret.with_name("web1-b.secret").read_text().strip()
    assert text not in gateway.text() + begun.output
    signing = read_keyring(f"file:{signer.path}", Sources({})).get("web1-b")
    verifying = read_keyring(f"file:{gateway.path}", Sources({})).get("web1-b")
    assert signing is not None and verifying is not None and not verifying.algorithm.can_sign
    assert verifying.algorithm.verify(b"x", signing.algorithm.sign(b"x"))


def test_public_half_is_carried_to_another_machine(tmp_path: Path, rotate: Rotate) -> None:
    signer, gateway, _ = _ed25519_files(tmp_path)
    told = rotate("begin", signer.path, "--kid", "web1-a").stderr
    half = told.split("--public ")[1].split()[0]
    assert (
        rotate("begin", gateway.path, "--kid", "web1-a", "--new", "web1-b", "--public", half).exit_code == 0
    )
    signing = read_keyring(f"file:{signer.path}", Sources({})).get("web1-b")
    verifying = read_keyring(f"file:{gateway.path}", Sources({})).get("web1-b")
    assert signing is not None and verifying is not None
    assert verifying.algorithm.verify(b"x", signing.algorithm.sign(b"x"))


def test_files_with_public_halves_only_have_the_private_one_printed(keys: Keys, rotate: Rotate) -> None:
    _, public = generate_ed25519(os.urandom(32))
    keys.write(f'[[key]]\nkid = "web1-a"\nalg = "ed25519"\npublic = "{public}"\n')
    begun = rotate("begin", keys.path, "--kid", "web1-a")
    assert begun.exit_code == 0
    parse_secret(begun.stdout.strip(), MaterialKind.ED25519_PRIVATE)


def test_secret_made_elsewhere_is_taken_where_it_is(tmp_path: Path, rotate: Rotate) -> None:
    here, there = Keys(tmp_path / "here"), Keys(tmp_path / "there")
    assert rotate("begin", here.path, "--kid", "web1-a").exit_code == 0
    brought = there.secret.with_name("brought")
    given = (
        "begin",
        there.path,
        "--kid",
        "web1-a",
        "--new",
        "web1-b",
        "--secret",
        f"file:{brought}",
        "--existing",
    )
    missing = rotate(*given)
    assert missing.exit_code == 78 and "brought" in missing.stderr
    brought.touch(mode=0o600)
    brought.write_text("sgk_h_abc\n")
    assert rotate(*given).exit_code == 78
    brought.write_text(here.secret.with_name("web1-b.secret").read_text())
    begun = rotate(*given)
    assert (begun.exit_code, begun.stdout) == (0, "")
    assert there.tables()["web1-b"]["secret"] == f"file:{brought}"


def test_secret_that_is_there_and_can_not_be_read_here_is_said_to_be_unseen(
    keys: Keys, rotate: Rotate
) -> None:
    given = ("begin", keys.path, "--kid", "worker", "--secret", "env:SEALGATE_NEXT", "--existing")
    begun = rotate(*given)
    assert (begun.exit_code, begun.stdout) == (0, "")
    assert "could not be looked at here" in begun.stderr
    assert keys.tables()["worker-b"]["secret"] == "env:SEALGATE_NEXT"


def test_file_that_is_there_is_not_written_over(keys: Keys, rotate: Rotate) -> None:
    secret = keys.path.with_name("web1-b.secret")
    secret.write_text("precious")
    before = keys.text()
    refused = rotate("begin", keys.path, "--kid", "web1-a")
    assert refused.exit_code == 78
    assert "--existing" in refused.stderr
    assert (secret.read_text(), keys.text()) == ("precious", before)


def test_new_key_lives_as_long_as_the_old_one_was_to(keys: Keys, rotate: Rotate) -> None:
    life = "not_before = 2020-02-01T00:00:00Z\nnot_after = 2020-02-11T00:00:00Z\n"
    keys.write(keys.text().replace('max_lifetime = "1h"\n', f'max_lifetime = "1h"\n{life}'))
    assert rotate("begin", keys.path, "--kid", "web1-a").exit_code == 0
    new = keys.tables()["web1-b"]
    assert "not_before" not in new
    assert (new["not_after"] - new["created"]).days == 10


def test_end_of_the_new_key_can_be_given_and_a_missing_one_is_told(keys: Keys, rotate: Rotate) -> None:
    before = keys.text()
    keys.write(before.replace('max_lifetime = "1h"\n', "not_after = 2099-01-01T00:00:00Z\n"))
    begun = rotate("begin", keys.path, "--kid", "web1-a")
    assert "--ends-in" in begun.stderr
    assert "not_after" not in keys.tables()["web1-b"]
    keys.secret.with_name("web1-b.secret").unlink()
    keys.write(before)
    assert rotate("begin", keys.path, "--kid", "web1-a", "--ends-in", "90d").exit_code == 0
    new = keys.tables()["web1-b"]
    assert (new["not_after"] - new["created"]).days == 90


def test_second_begin_says_what_comes_next_instead(keys: Keys, rotate: Rotate) -> None:
    rotate("begin", keys.path, "--kid", "web1-a")
    before = keys.text()
    for kid in ("web1-a", "web1-b"):
        again = rotate("begin", keys.path, "--kid", kid)
        assert again.exit_code == 78
        assert "next: sealgate keys rotate" in again.stderr
    assert keys.text() == before


def test_two_rotations_of_different_keys_go_side_by_side(keys: Keys, rotate: Rotate) -> None:
    assert rotate("begin", keys.path, "--kid", "web1-a").exit_code == 0
    assert rotate("begin", keys.path, "--kid", "worker").exit_code == 0
    keys.age(web1_b=600)
    assert rotate("promote", keys.path, "--kid", "web1-b").exit_code == 0
    assert rotate("promote", keys.path, "--kid", "worker-b").exit_code == 69
    assert keys.states() == {
        "web1-a": "verify",
        "web1-b": "active",
        "worker": "active",
        "worker-b": "verify",
    }


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--kid", "web2"), "there is no key web2"),
        (("--kid", "web1-a", "--new", "worker"), "there is a key worker already"),
        (("--kid", "web1-a", "--new", "a b"), "want 1 to 64"),
        (("--kid", "web1-a", "--secret", "secret"), "want a reference"),
        (("--kid", "web1-a", "--secret", "env:1"), "env: must be followed by"),
        (("--kid", "web1-a", "--existing"), "--existing needs --secret"),
        (("--kid", "web1-a", "--public", "sgp_e_x"), "--public is for files"),
        (("--kid", "web1-a", "--ends-in", "soon"), "must be a duration"),
        ((), "--kid"),
    ],
)
def test_wrong_calls_are_told_and_change_nothing(
    keys: Keys, rotate: Rotate, arguments: tuple[str, ...], told: str
) -> None:
    before = keys.text()
    refused = rotate("begin", keys.path, *arguments)
    assert refused.exit_code == 64
    assert told in refused.stderr
    assert keys.text() == before


def test_pattern_that_stands_for_another_key_is_warned_about(keys: Keys, rotate: Rotate) -> None:
    begun = rotate("begin", keys.path, "--kid", "web1-a", "--new", "w2")
    assert '"w*" stands for worker as well' in begun.stderr
    keys.write(keys.text().replace('kid = "worker"', 'kid = "other"'))
    assert "no pattern" in rotate("begin", keys.path, "--kid", "other", "--new", "k1").stderr


def test_signer_that_names_the_old_key_alone_is_warned_about(keys: Keys, rotate: Rotate) -> None:
    config = keys.path.with_name("sidecar.toml")
    config.write_text(
        '[upstream]\nurls = ["amqp://127.0.0.1"]\n[publish]\naction = "sign"\nsign_with = "web1-a"\n'
        f'[keys]\nsource = "file:{keys.path}"\n'
    )
    begun = rotate("begin", keys.path, "--kid", "web1-a", "--config", config)
    assert begun.exit_code == 0
    assert 'publish.sign_with = "web1-a"' in begun.stderr

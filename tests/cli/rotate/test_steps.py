"""`keys rotate promote` and `retire`: when they are done, when not, and that every reason is told."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from support.processes import free_port
from support.rotating import GatewayOf, Keys, Rotate, StandIn, a_key

HOUR = 3600


@pytest.fixture
def begun(keys: Keys, rotate: Rotate) -> Keys:
    assert rotate("begin", keys.path, "--kid", "web1-a").exit_code == 0
    return keys


@pytest.fixture
def promoted(begun: Keys, rotate: Rotate) -> Keys:
    """Two hours ago, of a key whose seals are good for one."""
    begun.age(web1_b=6 * HOUR)
    assert rotate("promote", begun.path, "--kid", "web1-b").exit_code == 0
    begun.age(web1_a=2 * HOUR, web1_b=2 * HOUR)
    return begun


def test_promote_lets_exactly_the_new_key_sign(begun: Keys, rotate: Rotate) -> None:
    begun.age(web1_b=600)
    done = rotate("promote", begun.path, "--kid", "web1-b")
    assert done.exit_code == 0
    assert "retire" in done.stdout
    assert begun.states() == {"web1-a": "verify", "web1-b": "active", "worker": "active"}
    tables = begun.tables()
    assert tables["web1-a"]["state_since"] == tables["web1-b"]["state_since"]
    assert abs(tables["web1-a"]["state_since"].timestamp() - time.time()) < 60
    assert "state_since" not in tables["worker"]


def test_promote_waits_for_the_key_to_settle_where_nobody_is_asked(begun: Keys, rotate: Rotate) -> None:
    before = begun.text()
    early = rotate("promote", begun.path, "--kid", "web1-b")
    assert early.exit_code == 69
    assert "no gateway was asked" in early.stderr and "--force" in early.stderr
    assert begun.text() == before
    forced = rotate("promote", begun.path, "--kid", "web1-b", "--force")
    assert forced.exit_code == 0
    assert "forced, although web1-b is" in forced.stderr
    assert begun.states()["web1-b"] == "active"


def test_promote_asks_every_gateway_and_tells_all_that_do_not_have_it(
    begun: Keys, rotate: Rotate, gateway_of: GatewayOf
) -> None:
    begun.age(web1_b=24 * HOUR)
    ready = gateway_of(a_key("web1-a"), a_key("web1-b", "verify"))
    behind = gateway_of(a_key("web1-a"))
    half = gateway_of(a_key("web1-a"), a_key("web1-b", "verify", known_since=None))
    broken = gateway_of(a_key("web1-a"), failing_since=time.time() - 90)
    old = gateway_of(status=404)
    revoked = gateway_of(a_key("web1-b", "revoked"))
    over = gateway_of(a_key("web1-b", "verify", not_after=time.time() - 5))
    down = f"127.0.0.1:{free_port()}"
    everybody = [
        option for gateway in (ready, behind, half, broken, old, revoked, over) for option in gateway.gateway
    ]
    refused = rotate("promote", begun.path, "--kid", "web1-b", *everybody, "--gateway", down)
    assert refused.exit_code == 69
    reasons = [line for line in refused.stderr.splitlines() if line.startswith("  - ")]
    assert len(reasons) == 7
    for gateway, told in (
        (behind.address, "does not have web1-b"),
        (half.address, "not every worker"),
        (broken.address, "have not been readable for 1m"),
        (old.address, "HTTP status 404; is this a gateway of this version?"),
        (revoked.address, "is revoked at"),
        (over.address, "not valid now"),
        (down, "refused"),
    ):
        assert [line for line in reasons if gateway in line and told in line], (gateway, told, reasons)
    assert begun.states()["web1-b"] == "verify"
    assert rotate("promote", begun.path, "--kid", "web1-b", *ready.gateway).exit_code == 0


def test_promote_needs_no_settling_when_the_gateways_have_it(
    begun: Keys, rotate: Rotate, gateway_of: GatewayOf
) -> None:
    ready = gateway_of(a_key("web1-a"), a_key("web1-b", "verify"))
    assert (
        rotate("promote", begun.path, "--kid", "web1-b", "--gateway", f"http://{ready.address}").exit_code
        == 0
    )
    assert ready.asked == 1


@pytest.mark.parametrize(
    "answer", [[], {}, {"schema": 2}, {"schema": 1, "at": 1, "keys": [{}], "failing_since": 0}, "x", None]
)
def test_answer_of_something_else_is_no_yes(
    begun: Keys, rotate: Rotate, gateway_of: GatewayOf, answer: object
) -> None:
    other = gateway_of()
    other.answer = answer
    refused = rotate("promote", begun.path, "--kid", "web1-b", *other.gateway)
    assert refused.exit_code == 69
    assert "is not what a gateway" in refused.stderr


def test_promote_again_has_nothing_to_do(promoted: Keys, rotate: Rotate) -> None:
    before = promoted.text()
    again = rotate("promote", promoted.path, "--kid", "web1-b")
    assert (again.exit_code, "nothing to do" in again.stdout) == (0, True)
    assert promoted.text() == before


def test_promote_of_the_wrong_key_says_which_is_the_right_one(begun: Keys, rotate: Rotate) -> None:
    before = begun.text()
    for kid, code, told in (
        ("web1-a", 78, "--kid web1-b"),
        ("web9", 64, "there is no key web9"),
    ):
        refused = rotate("promote", begun.path, "--kid", kid, "--force")
        assert (refused.exit_code, told in refused.stderr) == (code, True), refused.output
    assert begun.text() == before


def test_promote_before_begin_is_told(keys: Keys, rotate: Rotate) -> None:
    keys.write(keys.text().replace('kid = "worker"\n', 'kid = "worker"\nstate = "verify"\n'))
    refused = rotate("promote", keys.path, "--kid", "worker")
    assert refused.exit_code == 78
    assert "no rotation was begun" in refused.stderr


def test_promote_in_several_files_is_done_in_all_or_in_none(tmp_path: Path, rotate: Rotate) -> None:
    one, other = Keys(tmp_path / "one"), Keys(tmp_path / "other")
    other.write_secret(one.secret.read_text().strip())
    rotate("begin", one.path, "--kid", "web1-a")
    refused = rotate("promote", one.path, other.path, "--kid", "web1-b", "--force")
    assert refused.exit_code == 78
    assert f"{other.path}: has no key web1-b" in refused.stderr
    assert one.states()["web1-b"] == "verify"


def test_promote_goes_on_where_it_was_left(tmp_path: Path, rotate: Rotate) -> None:
    """The machine stopped between two files."""
    one, other = Keys(tmp_path / "one"), Keys(tmp_path / "other")
    other.write_secret(one.secret.read_text().strip())
    assert rotate("begin", one.path, other.path, "--kid", "web1-a").exit_code == 0
    assert rotate("promote", one.path, "--kid", "web1-b", "--force").exit_code == 0
    one.age(web1_a=60, web1_b=60)
    before = one.text()
    assert rotate("promote", one.path, other.path, "--kid", "web1-b", "--force").exit_code == 0
    assert other.states() == one.states()
    assert one.text() == before


def test_signer_that_would_not_switch_keeps_it_from_being_promoted(begun: Keys, rotate: Rotate) -> None:
    begun.age(web1_b=600)
    config = begun.path.with_name("sidecar.toml")

    def promote(name: str, *options: str) -> Any:
        config.write_text(
            f'[upstream]\nurls = ["amqp://127.0.0.1"]\n[publish]\naction = "sign"\nsign_with = "{name}"\n'
            f'[admin]\nenabled = false\n[keys]\nsource = "file:{begun.path}"\n'
        )
        return rotate("promote", begun.path, "--kid", "web1-b", "-c", config, *options)

    refused = promote("web1-a")
    assert (refused.exit_code, "does not stand for web1-b" in refused.stderr) == (69, True)
    text = begun.text()
    earlier = text[text.index("[[key]]") : text.index("#users")].replace("web1-a", "web0")
    begun.write(earlier + text)
    refused = promote("web*")
    assert (refused.exit_code, "takes web0" in refused.stderr) == (69, True)
    assert promote("web1-*").exit_code == 0


def test_worker_that_would_not_believe_the_new_gateways_key_is_told(begun: Keys, rotate: Rotate) -> None:
    begun.age(web1_b=600)
    config = begun.path.with_name("worker.toml")
    config.write_text(
        '[upstream]\nurls = ["amqp://127.0.0.1"]\n[admin]\nenabled = false\n[publish]\naction = "sign"\n'
        'sign_with = "worker"\n[quarantine]\nenabled = false\n'
        '[deliver]\naction = "verify"\nrequire = "gateway"\ncountersigned_by = ["web1-a"]\n'
        f'[keys]\nsource = "file:{begun.path}"\n'
    )
    refused = rotate("promote", begun.path, "--kid", "web1-b", "-c", config)
    assert refused.exit_code == 69, refused.output
    assert "deliver.countersigned_by has web1-a and not web1-b" in refused.stderr


def test_signer_that_names_the_old_key_alone_keeps_it_from_being_retired(
    promoted: Keys, rotate: Rotate, gateway_of: GatewayOf
) -> None:
    config = promoted.path.with_name("sidecar.toml")
    config.write_text(
        '[upstream]\nurls = ["amqp://127.0.0.1"]\n[publish]\naction = "sign"\nsign_with = "web1-a"\n'
        f'[admin]\nenabled = false\n[keys]\nsource = "file:{promoted.path}"\n'
    )
    gateway = gateway_of(a_key("web1-a", "verify"), a_key("web1-b"))
    refused = rotate("retire", promoted.path, "--kid", "web1-a", "-c", config, *gateway.gateway)
    assert refused.exit_code == 69
    assert 'publish.sign_with = "web1-a" names it alone' in refused.stderr


def test_retire_takes_the_old_key_out_when_its_last_seal_is_over(
    promoted: Keys, rotate: Rotate, gateway_of: GatewayOf
) -> None:
    now = time.time()
    used = {"last_used": now - 2 * HOUR, "expires_latest": now - HOUR}
    gateways = [gateway_of(a_key("web1-a", "verify", **used), a_key("web1-b")) for _ in range(2)]
    done = rotate("retire", promoted.path, "--kid", "web1-a", *gateways[0].gateway, *gateways[1].gateway)
    assert done.exit_code == 0, done.output
    assert f"{promoted.secret}: delete it" in done.stdout
    assert promoted.states() == {"web1-b": "active", "worker": "active"}
    assert "replaces" not in promoted.tables()["web1-b"]
    assert promoted.secret.exists()
    # What was written above the old key stays above its successor.
    assert '# What web signs with.\n[[key]]\nkid = "web1-b"\n' in promoted.text()
    again = rotate("retire", promoted.path, "--kid", "web1-a", *gateways[0].gateway)
    assert (again.exit_code, "there is no key web1-a" in again.stderr) == (64, True)


def test_retire_tells_every_reason_at_once(promoted: Keys, rotate: Rotate, gateway_of: GatewayOf) -> None:
    now = time.time()
    busy = gateway_of(
        a_key("web1-a", "verify", messages_last_hour=7, last_used=now - 65, users=["shop", "web"]),
        a_key("web1-b"),
    )
    valid = gateway_of(a_key("web1-a", "verify", expires_latest=now + 1800), a_key("web1-b"))
    behind = gateway_of(a_key("web1-a", "active"))
    down = f"127.0.0.1:{free_port()}"
    options = [*busy.gateway, *valid.gateway, *behind.gateway, "--gateway", down]
    before = promoted.text()
    refused = rotate("retire", promoted.path, "--kid", "web1-a", *options)
    assert refused.exit_code == 69
    reasons = [line for line in refused.stderr.splitlines() if line.startswith("  - ")]
    for told in (
        f"7 messages in the last hour came under web1-a at {busy.address}",
        f"seals under web1-a that {valid.address} has seen are good for another 30m",
        f"{behind.address} still has web1-a in state active",
        f"{behind.address} does not have web1-b",
        down,
    ):
        assert [line for line in reasons if told in line], (told, reasons)
    assert len(reasons) == 5
    assert "the last 1m" in refused.stderr and "ago, by shop, web" in refused.stderr
    assert promoted.text() == before
    assert rotate("retire", promoted.path, "--kid", "web1-a", *options, "--force").exit_code == 0
    assert "web1-a" not in promoted.states()


def test_retire_of_a_key_that_signs_needs_force(begun: Keys, rotate: Rotate, gateway_of: GatewayOf) -> None:
    """Retired before it was promoted: the order is wrong."""
    gateway = gateway_of(a_key("web1-a"), a_key("web1-b", "verify"))
    refused = rotate("retire", begun.path, "--kid", "web1-a", *gateway.gateway)
    assert (refused.exit_code, "web1-a is active: it signs" in refused.stderr) == (69, True)
    refused = rotate("retire", begun.path, "--kid", "web1-b", *gateway.gateway)
    assert (refused.exit_code, "is to take over from web1-a" in refused.stderr) == (69, True)
    assert rotate("retire", begun.path, "--kid", "web1-b", *gateway.gateway, "--force").exit_code == 0
    assert begun.states() == {"web1-a": "active", "worker": "active"}


def test_gateways_of_different_deployments_are_no_witnesses_together(
    begun: Keys, rotate: Rotate, gateway_of: GatewayOf
) -> None:
    ours, theirs = (gateway_of(a_key("web1-b", "verify"), deployment=name) for name in ("prod", "staging"))
    refused = rotate("promote", begun.path, "--kid", "web1-b", *ours.gateway, *theirs.gateway)
    assert refused.exit_code == 69
    assert f"{ours.address} is of prod, {theirs.address} is of staging" in refused.stderr


def test_retire_asks_somebody(promoted: Keys, rotate: Rotate) -> None:
    refused = rotate("retire", promoted.path, "--kid", "web1-a")
    assert (refused.exit_code, "no gateway was asked" in refused.stderr) == (69, True)


def test_retire_never_leaves_a_file_without_keys(keys: Keys, rotate: Rotate) -> None:
    keys.write(keys.text()[: keys.text().index("# What workers")])
    before = keys.text()
    refused = rotate("retire", keys.path, "--kid", "web1-a", "--force")
    assert refused.exit_code == 78
    assert "at least one [[key]]" in refused.stderr
    assert keys.text() == before


def test_what_a_gateway_has_not_watched_counts_as_in_flight(
    promoted: Keys, rotate: Rotate, gateway_of: GatewayOf
) -> None:
    """It was started after the promotion, or after messages that are in queues yet were sealed."""
    now = time.time()
    promoted.age(web1_b=-90 * 60)  # promoted half an hour ago
    promoted.age(web1_a=-90 * 60)
    recent = gateway_of(a_key("web1-a", "verify", known_since=now - 60), a_key("web1-b"))
    refused = rotate("retire", promoted.path, "--kid", "web1-a", *recent.gateway)
    assert refused.exit_code == 69
    assert "has watched web1-a for 1m" in refused.stderr
    # Signers had switched half a minute after the promotion, and seals are good for less than max_lifetime.
    retire = ("retire", promoted.path, "--kid", "web1-a", *recent.gateway, "--quiet", "30s")
    assert rotate(*retire, "--validity", "45m").exit_code == 69
    assert rotate(*retire, "--validity", "20m").exit_code == 0


def test_gateway_that_was_just_started_does_not_know_who_still_signs(
    promoted: Keys, rotate: Rotate, gateway_of: GatewayOf
) -> None:
    """What it counted before is forgotten, and signers may read their files late."""
    now = time.time()
    promoted.age(web1_b=-100 * 60)
    promoted.age(web1_a=-100 * 60)  # promoted twenty minutes ago
    recent = gateway_of(a_key("web1-a", "verify", known_since=now - 600), a_key("web1-b"))
    retire = ("retire", promoted.path, "--kid", "web1-a", *recent.gateway, "--validity", "1m")
    refused = rotate(*retire)
    assert refused.exit_code == 69
    assert "has watched web1-a for 10m" in refused.stderr
    assert "only: whether messages still come under it is known after 1h" in refused.stderr
    # Nor is what was sealed after the promotion over, by who was late.
    late = rotate(*retire[:-1], "15m", "--quiet", "9m")
    assert late.exit_code == 69
    assert "may be good for another 4m" in late.stderr
    assert rotate(*retire, "--quiet", "9m").exit_code == 0


def test_gateway_that_knew_the_key_from_its_beginning_has_seen_all(
    promoted: Keys, rotate: Rotate, gateway_of: GatewayOf
) -> None:
    promoted.age(web1_a=-110 * 60)  # promoted ten minutes ago
    text = promoted.text().replace('kid = "web1-a"\n', 'kid = "web1-a"\ncreated = 2026-01-01T00:00:00Z\n')
    gateway = gateway_of(a_key("web1-a", "verify", known_since=1767225600.0 + 60), a_key("web1-b"))
    refused = rotate("retire", promoted.path, "--kid", "web1-a", *gateway.gateway, "--validity", "30m")
    assert refused.exit_code == 0 or "has watched" in refused.stderr
    promoted.write(text)
    assert rotate("retire", promoted.path, "--kid", "web1-a", *gateway.gateway).exit_code == 0


def test_clock_that_is_wrong_is_told(begun: Keys, rotate: Rotate, gateway_of: GatewayOf) -> None:
    begun.age(web1_b=-2 * HOUR)
    refused = rotate("promote", begun.path, "--kid", "web1-b")
    assert refused.exit_code == 69
    assert "state_since of web1-b is 1h 59m in the future" in refused.stderr
    begun.age(web1_b=3 * HOUR)
    gateway = gateway_of(a_key("web1-a"), a_key("web1-b", "verify"), at=time.time() + HOUR)
    refused = rotate("promote", begun.path, "--kid", "web1-b", *gateway.gateway)
    assert refused.exit_code == 69
    assert "the clock of this machine is 59m" in refused.stderr
    assert f"behind that of {gateway.address}" in refused.stderr


def test_revoked_key_can_go_at_once(promoted: Keys, rotate: Rotate) -> None:
    assert rotate("revoke", "web1-a", promoted.path).exit_code == 0
    assert rotate("retire", promoted.path, "--kid", "web1-a").exit_code == 0
    assert "web1-a" not in promoted.states()


def test_key_whose_successor_does_not_sign_yet_is_not_retired(begun: Keys, rotate: Rotate) -> None:
    """Revoked in a hurry, and taken out before anything signs in its place."""
    assert rotate("revoke", "web1-a", begun.path).exit_code == 0
    refused = rotate("retire", begun.path, "--kid", "web1-a")
    assert (refused.exit_code, "web1-b, which replaces web1-a, does not sign yet" in refused.stderr) == (
        69,
        True,
    )
    assert rotate("retire", begun.path, "--kid", "web1-a", "--force").exit_code == 0
    # It can still be promoted, and another rotation be begun after that.
    assert rotate("promote", begun.path, "--kid", "web1-b", "--force").exit_code == 0
    assert begun.states() == {"web1-b": "active", "worker": "active"}
    assert rotate("begin", begun.path, "--kid", "web1-b").exit_code == 0


def test_whole_rotation_leaves_a_file_that_differs_only_where_it_must(
    keys: Keys, rotate: Rotate, gateway_of: GatewayOf
) -> None:
    before = keys.text()
    assert rotate("begin", keys.path, "--kid", "web1-a").exit_code == 0
    assert rotate("promote", keys.path, "--kid", "web1-b", "--force").exit_code == 0
    assert rotate("retire", keys.path, "--kid", "web1-a", "--force").exit_code == 0
    left = [line for line in keys.text().splitlines() if not line.startswith(("created", "state"))]
    assert left == before.replace("web1-a", "web1-b").splitlines()


def test_reasons_are_told_without_secrets(promoted: Keys, rotate: Rotate, gateway_of: GatewayOf) -> None:
    secrets = [
        promoted.secret.read_text().strip(),
        promoted.secret.with_name("web1-b.secret").read_text().strip(),
    ]
    gateway = gateway_of(a_key("web1-a", messages_last_hour=1))
    told = rotate("status", promoted.path, "--json", *gateway.gateway).output
    assert json.loads(told)["keys"]
    told += rotate("retire", promoted.path, "--kid", "web1-a", *gateway.gateway).output
    assert not [secret for secret in secrets if secret in told]


def test_addresses_are_checked(begun: Keys, rotate: Rotate) -> None:
    for address in ("https://gw1:9672", "gw1:port", "http://"):
        assert rotate("promote", begun.path, "--kid", "web1-b", "--gateway", address).exit_code == 64


def test_configuration_names_a_gateway_too(begun: Keys, rotate: Rotate, gateway_of: GatewayOf) -> None:
    gateway: StandIn = gateway_of(a_key("web1-a"))
    config = begun.path.with_name("gateway.toml")
    config.write_text(f'[upstream]\nurls = ["amqp://127.0.0.1"]\n[admin]\naddress = "{gateway.address}"\n')
    refused = rotate("promote", begun.path, "--kid", "web1-b", "--config", config, *gateway.gateway)
    assert (refused.exit_code, gateway.asked) == (69, 1)
    assert "does not have web1-b" in refused.stderr

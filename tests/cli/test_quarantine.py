from __future__ import annotations

import asyncio
import base64
import json
import logging
from pathlib import Path

import aio_pika
import pytest
from click.testing import CliRunner, Result

from sealgate.cli import main
from sealgate.cli.quarantine_text import show_lines, table_lines
from sealgate.quarantine.browse import Unreadable
from sealgate.quarantine.publish import Quarantine
from sealgate.quarantine.record import Kept
from sealgate.reason import Reason
from sealgate.session.records import RefusalRecord, Tally
from support.processes import free_port
from support.rabbitmq_server import RabbitMQServer
from support.refusals import SEAL, refusal

ID = "6f1c2f9e-3b7a-4c62-9a59-0a7f5b6a1c11"
SIGNATURE = SEAL.rpartition(".")[2]


def run(*arguments: str) -> Result:
    result = CliRunner(env={"SEALGATE_CONFIG": None}).invoke(main, ["quarantine", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return result


def fill(url: str, *records: RefusalRecord) -> None:
    async def keep() -> None:
        quarantine = Quarantine(url, tally=Tally(), log=logging.getLogger("test"))
        await quarantine.start()
        for record in records:
            quarantine.keep(record)
        await quarantine.close(20)

    asyncio.run(keep())


@pytest.fixture
def url(rabbitmq: RabbitMQServer, vhost: str) -> str:
    return rabbitmq.url_of(vhost)


def listed(url: str, *options: str) -> list[dict[str, object]]:
    result = run("list", "--upstream", url, *options)
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.system
def test_list_prints_a_json_line_per_message_where_there_is_no_terminal(url: str) -> None:
    fill(url, refusal(), refusal(b"x", reason=Reason.RATE_TASK, kid="k2"))
    first, second = listed(url)
    assert (first["reason"], first["task"], first["kid"]) == ("sig.bad", "shop.tasks.pay", "k1")
    assert (second["reason"], second["body_size"]) == ("rate.task", 1)
    assert first["id"] != second["id"]
    assert [row["id"] for row in listed(url, "--kid", "k2")] == [second["id"]]
    assert [row["id"] for row in listed(url, "--reason", "sig.*", "--task", "shop.*")] == [first["id"]]


@pytest.mark.system
def test_list_says_when_its_limit_stopped_it(url: str) -> None:
    fill(url, refusal(), refusal())
    result = run("list", "--upstream", url, "--limit", "1")
    assert len(result.stdout.splitlines()) == 1
    assert "--limit 1" in result.stderr


@pytest.mark.system
def test_the_quarantine_is_found_by_the_configuration(url: str, tmp_path: Path) -> None:
    fill(url, refusal())
    config = tmp_path / "gateway.toml"
    config.write_text(f'[upstream]\nurls = ["amqp://127.0.0.1:{free_port()}", "{url}"]\n')
    assert len(run("list", "--config", str(config)).stdout.splitlines()) == 1
    config.write_text(f'[upstream]\nurls = ["amqp://nowhere.invalid"]\n[quarantine]\nurl = "{url}"\n')
    assert len(run("list", "--config", str(config)).stdout.splitlines()) == 1
    config.write_text(f'[upstream]\nurls = ["{url}"]\n[quarantine]\nexchange = "other"\n')
    result = run("list", "--config", str(config))
    assert (result.exit_code, result.stdout) == (0, "")
    assert "no queue other" in result.stderr


@pytest.mark.system
def test_show_prints_everything_but_the_signature(url: str) -> None:
    fill(url, refusal(b'[["a"], {}, {}]'))
    (row,) = listed(url)
    result = run("show", str(row["id"]), "--upstream", url)
    assert result.exit_code == 0
    for expected in (
        "reason: sig.bad",
        "exchange: shop",
        "  content_type: application/json",
        "  retries: 3",
        '[["a"], {}, {}]',
    ):
        assert expected in result.stdout.splitlines()
    assert SIGNATURE not in result.stdout


@pytest.mark.system
def test_show_body_raw_is_the_body_byte_for_byte(url: str) -> None:
    body = bytes(range(256)) * 1000
    fill(url, refusal(body))
    (row,) = listed(url)
    assert run("show", str(row["id"]), "--upstream", url, "--body", "raw").stdout_bytes == body
    shown = json.loads(run("show", str(row["id"]), "--upstream", url, "--json").stdout)
    assert base64.b64decode(shown["publication"]["body_base64"]) == body


@pytest.mark.system
def test_discard_by_id_by_filter_and_all(url: str) -> None:
    fill(url, refusal(), refusal(), *[refusal(reason=Reason.RATE_TASK)] * 3)
    first = str(listed(url)[0]["id"])
    assert run("discard", first, "--upstream", url).exit_code == 0
    assert run("discard", first, "--upstream", url).exit_code == 1
    assert run("show", first, "--upstream", url).exit_code == 1
    assert "discarded 3" in run("discard", "--reason", "rate.*", "--upstream", url).stderr
    assert len(listed(url)) == 1
    assert "discarded 1" in run("discard", "--all", "--yes", "--upstream", url).stderr
    assert listed(url) == []


@pytest.mark.system
def test_discard_all_asks_first(url: str) -> None:
    fill(url, refusal())
    assert run("discard", "--all", "--upstream", url).exit_code == 130
    assert len(listed(url)) == 1


@pytest.mark.system
def test_a_queue_that_is_not_allowed_is_exit_77(rabbitmq: RabbitMQServer, vhost: str) -> None:
    rabbitmq.ctl("add_user", f"reader-{vhost}", "pw")
    rabbitmq.ctl("set_permissions", "--vhost", vhost, f"reader-{vhost}", "^$", "^$", "^$")
    fill(rabbitmq.url_of(vhost), refusal())
    result = run("list", "--upstream", f"amqp://reader-{vhost}:pw@127.0.0.1:{rabbitmq.port}/{vhost}")
    assert result.exit_code == 77
    assert "ACCESS_REFUSED" in result.stderr


@pytest.mark.system
def test_a_foreign_message_is_shown_as_unreadable(url: str) -> None:
    async def intrude() -> None:
        async with await aio_pika.connect(url) as connection:
            exchange = await (await connection.channel()).get_exchange("sealgate.quarantine")
            await exchange.publish(aio_pika.Message(b"\x1b[2J", message_id="\x1b[2J"), "")

    fill(url, refusal())
    asyncio.run(intrude())
    row = listed(url)[1]
    assert row == {
        "id": "\x1b[2J",
        "unreadable": "the content type is not application/x-sealgate-publication",
    }
    shown = run("show", "\x1b[2J", "--upstream", url).stdout
    assert "unreadable" in shown
    assert "\x1b" not in shown


def test_an_absent_broker_is_exit_69() -> None:
    result = run("list", "--upstream", f"amqp://guest:hunter2@127.0.0.1:{free_port()}")
    assert (result.exit_code, result.stdout) == (69, "")
    assert "hunter2" not in result.output


def test_no_broker_at_all_is_exit_78() -> None:
    result = run("list")
    assert result.exit_code == 78
    assert "upstream.urls" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["discard"],
        ["discard", ID, "--all"],
        ["discard", ID, "--reason", "sig.bad"],
        ["discard", "--all", "--task", "x"],
        ["show"],
        ["show", ID, "--json", "--body", "raw"],
        ["list", "--limit", "0"],
        ["list", "--no-such-option"],
        ["release", ID],
    ],
)
def test_a_wrong_call_is_exit_64(arguments: list[str]) -> None:
    assert run(*arguments, "--upstream", "amqp://127.0.0.1:1").exit_code == 64


@pytest.mark.parametrize("command", ["list", "show", "discard"])
def test_help_has_examples(command: str) -> None:
    assert f"sealgate quarantine {command}" in run(command, "--help").stdout


def test_a_table_is_aligned_harmless_and_cut() -> None:
    hostile = refusal(task="\x1b[31m" + "t" * 100, user="a\nb")
    lines = table_lines([Kept(ID, hostile), Unreadable("", "junk")])
    head, first, second = lines
    assert head.split()[:4] == ["id", "at", "reason", "task"]
    assert first.index("sig.bad") == head.index("reason") == second.index("(unreadable)")
    assert all(line.isprintable() for line in lines)
    assert "t" * 41 not in first


def test_one_message_in_full_is_harmless() -> None:
    lines = show_lines(Kept(ID, refusal(b"\x1b]0;owned\x07", task="\x1b[2J", header=b"\x00")))
    assert all(line.isprintable() for line in lines)
    assert r"\x1b]0;owned\x07" in lines[-1]

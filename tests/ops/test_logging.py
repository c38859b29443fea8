from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from sealgate.ops import logging as logging_module
from sealgate.ops.logging import (
    AUDIT_LOGGER,
    FIELD_CHARS_MAX,
    SAMPLED_KEYS_MAX,
    Format,
    Sampled,
    configure_logging,
)

LOG = logging.getLogger("sealgate.test.logging")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def untouched_logging() -> Iterator[None]:
    """Put back the logging of the test run."""
    loggers = [logging.getLogger(name) for name in ("", *logging_module._SILENT, "asyncio", AUDIT_LOGGER)]
    before = [(logger, logger.level, logger.handlers[:]) for logger in loggers]
    yield
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers


def to(stream: io.StringIO, level: str = "info", style: Format = "auto") -> io.StringIO:
    configure_logging(level, style, stream)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_without_a_terminal_a_line_is_a_json_object() -> None:
    stream = to(io.StringIO())
    LOG.warning("upstream.lost", extra={"address": "10.0.0.1:5672", "tries": 3})
    (line,) = lines(stream)
    assert str(line.pop("ts")).endswith("Z")
    assert line == {
        "level": "warning",
        "logger": LOG.name,
        "event": "upstream.lost",
        "address": "10.0.0.1:5672",
        "tries": 3,
    }


def test_a_sentence_with_an_event_field_keeps_both() -> None:
    stream = to(io.StringIO())
    LOG.info("the gate is open", extra={"event": "gate.listening"})
    (line,) = lines(stream)
    assert (line["event"], line["message"]) == ("gate.listening", "the gate is open")


def test_on_a_terminal_a_line_is_text() -> None:
    stream = to(Terminal())
    LOG.warning("upstream.lost", extra={"address": "10.0.0.1:5672", "why": "it said no"})
    assert stream.getvalue().endswith(' warning upstream.lost address=10.0.0.1:5672 why="it said no"\n')


@pytest.mark.parametrize(("style", "first"), [("json", "{"), ("text", "0123456789")])
def test_the_format_can_be_chosen(style: Format, first: str) -> None:
    for stream in (io.StringIO(), Terminal()):
        to(stream, style=style)
        LOG.warning("event")
        assert stream.getvalue()[0] in first


@pytest.mark.parametrize("style", ["json", "text"])
def test_nobody_can_write_a_line_of_his_own(style: Format) -> None:
    stream = to(io.StringIO(), style=style)
    LOG.warning("a\nfake line \x1b[2J", extra={"task": "x\n12:00:00.000 error fake \u2028 \x9b31m"})
    assert len(stream.getvalue().splitlines()) == 1
    assert stream.getvalue().rstrip("\n").isprintable()


@pytest.mark.parametrize("style", ["json", "text"])
def test_a_long_field_is_cut(style: Format) -> None:
    stream = to(io.StringIO(), style=style)
    LOG.warning("event", extra={"text": "x" * 100_000})
    assert FIELD_CHARS_MAX < len(stream.getvalue()) < FIELD_CHARS_MAX + 300


def test_levels_below_are_not_printed() -> None:
    stream = to(io.StringIO(), level="error")
    LOG.warning("event")
    assert stream.getvalue() == ""


def test_the_audit_is_printed_at_any_level() -> None:
    stream = to(io.StringIO(), level="error")
    logging.getLogger(AUDIT_LOGGER).info("refused")
    assert len(lines(stream)) == 1


def test_amqp_libraries_are_silent_even_at_debug_because_they_log_messages() -> None:
    stream = to(io.StringIO(), level="debug")
    logging.getLogger("aio_pika.exchange").debug("Publishing %r", b"body")
    logging.getLogger("aiormq.connection").error("again")
    assert stream.getvalue() == ""


def test_asyncio_may_still_tell_of_our_own_errors() -> None:
    stream = to(io.StringIO(), level="debug")
    logging.getLogger("asyncio").debug("Using selector")
    logging.getLogger("asyncio").error("Task exception was never retrieved")
    assert [line["event"] for line in lines(stream)] == ["Task exception was never retrieved"]


@pytest.mark.parametrize("style", ["json", "text"])
def test_an_exception_is_there_with_its_traceback(style: Format) -> None:
    stream = to(io.StringIO(), style=style)
    try:
        raise ValueError("bad")
    except ValueError:
        LOG.exception("failed")
    assert "ValueError: bad" in stream.getvalue()
    assert "Traceback" in stream.getvalue()


def test_an_unknown_level_is_told() -> None:
    with pytest.raises(ValueError, match="LOUD"):
        configure_logging("loud")


def test_configuring_again_replaces() -> None:
    first = to(io.StringIO())
    second = to(io.StringIO())
    LOG.warning("event")
    assert first.getvalue() == ""
    assert len(lines(second)) == 1


def counts(stream: io.StringIO) -> list[tuple[object, object]]:
    return [(line["event"], line.get("count")) for line in lines(stream)]


def test_repeats_are_counted_and_printed_now_and_then() -> None:
    stream, clock = to(io.StringIO()), Clock()
    sampled = Sampled(LOG, every_s=10, clock=clock)
    for _ in range(100):
        sampled.warning("lost", address="a")
        clock.now += 0.3
    assert counts(stream) == [("lost", None), ("lost", 34), ("lost", 34)]
    sampled.flush()
    assert counts(stream)[-1] == ("lost", 31)


def test_rows_are_told_apart_by_their_key() -> None:
    stream = to(io.StringIO())
    sampled = Sampled(LOG, clock=Clock())
    for key in ("a", "b", "a"):
        sampled.warning("lost", key, address=key)
    assert [line["address"] for line in lines(stream)] == ["a", "b"]


def test_flushing_owes_nothing_twice_and_forgets_quiet_rows() -> None:
    stream, clock = to(io.StringIO()), Clock()
    sampled = Sampled(LOG, every_s=10, clock=clock)
    sampled.warning("lost")
    sampled.warning("lost")
    sampled.flush()
    sampled.flush()
    assert counts(stream) == [("lost", None), ("lost", 1)]
    clock.now += 11
    sampled.flush()
    sampled.warning("lost")
    assert counts(stream)[2:] == [("lost", None)]


def test_endless_keys_fall_together() -> None:
    stream = to(io.StringIO())
    sampled = Sampled(LOG, clock=Clock())
    for number in range(SAMPLED_KEYS_MAX * 2):
        sampled.warning("lost", str(number))
    assert len(stream.getvalue().splitlines()) == SAMPLED_KEYS_MAX + 1


@pytest.mark.parametrize(
    "library", ["botocore.parsers", "urllib3.connectionpool", "hvac", "aiormq.connection"]
)
def test_debug_lines_of_libraries_that_see_secrets_are_not_printed(library: str) -> None:
    stream = to(io.StringIO(), "debug")
    logging.getLogger(library).debug("Response body: %s", "hunter2")
    logging.getLogger("sealgate.app").debug("said")
    assert [line["event"] for line in lines(stream)] == ["said"]

"""The comparison itself: what it must notice, and what it must not take for the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from interop.compare import compare, lines
from interop.fetch import ROOT, check_hash
from interop.running import Outcome, RunError, read_lines, read_report
from interop.suites import HERE, Expected, Run, load_expected, load_suites

DIRECT = Run("direct", "direct")
CHAIN = Run("chain", "chain")
UNSEEN = Run("chain, seal unseen", "chain", unsealed=True)
PASSED = Outcome("passed")
FAILED = Outcome("failed", why="it said no")


def expected(outcome: str = "failed", seal: bool = False) -> list[Expected]:
    return [Expected("lib", "t::one", "chain", outcome, seal, "a reason")]


def test_equal_outcomes_match() -> None:
    comparison = compare("lib", {DIRECT: {"t::one": FAILED}, CHAIN: {"t::one": FAILED}}, [])
    assert comparison.matches
    assert "  failed directly: t::one: it said no" in lines(comparison)


@pytest.mark.parametrize("found", [FAILED, Outcome("skipped"), Outcome("error")])
def test_any_other_outcome_is_told_by_name_and_does_not_match(found: Outcome) -> None:
    comparison = compare("lib", {DIRECT: {"t::one": PASSED}, CHAIN: {"t::one": found}}, [])
    assert not comparison.matches
    assert any("DIFFERS, chain: t::one" in line for line in lines(comparison))


def test_tests_that_ran_on_one_route_alone_do_not_match() -> None:
    for direct, chain in (({"t::one": PASSED}, {}), ({}, {"t::one": PASSED})):
        assert not compare("lib", {DIRECT: direct, CHAIN: chain}, []).matches


def test_expected_difference_matches_in_this_outcome_alone() -> None:
    by_run = {DIRECT: {"t::one": PASSED}, CHAIN: {"t::one": FAILED}}
    assert compare("lib", by_run, expected()).matches
    assert not compare("lib", by_run, expected("error")).matches
    assert not compare("other", by_run, expected()).matches


def test_expected_difference_that_does_not_show_does_not_match() -> None:
    comparison = compare("lib", {DIRECT: {"t::one": PASSED}, CHAIN: {"t::one": PASSED}}, expected())
    assert not comparison.matches
    assert any("NOT SEEN, chain: t::one" in line for line in lines(comparison))


def test_what_the_seal_explains_must_be_gone_without_it() -> None:
    by_run = {DIRECT: {"t::one": PASSED}, CHAIN: {"t::one": FAILED}, UNSEEN: {"t::one": PASSED}}
    assert compare("lib", by_run, expected(seal=True)).matches
    assert not compare("lib", by_run | {UNSEEN: {"t::one": FAILED}}, expected(seal=True)).matches


def report(home: Path, *cases: str) -> Path:
    path = home / "report.xml"
    path.write_text(f"<testsuites><testsuite>{''.join(cases)}</testsuite></testsuites>")
    return path


def case(name: str, inside: str = "") -> str:
    return f'<testcase classname="t" name="{name}" time="0.5">{inside}</testcase>'


def test_report_gives_each_test_its_outcome(tmp_path: Path) -> None:
    path = report(
        tmp_path,
        case("good"),
        case("bad", '<failure message="no&#10;more">trace</failure>'),
        case("bad", '<error message="clean-up"/>'),
        case("unclean"),
        case("unclean", '<error message="clean-up"/>'),
        case("left", '<skipped message="why"/>'),
    )
    assert read_report(path) == {
        "t::good": Outcome("passed", 0.5),
        "t::bad": Outcome("failed", 0.5, "no"),
        "t::unclean": Outcome("error", 0.5, "clean-up"),
        "t::left": Outcome("skipped", 0.5, "why"),
    }


def test_report_without_tests_or_with_two_of_a_name_compares_nothing(tmp_path: Path) -> None:
    for cases in ((), (case("one"), case("one"))):
        with pytest.raises(RunError):
            read_report(report(tmp_path, *cases))


def test_outcomes_told_line_by_line_are_read(tmp_path: Path) -> None:
    log = tmp_path / "tests.log"
    log.write_text(
        "=== RUN   TestOne\n    why_test.go:7: no more\n--- FAIL: TestOne (0.50s)\n"
        "--- PASS: TestTwo (0.25s)\n"
        "ok three (0.10s)\nnot ok four # it said no (0.10s)\nok  \tsome/package\t1s\n"
    )
    assert read_lines(log, 1) == {
        "TestOne": Outcome("failed", 0.5, "why_test.go:7: no more"),
        "TestTwo": Outcome("passed", 0.25),
        "three": Outcome("passed", 0.1),
        "four": Outcome("failed", 0.1, "it said no"),
    }


@pytest.mark.parametrize(
    ("text", "code"), [("ok one (0.10s)\n", -9), ("panic: x\nok one (0.10s)\n", 1), ("", 0)]
)
def test_tests_that_did_not_come_to_their_end_compare_nothing(tmp_path: Path, text: str, code: int) -> None:
    log = tmp_path / "tests.log"
    log.write_text(text)
    with pytest.raises(RunError):
        read_lines(log, code)


def test_another_archive_than_was_pinned_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "lib-1.tar.gz"
    archive.write_bytes(b"something else")
    with pytest.raises(ValueError, match="not 00"):
        check_hash(archive, "00" * 32)


def test_suites_have_hashes_and_the_versions_that_our_own_tests_use() -> None:
    pinned = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
    )
    for suite in load_suites().values():
        if suite.command:
            assert all(re.fullmatch(r".+@\d[\d.]+", package) for package in suite.npm)
            continue
        assert re.fullmatch(r"[0-9a-f]{64}", suite.sha256)
        assert pinned.get(suite.distribution, suite.version) == suite.version


def test_every_expected_difference_is_of_a_suite_and_has_a_reason() -> None:
    suites = load_suites()
    found = load_expected()
    assert {entry.suite for entry in found} <= suites.keys()
    assert all(suites[entry.suite].unsealed for entry in found if entry.seal)
    assert len({(entry.suite, entry.test, entry.route) for entry in found}) == len(found)


def test_no_index_is_named() -> None:
    for name in ("suites.toml", "fetch.py"):
        assert not re.search(r"https?://(?!\{host\})|index-url", (HERE / name).read_text())

"""Formats, suppressions and exit codes, on one application that lacks much."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from sealgate.cli import main
from sealgate.cli.doctor import probing
from sealgate.cli.doctor.catalogue import RULES
from sealgate.cli.doctor.celery_facts import Facts
from sealgate.cli.doctor.probing import probe
from support import sarif_shape
from support.doctor_apps import doctor, write_app

LACKING = {"accept_content": ["json", "pickle"], "worker_prefetch_multiplier": 4, "task_compression": "zlib"}


MORE = '\n\n@app.task(serializer="yaml")\ndef load(data):\n    pass\n'
_FACTS: dict[Path, Facts] = {}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an application in `my shop`, which has an error, two warnings and a note."""
    home = tmp_path_factory.mktemp("home")
    (home / "my shop").mkdir()
    write_app(home / "my shop", LACKING, MORE)
    return home


@pytest.fixture
def folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The application, from the current folder. It never changes, so it is imported once only."""

    def remembered(request: probing.Request, timeout_s: float) -> Facts:
        if request.workdir not in _FACTS:
            _FACTS[request.workdir] = probe(request, timeout_s)
        return _FACTS[request.workdir]

    monkeypatch.chdir(home)
    monkeypatch.setattr(probing, "probe", remembered)
    return Path("my shop")


def run(folder: Path, *arguments: str) -> Any:
    return doctor("celery", "-A", "shop", "--workdir", folder, *arguments)


def test_text_tells_what_where_why_and_the_line_to_change(folder: Path) -> None:
    result = run(folder)
    assert result.exit_code == 1
    assert "\x1b" not in result.stdout
    first, *blocks = result.stdout.split("\n\n")
    assert first.startswith("Celery application shop: 2 tasks, Celery 5.")
    what, place, *why, change = blocks[0].splitlines()
    assert what == 'error    celery.pickle: accept_content has "pickle"'
    assert place == "         at      my shop/shop_config.py:11: accept_content"
    assert why == ["         why     " + next(rule.why for rule in RULES if rule.id == "celery.pickle")]
    assert change == '         change  accept_content = ["json"]'
    assert 'shop.load is sent as "yaml"\n         at      my shop/shop.py:13: serializer\n' in result.stdout
    assert "at      my shop/shop_config.py:9: worker_prefetch_multiplier" in result.stdout
    assert result.stdout.endswith("1 error, 2 warnings, 1 note\n")


def test_the_line_to_change_mends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each change, written as told, leaves nothing of its rule."""
    monkeypatch.chdir(tmp_path)
    folder = Path()
    write_app(folder, LACKING, MORE)
    found = json.loads(run(folder, "--format", "json").stdout)["findings"]
    mended = [finding for finding in found if finding["file"].endswith("shop_config.py")]
    assert len(mended) == 3
    config = folder / "shop_config.py"
    lines = config.read_text().splitlines()
    for finding in mended:
        lines[finding["line"] - 1] = finding["change"]
    config.write_text("\n".join(lines))
    left = json.loads(run(folder, "--format", "json").stdout)["findings"]
    assert [finding["subject"] for finding in left] == ["shop.load"]


def test_json_counts_and_tells_the_same(folder: Path) -> None:
    document = json.loads(run(folder, "--format", "json").stdout)
    assert document["version"] == 1
    assert document["counts"] == {"error": 1, "warning": 2, "note": 1}
    assert document["findings"][0] == {
        "id": "celery.pickle",
        "severity": "error",
        "title": "pickle is used",
        "subject": "accept_content:pickle",
        "message": 'accept_content has "pickle"',
        "why": next(rule.why for rule in RULES if rule.id == "celery.pickle"),
        "change": 'accept_content = ["json"]',
        "file": "my shop/shop_config.py",
        "line": 11,
        "key": "accept_content",
    }


def test_sarif_is_of_the_standards_shape(folder: Path) -> None:
    log = json.loads(run(folder, "--format", "sarif", "--ignore", "celery.compression").stdout)
    sarif_shape.check(log)
    results = log["runs"][0]["results"]
    assert [result["level"] for result in results] == ["error", "warning", "warning", "note"]
    assert [result.get("suppressions") for result in results] == [None, None, None, [{"kind": "external"}]]
    physical = results[0]["locations"][0]["physicalLocation"]
    assert physical == {
        "artifactLocation": {"uri": "my%20shop/shop_config.py"},
        "region": {"startLine": 11},
    }
    prints = [result["partialFingerprints"]["sealgateFinding/v1"] for result in results]
    assert len(set(prints)) == 4


@pytest.fixture(scope="module")
def sarif_log(tmp_path_factory: pytest.TempPathFactory) -> Any:
    home = tmp_path_factory.mktemp("shop")
    write_app(home, LACKING)
    return json.loads(run(home, "--format", "sarif").stdout)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["version"], "2.0.0"),
        (["runs", 0, "tool", "driver", "name"], None),
        (["runs", 0, "results", 0, "message"], "text"),
        (["runs", 0, "results", 0, "level"], "fatal"),
        (["runs", 0, "results", 0, "ruleIndex"], 0.5),
        (["runs", 0, "results", 0, "locations", 0, "physicalLocation", "region", "startLine"], 0),
        (["runs", 0, "results", 0, "locations", 0, "physicalLocation", "artifactLocation", "uri"], "my shop"),
        (["runs", 0, "results", 0, "severity"], "error"),
    ],
)
def test_the_shape_that_sarif_is_held_against_can_fail(sarif_log: Any, path: list[Any], value: Any) -> None:
    sarif_shape.check(sarif_log)
    log = copy.deepcopy(sarif_log)
    target = log
    for part in path[:-1]:
        target = target[part]
    target[path[-1]] = value
    with pytest.raises(AssertionError):
        sarif_shape.check(log)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((), 1),
        (("--fail-on", "error"), 1),
        (("--ignore", "celery.pickle"), 1),
        (("--ignore", "celery.pickle", "--fail-on", "error"), 0),
        (("--ignore", "celery.p*", "--ignore", "celery.yaml@shop.load"), 0),
        (("--ignore", "celery.p*", "--ignore", "celery.yaml@shop.other"), 1),
        (("--ignore", "celery.p*", "--ignore", "celery.yaml", "--fail-on", "note"), 1),
        (("--fail-on", "never"), 0),
    ],
)
def test_the_exit_code_is_that_of_the_worst_finding_left(
    folder: Path, arguments: tuple[str, ...], code: int
) -> None:
    assert run(folder, *arguments).exit_code == code


def test_suppressions_are_told_and_idle_ones_too(folder: Path) -> None:
    result = run(folder, "--ignore", "celery.pickle", "--ignore", "celery.events")
    assert "celery.pickle" not in result.stdout
    assert result.stdout.endswith("ignored nothing: --ignore celery.events\n2 warnings, 1 note; 1 ignored\n")
    document = json.loads(run(folder, "--ignore", "celery.pickle", "--format", "json").stdout)
    assert [finding["id"] for finding in document["suppressed"]] == ["celery.pickle"]


def test_suppressions_come_from_the_environment_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEALGATE_DOCTOR_IGNORE", "celery.p* celery.yaml")
    assert run(folder).exit_code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("--ignore", "celery.pikle"),
        ("--ignore", "nothing.*"),
        ("--fail-on", "fatal"),
        ("--format", "xml"),
        ("--django", "x"),
    ],
)
def test_wrong_usage_exits_with_64(folder: Path, arguments: tuple[str, ...]) -> None:
    assert run(folder, *arguments).exit_code == 64


def test_without_an_application_usage_is_told() -> None:
    assert doctor("celery").exit_code == 64


def test_colours_are_for_terminals_that_want_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["doctor", "celery", "-A", "shop", "--workdir", str(folder)]
    assert "\x1b[" in CliRunner().invoke(main, arguments, color=True).stdout
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in CliRunner().invoke(main, arguments, color=True).stdout


def test_a_report_goes_to_a_file(folder: Path, tmp_path: Path) -> None:
    result = run(folder, "--output", str(tmp_path / "report.txt"))
    assert result.exit_code == 1
    assert result.stdout == ""
    assert (tmp_path / "report.txt").read_text() == run(folder).stdout


def test_every_rule_is_listed_once_with_a_reason() -> None:
    ids = [rule.id for rule in RULES]
    assert len(ids) == len(set(ids))
    listed = doctor("rules").stdout.splitlines()
    assert [line.split()[0] for line in listed] == ids
    for rule in RULES:
        assert re.fullmatch(r"[a-z]+\.[a-z0-9-]+", rule.id)
        assert rule.why.endswith(".")
        assert not rule.title.endswith(".")

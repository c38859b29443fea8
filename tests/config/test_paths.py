from __future__ import annotations

import pytest

from sealgate.config.paths import Path, dotted, env_name, leaves, suggest, suggest_env


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("listen", "address"), "listen.address"),
        (("rule", 0, "match", "task"), "rule[0].match.task"),
        (("rate", "shop.tasks.*"), 'rate."shop.tasks.*"'),
        (("rate", ""), 'rate.""'),
        ((0,), "[0]"),
    ],
)
def test_path_is_written_as_in_toml(path: Path, text: str) -> None:
    assert dotted(path) == text


def test_leaves_are_the_settings_of_every_section() -> None:
    paths = leaves()
    assert ("deployment",) in paths
    assert ("listen", "tls", "client_ca") in paths
    assert ("rule",) in paths
    assert ("rate",) in paths
    assert ("listen",) not in paths
    assert ("listen", "tls") not in paths
    assert len({env_name(path) for path in paths}) == len(paths)


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        (("listen", "adress"), "listen.address"),
        (("upstream", "url"), "upstream.urls"),
        (("clock_skew",), "replay.clock_skew"),
        (("xyzzy",), ""),
    ],
)
def test_suggestion_is_the_nearest_name(path: Path, meant: str) -> None:
    assert suggest(path) == (f"; did you mean {meant}?" if meant else "")


def test_suggestion_for_a_variable_ignores_case() -> None:
    assert suggest_env("sealgate__listen__adress") == "; did you mean SEALGATE__LISTEN__ADDRESS?"

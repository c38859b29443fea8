from __future__ import annotations

import pytest

from sealgate.verify.globs import Patterns, is_glob, permits


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("app.add", "app.add", True),
        ("app.add", "app.add ", False),
        ("app.add", "App.add", False),
        ("app.*", "app.add", True),
        ("app.*", "app.", True),
        ("app.*", "app.a.b\nc", True),
        ("app.*", "xapp.add", False),
        ("a?c", "abc", True),
        ("a?c", "ac", False),
        ("a.c", "abc", False),
        ("a[b]c", "abc", False),
        ("a[b]*", "a[b]c", True),
        ("*", "", True),
        ("", "", True),
        ("", "a", False),
    ],
)
def test_pattern_matches_whole_names_only(pattern: str, name: str, matches: bool) -> None:
    assert Patterns((pattern,)).match(name) is matches


def test_one_of_several_patterns_is_enough() -> None:
    patterns = Patterns(("a", "b*", "*c"))
    assert [patterns.match(name) for name in ("a", "bx", "xc", "d")] == [True, True, True, False]


def test_no_list_permits_anything_and_an_empty_one_nothing() -> None:
    assert permits(None, "a")
    assert not permits((), "a")
    assert not permits((), "")


def test_wildcards_make_a_glob() -> None:
    assert [is_glob(text) for text in ("a.b", "a*", "a?")] == [False, True, True]

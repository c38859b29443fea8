from __future__ import annotations

from functools import cache
from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


@given(glob=st.text("ab*?", max_size=8), name=st.text("ab", max_size=12))
def test_pattern_matches_what_a_plain_search_matches(glob: str, name: str) -> None:
    @cache
    def matches(at: int, of: int) -> bool:
        if at == len(glob):
            return of == len(name)
        if glob[at] == "*":
            return matches(at + 1, of) or (of < len(name) and matches(at, of + 1))
        return of < len(name) and glob[at] in ("?", name[of]) and matches(at + 1, of + 1)

    assert Patterns((glob,)).match(name) is matches(0, 0)
    assert Patterns((glob, "none")).match(name) is matches(0, 0)


def test_pattern_of_many_stars_takes_no_longer() -> None:
    """Names come from anybody: with every star tried at every place, this one took five seconds."""
    started = perf_counter()
    assert not Patterns(("*a" * 4 + "*b",)).match("a" * 255)
    assert perf_counter() - started < 1.0

"""The text of a key file: what is changed, and that nothing else is."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealgate.cli.keys.editing import EditError, KeyText
from sealgate.cli.keys.naming import next_kid, pattern_for

A = '[[key]]\nkid = "a"\nalg = "x"\n'
B = '[[key]]\nkid = "b"\nalg = "y"\n'


def changed(text: str, kid: str, **values: str | int | None) -> str:
    edited = KeyText(text)
    edited.change(kid, values)
    return edited.text()


def copied(text: str, kid: str, new: str) -> str:
    edited = KeyText(text)
    edited.copy(kid, {"kid": new})
    return edited.text()


def removed(text: str, kid: str) -> str:
    edited = KeyText(text)
    edited.remove(kid)
    return edited.text()


def test_nothing_changed_is_the_same_text() -> None:
    for text in (
        A,
        A + B,
        A.rstrip(),
        f"\n\n# one\n{A}\n# two\n\n# three\n{B}# four",
        A.replace("\n", "\r\n"),
    ):
        assert KeyText(text).text() == text


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('state = "active"\n', 'state = "verify"\n'),
        ('state="active"   # since May\n', 'state="verify"   # since May\n'),
        ("  state = 'active'\n", '  state = "verify"\n'),
        ("", 'state = "verify"\n'),
    ],
)
def test_value_is_changed_in_its_place(line: str, expected: str) -> None:
    text = A + line + "# the end\n\n" + B
    assert changed(text, "a", state="verify") == A + expected + "# the end\n\n" + B


def test_moments_are_written_in_utc_and_fields_taken_out() -> None:
    text = changed(A + B, "a", created=1767225600, alg=None)
    assert text == '[[key]]\nkid = "a"\ncreated = 2026-01-01T00:00:00Z\n' + B


def test_copy_stands_behind_its_original_and_before_the_next_comment() -> None:
    text = f"# of a\n{A}#off = 1\n\n# of b\n{B}"
    copy = A.replace('"a"', '"c"') + "#off = 1\n\n"
    assert copied(text, "a", "c") == f"# of a\n{A}#off = 1\n\n{copy}# of b\n{B}"


def test_copy_at_the_end_of_a_file_without_a_newline() -> None:
    assert copied(A.rstrip(), "a", "c") == A + "\n" + A.replace('"a"', '"c"')
    assert copied(f"{A}# x", "a", "c") == f"{A}# x\n\n" + A.replace('"a"', '"c"') + "# x\n"
    assert copied(f"{A}\n# vim: ft=toml\n", "a", "c").endswith("# vim: ft=toml\n")


def test_lines_keep_their_ends() -> None:
    text = (A + B).replace("\n", "\r\n")
    edited = KeyText(text)
    edited.copy("a", {"kid": "c", "created": 1767225600})
    assert edited.text().count("\n") == edited.text().count("\r\n") == 11


def test_removed_key_takes_its_comment_along_unless_its_successor_follows() -> None:
    text = f"# file\n\n# of a\n{A}\n# of b\n{B}"
    assert removed(text, "a") == f"# file\n\n# of b\n{B}"
    assert removed(text, "b") == f"# file\n\n# of a\n{A}\n"
    successor = B + 'replaces = "a"\n'
    assert removed(f"# of a\n{A}\n{successor}", "a") == f"# of a\n{successor}"


def test_loose_comments_between_keys_stay() -> None:
    assert removed(f"{A}\n# loose\n\n{B}", "a") == f"\n# loose\n\n{B}"
    assert removed(f"{A}\n{B}\n# loose\n", "b") == f"{A}\n\n# loose\n"


def test_several_changes_in_one_text() -> None:
    edited = KeyText(A + B)
    edited.copy("b", {"kid": "c"})
    edited.change("c", {"alg": "z"})
    edited.remove("a")
    assert edited.text() == B + "\n" + B.replace('"b"', '"c"').replace('"y"', '"z"')
    assert edited.fields("c") == {"kid": "c", "alg": "z"}
    assert edited.fields("a") is None


@pytest.mark.parametrize(
    "text",
    [
        'key = [{ kid = "a", alg = "x" }]\n',
        '[[key]]\nkid = "a"\ntasks = ["""\n[[key]]\nkid = "c"\n"""]\n',
        "[[key]]\nkid = \"a\"\nalg = '''\n# no comment\n[[key]]\n'''\n",
    ],
)
def test_other_ways_to_write_keys_are_left_to_the_operator(text: str) -> None:
    tomllib.loads(text)
    with pytest.raises(EditError, match="change it by hand"):
        KeyText(text)


@pytest.mark.parametrize("header", ["[[ key ]]", '[["key"]]', "  [[key]]", "[[key]] # mine", "[['key']]\t"])
def test_headers_may_be_written_otherwise(header: str) -> None:
    text = A.replace("[[key]]", header)
    assert changed(text, "a", alg="z") == text.replace('"x"', '"z"')


_FILLING = st.sampled_from(
    ["", "\n", "# c\n", "\n\n", "# [[key]]\n", "\n# c\n\n# d\n", "   \n", "#state = 1\n"]
)
_FIELDS = st.sampled_from(
    [
        "",
        'state = "active"\n',
        "n = 1 # c\n",
        'l = [\n  "x", # c\n  "y",\n]\n',
        't = """\n# c\n\nx"""\n',
        "f = 2.50\n",
    ]
)
_KEYS = st.lists(st.tuples(_FILLING, _FIELDS, _FILLING, _FIELDS), min_size=1, max_size=4)


@settings(max_examples=60)
@given(_KEYS, _FILLING, st.data())
def test_copies_changes_and_removals_say_what_was_meant(
    keys: list[tuple[str, str, str, str]], tail: str, data: st.DataObject
) -> None:
    parts = []
    for number, (above, first, middle, last) in enumerate(keys):
        renamed = last.replace("state", "other").replace("n =", "m =").replace("l =", "k =")
        renamed = renamed.replace("t =", "u =").replace("f =", "g =")
        parts.append(f'{above}[[key]]\nkid = "k{number}"\n{first}{middle}{renamed}')
    text = "".join(parts) + tail
    before = tomllib.loads(text)["key"]
    index = data.draw(st.integers(0, len(keys) - 1))
    kid = f"k{index}"
    edited = KeyText(text)
    edited.copy(kid, {"kid": "new", "state": "verify", "created": 1767225600})
    both = edited.text()
    assert [table["kid"] for table in tomllib.loads(both)["key"]].index("new") == index + 1
    edited.remove("new")
    after = edited.text()
    assert tomllib.loads(after)["key"] == before
    # Every comment is still there, in its order, whatever became of blank lines.
    assert [line for line in after.splitlines() if line.strip()] == [
        line for line in text.splitlines() if line.strip()
    ]


@pytest.mark.parametrize(
    ("kid", "taken", "expected"),
    [
        ("web1-a", (), "web1-b"),
        ("web1-a", ("web1-b", "web1-c"), "web1-d"),
        ("web_y", (), "web_z"),
        ("web-z", (), "web-z-b"),
        ("k1", (), "k2"),
        ("k9", ("k10",), "k11"),
        ("k009", (), "k010"),
        ("worker", (), "worker-b"),
        ("worker", ("worker-b",), "worker-c"),
        ("x" * 64, (), None),
    ],
)
def test_next_names(kid: str, taken: tuple[str, ...], expected: str | None) -> None:
    assert next_kid(kid, taken) == expected


@pytest.mark.parametrize(
    ("old", "new", "pattern"),
    [("web1-a", "web1-b", "web1-*"), ("k1", "k2", "k*"), ("worker", "worker-b", "worker*"), ("a", "b", None)],
)
def test_patterns_for_both(old: str, new: str, pattern: str | None) -> None:
    assert pattern_for(old, new) == pattern

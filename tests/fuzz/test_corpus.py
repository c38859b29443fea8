"""What fuzzing has found so far, through every target, without a fuzzer."""

from __future__ import annotations

import sys
from types import FrameType

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from fuzz import corpus
from fuzz.strategies import near
from fuzz.targets import TARGETS, Target

#: Calls of functions, C's included, that one input may take: so many, and so many for each of its octets.
CALLS_MAX = 100_000
CALLS_PER_OCTET_MAX = 1000


def every_input(target: Target) -> list[bytes]:
    return [*corpus.inputs(target.name), *corpus.cases(target.name).values(), b""]


class _Calls:
    """Counts calls, for a bound on time that does not ask a clock."""

    def __init__(self, calls_max: int) -> None:
        self.left = calls_max

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        self.left -= event in ("call", "c_call")


def calls_left(target: Target, data: bytes) -> int:
    """Run one input; how many more calls it might have taken."""
    calls = _Calls(CALLS_MAX + CALLS_PER_OCTET_MAX * len(data))
    before = sys.getprofile()
    sys.setprofile(calls)
    try:
        target.run(data)
    finally:
        sys.setprofile(before)
    return calls.left


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_every_input_of_the_corpus_passes_in_no_more_steps_than_its_size_allows(target: Target) -> None:
    assert corpus.inputs(target.name), "the tree has no input for this target"
    target.run(b"")  # what is made once only
    for data in every_input(target):
        assert calls_left(target, data) > 0, data


CASES = [(target, name) for target in TARGETS for name in corpus.cases(target)]


@pytest.mark.parametrize(("target", "name"), CASES)
def test_what_broke_something_once_does_so_no_more(target: str, name: str) -> None:
    TARGETS[target].run(corpus.cases(target)[name])


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_inputs_near_the_corpus_pass(target: Target) -> None:
    @settings(
        max_examples=60,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        derandomize=True,
    )
    @given(near(every_input(target)))
    def run(data: bytes) -> None:
        target.run(data)

    run()


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(data=st.binary(max_size=64))
def test_noise_passes(target: Target, data: bytes) -> None:
    target.run(data)


def test_the_corpus_in_the_tree_is_small() -> None:
    for path in (*corpus.CORPUS.iterdir(), *corpus.CASES.iterdir()):
        assert path.stem in TARGETS, f"{path.name} is of no target"
        assert path.stat().st_size < 2 * corpus.TARGET_BYTES_MAX
    for target in TARGETS:
        assert max(map(len, corpus.inputs(target))) <= corpus.INPUT_BYTES_MAX


def test_a_corpus_is_saved_smallest_first_and_bounded(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "CORPUS", tmp_path)
    monkeypatch.setattr(corpus, "TARGET_BYTES_MAX", 8)
    assert corpus.save("x", [b"aaaa", b"a", b"bb", b"a", b"ccc"]) == 3
    assert corpus.inputs("x") == [b"a", b"bb", b"ccc"]
    assert corpus.save("x", [b"a", b"bb"], [b"long enough", b"a"]) == 2
    assert corpus.inputs("x") == [b"a", b"long enough"]


def test_two_cases_of_one_name_are_an_error(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "CASES", tmp_path)
    lines = ["# why", corpus.case_line("first", b"\x00"), corpus.case_line("second", b"")]
    (corpus.CASES / "x.txt").write_text("\n".join(lines) + "\n")
    assert corpus.cases("x") == {"first": b"\x00", "second": b""}
    (corpus.CASES / "x.txt").write_text("\n".join([*lines, lines[1]]))
    with pytest.raises(ValueError, match="two cases"):
        corpus.cases("x")

"""Play what there is to play to the core, and tell what it answered: `python -m differential.play KIND`.

One line per case: its name, and a digest of all that was seen. `--show NAME` tells it in full instead. What
is played is the same in every process; what differs from one to the next (hash seeds, addresses) is not told.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import sys
from collections.abc import Callable, Iterator

from sealgate.variant import core_variant

#: Fuzz targets for the edges, which are never compiled, and the one that `chunked` tells more of.
NO_CORE = frozenset({"journal", "record", "session"})
Tell = Callable[[str], None]
Case = tuple[str, Callable[[Tell], None]]


def vectors() -> Iterator[Case]:
    """The vectors of seal1: every intermediate value."""
    from differential.streams import play_vector
    from support.vectors import VECTORS

    for name, vector in VECTORS.items():
        yield name, lambda tell, vector=vector: play_vector(vector, tell)


def hostile() -> Iterator[Case]:
    """The rows of hostile.jsonl that are messages: the whole verdict."""
    from differential.streams import hostile_rows, play_row

    for name, run in hostile_rows():
        yield name, lambda tell, run=run: play_row(run, tell)


def fuzzed() -> Iterator[Case]:
    """The corpus of every fuzz target and the cases it kept, and changes of them: every parser's answer."""
    from differential.streams import play_input
    from fuzz import corpus
    from fuzz.targets import TARGETS

    for name, target in TARGETS.items():
        if name in NO_CORE:
            continue
        known = [*corpus.inputs(name), *corpus.cases(name).values()]
        for number, data in enumerate(known):
            yield f"{name}-{number}", lambda tell, run=target.run, data=data: play_input(run, data, tell)
        dice = random.Random(name)
        for number in range(len(known)):
            data = changed(dice, known)[: target.bytes_max]
            yield (
                f"{name}-changed-{number}",
                lambda tell, run=target.run, data=data: play_input(run, data, tell),
            )


def changed(dice: random.Random, known: list[bytes]) -> bytes:
    """One input, bent here and there, perhaps with the rest of another."""
    data = bytearray(dice.choice(known))
    for _ in range(dice.randrange(1, 5)):
        at = dice.randrange(len(data) + 1)
        how = dice.randrange(4)
        if how == 0:
            data[at:at] = dice.randbytes(dice.randrange(1, 4))
        elif how == 1:
            del data[at : at + dice.randrange(1, 6)]
        elif how == 2 and at < len(data):
            data[at] = dice.choice((0, 1, 0x7F, 0x80, 0xFF, data[at] ^ 1 << dice.randrange(8)))
        else:
            other = dice.choice(known)
            data[at:] = other[dice.randrange(len(other) + 1) :]
    return bytes(data)


def chunked() -> Iterator[Case]:
    """Conversations of the corpus, each in several random chunkings: what each side was told, and records."""
    from differential.streams import play_conversation
    from fuzz import corpus

    for number, data in enumerate(corpus.inputs("session")):
        for chunking in range(3):
            seed = f"{number}/{chunking}"
            yield seed, lambda tell, data=data, seed=seed: play_conversation(data, random.Random(seed), tell)


def simulated() -> Iterator[Case]:
    """Simulated conversations, seed by seed: every command of the session, and the transcript."""
    from differential.streams import play_simulation

    for seed in range(300):
        yield str(seed), lambda tell, seed=seed: play_simulation(seed, tell)


KINDS = {kind.__name__: kind for kind in (vectors, hostile, fuzzed, chunked, simulated)}


def digest_of(play: Callable[[Tell], None]) -> str:
    digest = hashlib.sha256()
    play(lambda line: digest.update(line.encode("utf-8", "surrogatepass") + b"\n"))
    return digest.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(prog="differential.play", description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument(
        "--expect", choices=("plain", "compiled"), required=True, help="the core to be played to"
    )
    parser.add_argument("--show", help="this case alone, in full")
    options = parser.parse_args()
    if core_variant() != options.expect:
        sys.exit(f"this is the {core_variant()} core")
    for name, play in KINDS[options.kind]():
        if options.show is not None:
            if options.show == name:
                play(print)
            continue
        print(name, digest_of(play))


if __name__ == "__main__":
    main()

"""What the steps of a rotation ask of the key files, and do to them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from sealgate.cli.keys.asked import NotNow
from sealgate.cli.keys.editing import Value
from sealgate.cli.keys.judging import Standing
from sealgate.cli.keys.keyfiles import KeyFile, standing_of
from sealgate.cli.keys.naming import next_kid
from sealgate.cli.keys.telling import paths
from sealgate.config.errors import ConfigError, Problem
from sealgate.signing.keyring import Key, KeyState
from sealgate.signing.token import is_kid


def unique(files: Sequence[Path]) -> list[Path]:
    """Without those named twice."""
    return list({path.absolute(): path for path in files}.values())


def standing(kid: str, files: Sequence[KeyFile]) -> Standing:
    """What the files say of `kid`. Raises `click.BadParameter` where none has it."""
    standing = standing_of(kid, files)
    if standing is None:
        known = ", ".join(dict.fromkeys(known for file in files for known in file.ring.kids()))
        message = f"there is no key {kid} in {paths([file.path for file in files])} (keys: {known})"
        raise click.BadParameter(message, param_hint="--kid")
    return standing


def check_can_begin(kid: str, files: Sequence[KeyFile]) -> None:
    """Every file has the old key, and no rotation that it is a part of is still under way."""
    problems = []
    for file in files:
        key = file.key(kid)
        if key is None:
            problems.append(Problem(str(file.path), "", f"has no key {kid}"))
            continue
        successor = file.successor(kid)
        if successor is not None:
            step = "retire" if successor.state is KeyState.ACTIVE else "promote"
            target = kid if step == "retire" else successor.kid
            message = (
                f"a rotation of {kid} is under way: {successor.kid} replaces it and is in state "
                f"{successor.state.value}; next: sealgate keys rotate {step} {file.path} --kid {target}"
            )
            problems.append(Problem(str(file.path), "", message))
        before = file.key(key.replaces) if key.replaces is not None else None
        if before is not None and before.state is not KeyState.REVOKED:
            message = (
                f"{kid} is itself taking over from {before.kid}, which is not retired yet; "
                f"next: sealgate keys rotate retire {file.path} --kid {before.kid}"
            )
            problems.append(Problem(str(file.path), "", message))
    if problems:
        raise ConfigError(problems)


def check_can_promote(kid: str, files: Sequence[KeyFile]) -> bool:
    """Whether there is anything to do. Raises `ConfigError` for a key that is on its way out."""
    problems = []
    for file in files:
        successor = file.successor(kid)
        if successor is not None:
            message = f"{kid} is the old key: {successor.kid} replaces it, so it is --kid {successor.kid}"
            problems.append(Problem(str(file.path), "", message))
    if problems:
        raise ConfigError(problems)
    keys = [file.key(kid) for file in files]
    return any(key is None or key.state is not KeyState.ACTIVE for key in keys)


def new_name(kid: str, new: str | None, files: Sequence[KeyFile]) -> str:
    taken = {known for file in files for known in file.ring.kids()}
    if new is None:
        new = next_kid(kid, taken)
        if new is None:
            raise click.UsageError(f"no name for the key after {kid}: give one with --new")
        return new
    if not is_kid(new):
        raise click.BadParameter("want 1 to 64 of A-Z a-z 0-9 _ -", param_hint="--new")
    if new in taken:
        raise click.BadParameter(f"there is a key {new} already", param_hint="--new")
    return new


def end_of(old: Key, created: int | None, ends_in_s: float | None, now: int) -> int | None:
    """Moment the new key ends: it lives as long as the old one was to."""
    if ends_in_s is not None:
        return now + int(ends_in_s)
    begin = old.not_before if old.not_before is not None else created
    if old.not_after is None or begin is None:
        return None
    return now + old.not_after - begin


def replaced(kid: str, files: Sequence[KeyFile]) -> str:
    """The kid that `kid` takes over from, the same in all files. Raises `ConfigError`."""
    problems = []
    found = set()
    for file in files:
        key = file.key(kid)
        if key is None:
            problems.append(Problem(str(file.path), "", f"has no key {kid}: begin the rotation there, too"))
        elif key.state is KeyState.REVOKED:
            problems.append(Problem(str(file.path), "", f"{kid} is revoked"))
        elif key.replaces is None:
            problems.append(Problem(str(file.path), "", f"{kid} replaces no key: no rotation was begun"))
        else:
            found.add(key.replaces)
    if len(found) > 1:
        where = paths([file.path for file in files])
        problems.append(Problem(where, "", f"{kid} replaces {' and '.join(sorted(found))}"))
    if problems:
        raise ConfigError(problems)
    return found.pop()


def switch(file: KeyFile, old: str, new: str, since: dict[str, Value]) -> None:
    """The new key active, the old one verify; what is so already keeps its moment."""
    before, after = file.key(old), file.key(new)
    if after is not None and after.state is not KeyState.ACTIVE:
        file.text.change(new, {"state": KeyState.ACTIVE.value, **since})
    if before is not None and before.state is KeyState.ACTIVE:
        file.text.change(old, {"state": KeyState.VERIFY.value, **since})


def decide(step: str, reasons: Sequence[str], force: bool) -> None:
    """Raises `NotNow` with all the reasons, or tells them when it is done all the same."""
    if reasons and not force:
        raise NotNow(step, reasons)
    for reason in dict.fromkeys(reasons):
        click.echo(f"warning: forced, although {reason}", err=True)


def secret_file(file: KeyFile, kid: str) -> str:
    table = file.text.fields(kid) or {}
    text = str(table.get("secret") or table.get("private") or "")
    return text.removeprefix("file:") if text.startswith("file:") else ""

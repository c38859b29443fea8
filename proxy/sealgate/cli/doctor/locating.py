"""Where in an application's files a setting is written, and how the line to write there looks."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Final

from sealgate.cli.doctor.celery_facts import Facts, Task
from sealgate.cli.doctor.findings import Place

#: A settings file is no larger; what is, was made by a machine.
_FILE_BYTES_MAX: Final = 2 * 1024 * 1024


class Locator:
    """Finds settings in the files of one application. Paths are given relative to `root` where they are below
    it."""

    def __init__(self, facts: Facts, root: Path) -> None:
        self._facts = facts
        self._root = root.resolve()
        self._files = [Path(name) for name in (facts.files.config, facts.files.app) if name]
        self._lines: dict[Path, dict[str, int]] = {}

    def place(self, setting: str) -> Place:
        """Where `setting` is set, last assignment of the first file that has one; else where to set it."""
        names = self._names(setting)
        for file in self._files:
            if file not in self._lines:
                self._lines[file] = _assignments(file)
            lines = [line for name in names if (line := self._lines[file].get(name))]
            if lines:
                return Place(self._relative(file), max(lines), setting)
        return Place(self._relative(self._files[0]) if self._files else "", 0, setting)

    def literal(self, secret: str) -> Place | None:
        """The line of the application's files in which a text has `secret` in it."""
        for file in self._files:
            line = _line_with(file, secret)
            if line:
                return Place(self._relative(file), line)
        return None

    def of_task(self, task: Task, option: str) -> Place:
        """Where `task` is defined."""
        return Place(self._relative(Path(task.file)) if task.file else "", task.line, option)

    def at_line(self, file: str, line: int) -> Place:
        """A line of a file that is known already."""
        return Place(self._relative(Path(file)) if file else "", line)

    def line(self, setting: str, value: str) -> str:
        """The line that sets `setting`, as this application writes its settings."""
        own = bool(self._facts.namespace or self._facts.files.config)
        return f"{'' if own else 'app.conf.'}{self.name(setting)} = {value}"

    def name(self, setting: str) -> str:
        """`setting` as it is called in the place where this application has its settings."""
        prefix = self._facts.namespace
        return f"{prefix}_{setting}".upper() if prefix else setting

    def _names(self, setting: str) -> list[str]:
        names = [setting, setting.upper(), self._facts.old_names.get(setting, "")]
        if self._facts.namespace:
            names.append(f"{self._facts.namespace}_{setting}".upper())
        return [name for name in names if name]

    def _relative(self, file: Path) -> str:
        resolved = file.resolve()
        return str(resolved.relative_to(self._root) if resolved.is_relative_to(self._root) else file)


def _parse(file: Path) -> ast.Module:
    """An empty module for what can not be read."""
    try:
        if file.stat().st_size <= _FILE_BYTES_MAX:
            return ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        pass
    return ast.Module([], [])


def _line_with(file: Path, secret: str) -> int:
    for node in ast.walk(_parse(file)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and secret in node.value:
            return node.lineno
    return 0


def _assignments(file: Path) -> dict[str, int]:
    """Name -> line of its last assignment: as a variable, an attribute, a keyword or a key of a dict."""
    lines: dict[str, int] = {}
    for node in ast.walk(_parse(file)):
        for name, line in _names_set(node):
            lines[name] = max(line, lines.get(name, 0))
    return lines


def _names_set(node: ast.AST) -> list[tuple[str, int]]:
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return [(name, node.lineno) for target in targets if (name := _target_name(target))]
    if isinstance(node, ast.keyword) and node.arg:
        # Celery(broker=...) and backend= are short for these two.
        return [({"broker": "broker_url", "backend": "result_backend"}.get(node.arg, node.arg), node.lineno)]
    if isinstance(node, ast.Dict):
        return [
            (key.value, key.lineno)
            for key in node.keys
            if isinstance(key, ast.Constant) and isinstance(key.value, str)
        ]
    return []


def _target_name(target: ast.expr) -> str:
    if isinstance(target, ast.Name):
        return target.id
    if isinstance(target, ast.Attribute):
        return target.attr
    if isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Constant):
        return str(target.slice.value)
    return ""

"""What the checks of a configuration are given: the settings with where each came from, and the keys."""

from __future__ import annotations

from dataclasses import dataclass

from sealgate.cli.doctor.findings import Finding, Place, Rule, Severity, found
from sealgate.cli.doctor.toml_lines import line_of
from sealgate.config.errors import Problem
from sealgate.config.loading import Loaded
from sealgate.config.settings import Settings
from sealgate.signing.keyring import Keyring


@dataclass(slots=True, frozen=True)
class Case:
    """One configuration. `keyring` is None where no keys are used, or they can not be read."""

    loaded: Loaded
    keyring: Keyring | None = None

    @property
    def settings(self) -> Settings:
        return self.loaded.settings

    @property
    def name(self) -> str:
        """How the configuration is called in messages."""
        return str(self.loaded.file or "the configuration")

    @property
    def keys_file(self) -> str:
        """The file of the keys; "" when they are in the environment."""
        scheme, _, name = self.settings.keys.source.partition(":")
        return name if scheme == "file" else ""

    def about(
        self,
        rule: Rule,
        message: str,
        key: str,
        change: str,
        severity: Severity | None = None,
        subject: str = "",
    ) -> Finding:
        """A finding about the setting `key`, dotted."""
        return found(rule, message, change, self.place(key), subject or key, severity)

    def place(self, key: str) -> Place:
        """Where `key` is set, or would be: in the file, a variable, or an option."""
        parts = key.replace("[", ".").replace("]", "").split(".")
        path = tuple([int(part) if part.isdigit() else part for part in parts])
        return place_of(self.loaded.problem(path, ""))

    def about_key(self, rule: Rule, kid: str, message: str, name: str, change: str) -> Finding:
        """A finding about one key of the key file."""
        index = list(self.keyring.kids()).index(kid) if self.keyring is not None else 0
        key = f"key[{index}].{name}"
        return found(rule, message, change, Place(self.keys_file, line_of(self.keys_file, key), key), kid)


def place_of(problem: Problem) -> Place:
    """The place of a problem or warning of `config`."""
    if problem.key:
        return Place(problem.where, line_of(problem.where, problem.key), problem.key)
    is_file = "/" in problem.where or "." in problem.where
    return Place(problem.where, 0, "") if is_file else Place("", 0, problem.where)

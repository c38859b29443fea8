"""`sealgate doctor --config FILE`: a configuration, its keys, and what it leads to."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sealgate.cli.checking import check_certificates
from sealgate.cli.doctor.config_case import Case
from sealgate.cli.doctor.config_checks import check_config
from sealgate.cli.doctor.findings import Report
from sealgate.cli.doctor.keys_checks import check_agreement, check_keys
from sealgate.cli.doctor.options import Output
from sealgate.cli.exits import EXIT_CONFIG
from sealgate.cli.options import load_settings
from sealgate.config.checking import check
from sealgate.config.errors import ConfigError
from sealgate.config.loading import Loaded, load
from sealgate.config.reload import KeySource

if TYPE_CHECKING:
    from sealgate.cli.doctor.live import Live


def examine_config(options: dict[str, Any], against: Path | None, live: Live | None, output: Output) -> int:
    """Examine, tell, and return the exit code: 78 where the configuration can not be used at all."""
    case = case_of(load_settings(**options))
    report = Report(f"{case.name}: publish.action = {case.settings.publish.action}")
    report.add(check_config(case))
    report.examined.append("the settings, the files they name, and the keys")
    if case.loaded.problems:
        output.tell(report)
        return EXIT_CONFIG
    now = time.time()
    report.add(check_keys(case, now))
    if against is not None:
        report.add(check_agreement(case, case_of(required(load(against))), now))
        report.examined.append(f"whether its keys are those of {against}")
    else:
        report.skipped.append("whether signers and gateway have the same keys (--against FILE)")
    if live is None:
        report.skipped.append("broker, store and traffic (--offline)")
    else:
        from sealgate.cli.doctor.live import check_live

        check_live(case, report, live)
    return output.tell(report)


def required(loaded: Loaded) -> Loaded:
    """Raises ConfigError where it can not be used."""
    loaded.require()
    return loaded


def case_of(loaded: Loaded) -> Case:
    """With what `check-config` finds, and the keys where they are used and can be read."""
    check(loaded)
    if not loaded.problems:
        check_certificates(loaded)
    keyring = None
    settings = loaded.settings
    if not loaded.problems and (settings.publish.action != "pass" or settings.deliver.action == "verify"):
        source = KeySource(settings)
        try:
            keyring = source.load()
        except ConfigError as error:  # changed since check() has read it
            loaded.problems += error.problems
    return Case(loaded, keyring)

"""Every rule of every kind of doctor, in the order of `sealgate doctor rules` and of SARIF."""

from __future__ import annotations

from typing import Final

from sealgate.cli.doctor.celery_rules import CELERY_RULES
from sealgate.cli.doctor.config_rules import CONFIG_RULES
from sealgate.cli.doctor.findings import Rule
from sealgate.cli.doctor.live_rules import LIVE_RULES

RULES: Final[tuple[Rule, ...]] = (*CONFIG_RULES, *LIVE_RULES, *CELERY_RULES)

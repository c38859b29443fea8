"""What an operator types about a running gateway, and what comes back."""

from __future__ import annotations

import json
from typing import Any

from click.testing import CliRunner, Result

from sealgate.cli import main
from support.gateway import GatewayProcess


class Operator:
    """Commands with the gateway's own configuration file."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self._gateway = gateway

    def run(self, *command: str) -> Result:
        return CliRunner().invoke(main, [*command, "--config", str(self._gateway.config)])

    def observed(self) -> dict[str, Any]:
        """The report, as JSON."""
        result = self.run("observed", "--json")
        assert result.exit_code in (0, 1), result.output
        report: dict[str, Any] = json.loads(result.stdout)
        assert result.exit_code == (1 if report["total"] else 0)
        return report

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from sealgate.cli import main
from support.http_stand_in import stand_in
from support.rotating import GatewayOf, Keys, Rotate, StandIn, an_answer


@pytest.fixture
def rotate(monkeypatch: pytest.MonkeyPatch) -> Rotate:
    """`sealgate keys rotate`; no bug of ours may end it."""
    monkeypatch.delenv("SEALGATE_CONFIG", raising=False)

    def run(*arguments: object, **environ: str) -> Result:
        texts = [str(argument) for argument in arguments]
        result = CliRunner().invoke(main, ["keys", "rotate", *texts], env=environ)
        assert result.exception is None or isinstance(result.exception, SystemExit)
        assert result.exit_code != 70, result.output
        return result

    return run


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


@pytest.fixture
def gateway_of() -> Iterator[GatewayOf]:
    """Makes gateways that have these keys."""
    with ExitStack() as stack:

        def make(*keys: dict[str, Any], status: int = 200, **given: Any) -> StandIn:
            gateway = StandIn(an_answer(*keys, **given), status)
            gateway.address = stack.enter_context(stand_in(gateway)).removeprefix("http://")
            return gateway

        yield make

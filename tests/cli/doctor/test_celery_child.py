"""The application is imported in a child: what it prints, breaks, connects to or waits for is not ours."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from support.doctor_apps import APP, PASSWORD, doctor, findings_of, pairs, write_app
from support.processes import wait_until


def test_what_the_import_prints_is_no_part_of_the_report(tmp_path: Path) -> None:
    write_app(tmp_path, more='\nprint("{}")\nimport os, sys\nos.write(1, b"raw")\nsys.stderr.write("err")\n')
    result = doctor("celery", "-A", "shop", "--workdir", tmp_path, "--format", "json")
    assert json.loads(result.stdout)["findings"] == []


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (
            "\nraise ValueError('no\\nway')\n",
            "ValueError: Couldn't import 'shop': no way ({folder}/shop.py:8)",
        ),
        ("\nimport sys\nsys.exit(0)\n", "SystemExit: 0 ({folder}/shop.py:9)"),
        ("\nimport os\nos.write(2, b'one\\ntwo\\n')\nos._exit(0)\n", "it ended without an answer: one / two"),
        ("\nimport os\nos.kill(os.getpid(), 9)\n", "it ended without an answer"),
        ("\napp = object()\n", "TypeError: this is no Celery application but a object"),
        ("\ndef broken(:\n", "SyntaxError: invalid syntax (shop.py, line 8)"),
    ],
)
def test_an_import_that_breaks_exits_with_78_and_says_where(tmp_path: Path, more: str, told: str) -> None:
    write_app(tmp_path, app=APP[: APP.index("@app")].rstrip() + "\n\n\n", more=more)
    result = doctor("celery", "-A", "shop", "--workdir", tmp_path)
    assert result.exit_code == 78
    assert result.stderr == f"sealgate: shop can not be examined: {told.format(folder=tmp_path)}\n"


def test_an_import_that_hangs_ends_at_the_deadline_with_all_it_started(tmp_path: Path) -> None:
    more = """
import subprocess, time
child = subprocess.Popen(["sleep", "600"])
open(__file__ + ".pid", "w").write(str(child.pid))
time.sleep(600)
"""
    write_app(tmp_path, more=more)
    began = time.monotonic()
    result = doctor("celery", "-A", "shop", "--workdir", tmp_path, "--timeout", "2")
    assert result.exit_code == 78
    assert "did not end within 2 s" in result.stderr
    assert time.monotonic() - began < 60
    pid = int((tmp_path / "shop.py.pid").read_text())
    # Killed it is by now; to end it needs the processor once more.
    wait_until(lambda: _has_ended(pid), 30, "the end of what the import has started")


def _has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_flood_of_output_is_not_kept(tmp_path: Path) -> None:
    write_app(tmp_path, more="\nimport os\nfor _ in range(300):\n    os.write(2, b'x' * 65536)\n")
    assert findings_of(tmp_path) == []


def test_threads_of_the_import_do_not_keep_the_doctor(tmp_path: Path) -> None:
    more = "\nimport threading, time\nthreading.Thread(target=time.sleep, args=(600,)).start()\n"
    write_app(tmp_path, more=more)
    assert findings_of(tmp_path, "--timeout", "50") == []


def test_nothing_is_connected_to(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        write_app(
            tmp_path,
            {
                "broker_url": f"amqp://shop:{PASSWORD}@{address}//",
                "result_backend": f"redis://:{PASSWORD}@{address}/0",
            },
        )
        assert findings_of(tmp_path, "--gateway", address) == []
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()


def test_no_password_is_repeated_in_any_format(tmp_path: Path) -> None:
    changes = {
        "broker_url": "amqp://shop:Hf82kd@rabbit.internal:5672//",
        "result_backend": "redis://:Hf82kd@redis.internal/0",
    }
    write_app(tmp_path, changes)
    for form in ("text", "json", "sarif"):
        result = doctor("celery", "-A", "shop", "--workdir", tmp_path, "--format", form)
        assert result.exit_code == 1
        assert "rabbit.internal" in result.stdout
        assert "Hf82kd" not in result.output


def test_a_python_that_has_no_sealgate_examines_its_own_application(tmp_path: Path) -> None:
    """Isolated from this environment, but for the application's libraries."""
    write_app(tmp_path)
    site = next(path for path in map(Path, sys.path) if (path / "celery").is_dir())
    libraries = tmp_path / "libraries"
    libraries.mkdir()
    for entry in site.iterdir():
        if not entry.name.startswith(("sealgate", "_editable", "_sealgate")) and entry.suffix != ".pth":
            (libraries / entry.name).symlink_to(entry)
    wrapper = tmp_path / "python"
    command = f'exec env PYTHONPATH="{libraries}" {sys.base_prefix}/bin/python3 -S "$@"\n'
    wrapper.write_text(f"#!/bin/sh\n{command}")
    wrapper.chmod(0o755)
    alone = subprocess.run([wrapper, "-c", "import sealgate"], capture_output=True, check=False)
    assert alone.returncode == 1
    assert findings_of(tmp_path, "--python", wrapper) == []


def test_a_python_that_is_not_there_is_told(tmp_path: Path) -> None:
    write_app(tmp_path)
    result = doctor("celery", "-A", "shop", "--workdir", tmp_path, "--python", tmp_path / "none")
    assert result.exit_code == 78
    assert "No such file or directory" in result.stderr


def test_gateways_that_are_named_are_the_only_ones(tmp_path: Path) -> None:
    write_app(tmp_path)
    found = findings_of(tmp_path, "--gateway", "gateway.internal:6672")
    assert pairs(found) == {
        ("celery.around-gateway", "amqp://127.0.0.1:6672"),
        ("celery.trusted-content", "accept_content"),
    }
    assert found[0]["severity"] == "error"
    assert urlsplit(found[0]["change"].partition('"')[2]).netloc == "USER:PASSWORD@gateway.internal:6672"


def test_the_broker_of_the_environment_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_app(tmp_path)
    monkeypatch.setitem(os.environ, "CELERY_BROKER_URL", "amqp://shop:pw@127.0.0.1:5672//")
    assert ("celery.around-gateway", "amqp://127.0.0.1:5672") in pairs(findings_of(tmp_path))

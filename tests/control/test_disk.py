from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sealgate.control.disk import DamagedError, Lock, read_whole, write_whole


def test_file_is_replaced_whole_and_is_the_owners_alone(tmp_path: Path) -> None:
    file = tmp_path / "state"
    write_whole(file, b"one")
    before = file.stat().st_ino
    write_whole(file, b"two")
    assert read_whole(file, 3) == b"two"
    assert file.stat().st_ino != before
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]


def test_what_can_not_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "state"
    write_whole(file, b"one")
    (tmp_path / "state.new").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_whole(file, b"two")
    assert read_whole(file, 10) == b"one"


def test_absent_is_none_and_too_large_is_damaged(tmp_path: Path) -> None:
    file = tmp_path / "state"
    assert read_whole(file, 10) is None
    file.write_bytes(b"x" * 11)
    with pytest.raises(DamagedError, match="over 10 bytes"):
        read_whole(file, 10)


def test_lock_is_held_by_one_process_until_its_end(tmp_path: Path) -> None:
    file = tmp_path / "state"
    script = (
        "import sys; from pathlib import Path; from sealgate.control.disk import Lock;"
        "lock = Lock(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(OSError, match="another process uses it"):
            Lock(file)
        holder.kill()
        holder.wait(20)
    Lock(file).close()
    Lock(file).close()

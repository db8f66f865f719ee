"""The HMAC key: configured, or made once for all workers."""

import threading
from pathlib import Path

import msgspec
import pytest

from tidegate.errors import PluginError
from tidegate_plugins.redact import keys
from tidegate_plugins.redact.config import Key, RedactConfig


def test_made_once_and_kept(tmp_path: Path) -> None:
    first = keys.load(None, tmp_path)
    assert keys.load(None, tmp_path) == first
    file = tmp_path / keys.FILE
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [keys.FILE]
    assert len(first) == 64


def test_workers_that_start_together_agree(tmp_path: Path) -> None:
    found: list[bytes] = []
    start = threading.Barrier(8)

    def work() -> None:
        start.wait()
        found.append(keys.load(None, tmp_path))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


def test_from_the_environment_and_from_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDACT_KEY", "sixteen bytes or more")
    file = tmp_path / "key"
    file.write_text("sixteen bytes or more\n")
    assert keys.load(Key(env="REDACT_KEY"), tmp_path) == keys.load(Key(file=str(file)), tmp_path)


@pytest.mark.parametrize("key", [Key(env="NOT_SET_ANYWHERE"), Key(file="no/such/file")])
def test_missing_keys_are_errors(key: Key, tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="key"):
        keys.load(key, tmp_path)


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="configure `key`"):
        keys.load(None, tmp_path / "missing")


def test_the_id_depends_on_the_key_only() -> None:
    assert keys.identify(b"a" * 32) == keys.identify(b"a" * 32) != keys.identify(b"b" * 32)


@pytest.mark.parametrize(
    "text",
    [
        '{"key": {}}',
        '{"key": {"env": "A", "file": "B"}}',
        '{"key": {"vault": "A"}}',
        '{"action": "erase"}',
        '{"actions": {"jwt": "erase"}}',
        '{"allow": {"digests": ["not hex"]}}',
        '{"deadline_ms": 0}',
        '{"unknown": 1}',
    ],
)
def test_configuration_is_strict(text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=RedactConfig)

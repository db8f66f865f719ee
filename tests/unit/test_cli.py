"""The command line: what it prints, and how it ends."""

import json
import tomllib
from pathlib import Path

import pytest

from tidegate.cli import main
from tidegate.clock import SystemClock
from tidegate.journal.writer import Writer
from tidegate.keys import digest
from tidegate.testing import make_intent, make_record

COMMANDS = ["serve", "check", "plugins", "schema", "demo", "simulator", "journal", "keys", "redact"]


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    writer = Writer(tmp_path, "w0-1", SystemClock())
    writer.append(make_intent(make_record(id="tg_1")))
    writer.append(make_record(id="tg_1", outcome="complete", dispatched=True))
    writer.append(make_intent(make_record(id="tg_2")))
    writer.close()
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert f"usage: tidegate {command}" in capsys.readouterr().out


def test_a_good_configuration_is_good(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "good.toml"
    path.write_text('[[plugins]]\nuse = "models"\nconfig.allow = ["*"]\n')
    assert main(["check", str(path)]) == 0
    assert "good" in capsys.readouterr().out


def test_a_bad_configuration_ends_with_2_and_every_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.toml"
    path.write_text('[listen]\nprot = 1\n[upstream]\ncredential = { env = "NOT_SET" }\n')
    assert main(["check", str(path)]) == 2
    assert main(["serve", "--config", str(path)]) == 2
    said = capsys.readouterr().err
    assert "listen.prot: unknown key; did you mean `port`?" in said
    assert "upstream.credential: the environment variable NOT_SET is not set" in said


def test_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "nowhere.toml"]) == 2
    assert "nowhere.toml: No such file or directory" in capsys.readouterr().err


def test_an_open_port_is_refused_with_the_fix(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--host", "0.0.0.0"]) == 2
    assert "tidegate keys new" in capsys.readouterr().err


def test_a_new_key_is_printed_once_with_lines_to_paste(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "new", "--team", 'we"b', "--id", "ci"]) == 0
    key, _, lines = capsys.readouterr().out.partition("\n")
    (plugin,) = tomllib.loads(lines)["plugins"]
    assert plugin["use"] == "identify"
    assert plugin["config"]["keys"] == [{"id": "ci", "team": 'we"b', "sha256": digest(key)}]
    assert key not in lines


def test_the_schema_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "tidegate configuration"


def test_plugins_are_listed_with_their_stage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split()[:2] == ["models", "authorize"] for line in lines)
    assert any(line.split()[:2] == ["metrics", "observer"] for line in lines)


def test_a_journal_is_read(journal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = ["--dir", str(journal)]
    assert main(["journal", "tail", *place]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert "tg_1" in line
    assert "complete" in line
    assert main(["journal", "tail", "--json", *place]) == 0
    kinds = [json.loads(text)["kind"] for text in capsys.readouterr().out.splitlines()]
    assert kinds == ["segment", "intent", "exchange", "intent"]
    assert main(["journal", "show", "tg_1", *place]) == 0
    assert '"outcome": "complete"' in capsys.readouterr().out
    assert main(["journal", "show", "tg_9", *place]) == 1
    assert main(["journal", "stats", *place]) == 0
    assert "complete" in capsys.readouterr().out
    assert main(["journal", "verify", *place]) == 0
    assert "intents 2, exchanges 1, open 1" in capsys.readouterr().out


def test_a_journal_with_an_exchange_twice_is_not_sound(
    journal: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    writer = Writer(journal, "w0-2", SystemClock())
    writer.append(make_record(id="tg_1"))
    writer.close()
    assert main(["journal", "verify", "--dir", str(journal)]) == 1
    assert "tg_1 has more than one exchange" in capsys.readouterr().out


def test_no_journal_there(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["journal", "tail", "--dir", str(tmp_path / "none")]) == 2
    assert "--dir" in capsys.readouterr().err

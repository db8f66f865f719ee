"""Commands that other distributions bring: named cheaply, imported on use, never in the way."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tidegate.cli import main

MODULES = {
    "greeting": '''"""Greet 100% of the people.

And more.
"""


def add(commands):
    parser = commands.add_parser("greet")
    parser.add_argument("name")
    parser.set_defaults(run=lambda options: print("hello", options.name) or 3)
''',
    "raising": '"""Seem fine."""\nraise RuntimeError("no luck")\n',
    "nameless": "def add(commands):\n    pass\n",
    "unreadable": "def (:\n",
    "usurper": '''"""Take a name that is taken."""

def add(commands):
    raise AssertionError
''',
}
POINTS = """\
[tidegate.commands]
greet = greeting:add
raising = raising:add
nameless = nameless:add
unreadable = unreadable:add
missing = nowhere.at.all:add
keys = usurper:add
"""


@pytest.fixture(autouse=True)
def others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, text in MODULES.items():
        (tmp_path / f"{name}.py").write_text(text)
    info = tmp_path / "others-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: others\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(POINTS)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in MODULES:
        sys.modules.pop(name, None)


def test_help_names_them_without_importing_any(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "greet greet 100% of the people" in said
    assert "raising seem fine" in said
    assert "unreadable (cannot be loaded: invalid syntax" in said
    assert "missing (cannot be loaded: there is no module nowhere)" in said
    assert "Take a name" not in said
    assert not set(MODULES) & set(sys.modules)


def test_one_runs_and_gives_its_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["greet", "you"]) == 3
    assert capsys.readouterr().out == "hello you\n"
    assert "raising" not in sys.modules


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("raising", "no luck"),
        ("nameless", "it adds no command of that name"),
        ("unreadable", "invalid syntax"),
        ("missing", "No module named 'nowhere'"),
    ],
)
def test_a_broken_one_says_so(name: str, reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name]) == 2
    said = capsys.readouterr().err
    assert f"error: command {name}: cannot be loaded: {reason}" in said


def test_the_gateways_own_names_are_taken(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "new", "--team", "a"]) == 0
    assert "usurper" not in sys.modules

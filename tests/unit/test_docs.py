"""The documents say what there is: no setting, command, plugin or room is left out, no link is dead."""

import argparse
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tidegate import cli
from tidegate.cli import plugged
from tidegate.config import Config, load
from tidegate.plugin import PluginSpec
from tidegate.policy.cases import Case, Defaults, Expect

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = (
    "README.md",
    "CHANGELOG.md",
    "dashboards/README.md",
    "deploy/runbook.md",
    "gateway/README.md",
    "gateway/THREAT_MODEL.md",
    "plugins/README.md",
    "deploy/policy.md",
    "deploy/README.md",
    "deploy/example-org/README.md",
)
EXAMPLE = (ROOT / "deploy/tidegate.toml").read_text()
PLUGINS = (ROOT / "plugins/README.md").read_text()
ENVIRONMENT = {"ANTHROPIC_API_KEY": "a key of nobody", "TIDEGATE_REDACT_KEY": "k" * 32}


def document(name: str) -> str:
    return (ROOT / name).read_text()


# links


def links(text: str) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def anchors(text: str) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name: str):
    dead = []
    for link in links(document(name)):
        target, _, anchor = link.partition("#")
        if target.startswith("https://"):
            continue
        path = (ROOT / name).parent / target if target else ROOT / name
        if not path.exists() or (anchor and anchor not in anchors(path.read_text())):
            dead.append(link)
    assert not dead


# settings


def keys(kind: Any, prefix: str = "") -> Iterator[str]:
    """Every key of a configuration struct, `a.b` for those within tables of its own."""
    for field in msgspec.structs.fields(kind):
        yield prefix + field.encode_name
        for inner in structs(field.type):
            yield from keys(inner, f"{prefix}{field.encode_name}.")


def structs(kind: Any) -> list[type[msgspec.Struct]]:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return [kind]
    return [found for part in getattr(kind, "__args__", ()) for found in structs(part)]


def test_every_setting_stands_in_the_example():
    missing = [
        key
        for key in keys(Config)
        if not re.search(rf"(?m)^(# ?|#   )?\[*{key.rpartition('.')[2]}(\]| )", EXAMPLE)
    ]
    # Where a secret is; the document as a whole stands for its tables.
    assert [key for key in missing if not key.endswith((".env", ".file"))] == []


def test_the_example_shows_the_defaults():
    written, default = load(EXAMPLE), Config()
    for table in ("listen", "admin", "journal"):
        assert getattr(written, table) == getattr(default, table)
    assert msgspec.structs.replace(written.upstream, credential="forward") == default.upstream


def test_the_example_can_be_used():
    done = subprocess.run(
        [sys.executable, "-m", "tidegate", "check", str(ROOT / "deploy/tidegate.toml")],
        env=os.environ | ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def ours() -> dict[str, PluginSpec[Any]]:
    points = entry_points(group="tidegate.plugins")
    return {p.name: p.load() for p in points if p.dist is not None and p.dist.name == "tidegate"}


@pytest.mark.parametrize("name", ours())
def test_every_plugin_and_its_settings_are_described(name: str):
    assert f"| [`{name}`](#{name}) |" in PLUGINS
    section = PLUGINS.partition(f"\n### {name}\n")[2]
    section = re.split(r"^##", section, maxsplit=1, flags=re.MULTILINE)[0]
    words = set(re.findall(r"[a-z_0-9]+", section))
    missing = [key for key in keys(ours()[name].config) if key.rpartition(".")[2] not in words]
    assert section
    assert not missing


def test_every_default_in_the_catalogue_is_the_default():
    wrong = []
    for name, spec in ours().items():
        section = PLUGINS.partition(f"\n### {name}\n")[2].partition("\n### ")[0]
        for key, cell in re.findall(r"^\| `([a-z_]+)` \| `([^`]+)` \|", section, re.MULTILINE):
            fields = {f.encode_name: f for f in msgspec.structs.fields(spec.config)}
            found = fields[key].get_default() if hasattr(fields[key], "get_default") else None
            default = fields[key].default if found is None else found
            if default is msgspec.NODEFAULT:
                default = fields[key].default_factory()
            shown = tomllib.loads(f"x = {cell}" if _is_toml(cell) else f"x = '{cell}'")["x"]
            plain = list(default) if isinstance(default, tuple) else default
            if plain not in (None, "") and plain != shown:
                wrong.append((name, key, shown, default))
    assert not wrong


def _is_toml(text: str) -> bool:
    try:
        tomllib.loads(f"x = {text}")
    except tomllib.TOMLDecodeError:
        return False
    return True


# commands


def commands() -> Iterator[str]:
    """`serve`, `journal tail`, … and the flags of each."""
    for asked in ["", *plugged.installed()]:
        yield from _commands(cli._parser([asked]), "tidegate")


def _commands(parser: argparse.ArgumentParser, name: str) -> Iterator[str]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for verb, below in action.choices.items():
                yield f"{name} {verb}"
                yield from _commands(below, f"{name} {verb}")


def test_every_command_stands_in_the_readme():
    assert [name for name in commands() if name not in document("README.md")] == []


def test_every_flag_of_serve_stands_in_the_readme():
    (serve,) = (
        action.choices["serve"]
        for action in cli._parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    flags = [flag for action in serve._actions for flag in action.option_strings if flag[1] == "-"]
    assert [flag for flag in flags if flag not in document("README.md")] == []


# policy tests


def test_the_sample_of_policy_tests_holds():
    done = subprocess.run(
        [sys.executable, "-m", "tidegate", "policy", "test", str(ROOT / "deploy/policy.toml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_example_organization_can_be_used_and_does_what_its_cases_say():
    for command in (["check", "tidegate.toml"], ["policy", "test", "policy.toml"]):
        done = subprocess.run(
            [sys.executable, "-m", "tidegate", *command],
            cwd=ROOT / "deploy/example-org",
            env=os.environ | ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_key_of_a_policy_test_is_described():
    text = document("deploy/policy.md")
    described = set(re.findall(r"`([a-z_]+)`", text))
    found = {key for kind in (Case, Expect, Defaults) for key in keys(kind)}
    assert {key.rpartition(".")[2] for key in found} - described - {"env", "file"} == set()


# rooms


def test_every_room_stands_in_the_tree():
    package = ROOT / "gateway/tidegate"
    rooms = {path.name for path in package.iterdir() if path.suffix == ".py" or path.is_dir()}
    rooms -= {"__init__.py", "__main__.py", "__pycache__"}
    text = document("gateway/README.md")
    assert [room for room in sorted(rooms) if f"(tidegate/{room})" not in text] == []


def test_every_module_of_a_room_is_named():
    text = document("gateway/README.md")
    named = {
        room: re.search(rf"\| \[{room}/\]\(tidegate/{room}\) \| (.*) \|", text)
        for room in ("http", "pipeline", "journal", "wire")
    }
    for room, match in named.items():
        modules = {path.stem for path in (ROOT / "gateway/tidegate" / room).glob("*.py")}
        assert match is not None
        assert modules - {"__init__"} <= set(re.findall(r"[a-z_]+", match[1]))


def test_every_dependency_has_its_reason_and_its_lock():
    project = tomllib.loads(document("pyproject.toml"))["project"]
    extras = project["optional-dependencies"]
    optional = [line for name in extras if name not in ("all", "dev") for line in extras[name]]
    names = [re.split(r"[<>=~; \[]", line)[0] for line in project["dependencies"] + optional]
    reasons = document("gateway/README.md").partition("## Dependencies")[2]
    reasons = reasons.replace(", -exporter", ", opentelemetry-exporter").partition("##")[0]
    locked = (ROOT / "deploy/locks/all.txt").read_text()
    for name in names:
        assert name in reasons
        assert re.search(rf"(?m)^{name}==", locked)
    assert "://" not in locked
    runtime = (ROOT / "deploy/locks/runtime.txt").read_text()
    assert set(re.findall(r"(?m)^\S+==\S+", runtime)) <= set(re.findall(r"(?m)^\S+==\S+", locked))


# the example of a plugin


@pytest.mark.timeout(300)  # it is a whole run of pytest
def test_the_plugin_of_the_readme_keeps_the_contract(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    source, tests = re.findall(r"^```python\n(.*?)^```$", PLUGINS, re.MULTILINE | re.DOTALL)
    (tmp_path / "max_tools.py").write_text(source)
    (tmp_path / "test_max_tools.py").write_text(tests)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        env=os.environ
        | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


def test_the_entry_point_of_the_readme_names_it():
    text, command = re.findall(r"^```toml\n(.*?)^```$", PLUGINS, re.MULTILINE | re.DOTALL)
    points = tomllib.loads(text)["project"]["entry-points"]
    commands = tomllib.loads(command)["project"]["entry-points"]

    assert points == {"tidegate.plugins": {"max-tools": "max_tools:plugin"}}
    assert commands == {plugged.GROUP: {"max-tools": "max_tools_command:add"}}

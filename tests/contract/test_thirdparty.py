"""A distribution of somebody else's: found, configured, opened and held to the contract."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.thirdparty.install import HERE, install
from tidegate import registry
from tidegate.errors import ConfigError
from tidegate.exchange import Principal
from tidegate.plugin import Admit, Refuse
from tidegate.testing import (
    FakeClock,
    check_plugin,
    make_exchange,
    make_record,
    make_request,
    open_plugin,
)

NAMES = ("office-hours", "tally")


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(install(tmp_path / "site"))
    yield
    for name in [name for name in sys.modules if name.startswith("harbor_rules")]:
        del sys.modules[name]


def test_it_is_found_beside_the_first_party_plugins():
    assert {*NAMES, "identify", "models", "limits"} <= set(registry.installed())


@pytest.mark.parametrize("name", NAMES)
def test_it_keeps_the_contract(name: str):
    check_plugin(registry.load(name))


def test_it_keeps_the_contract_when_it_refuses():
    check_plugin(registry.load("office-hours"), {"opens": "20:00:00", "closes": "21:00:00"})


def test_a_file_configures_it_like_any_other():
    text = """
    [[plugins]]
    use = "models"
    [plugins.config]
    allow = ["*"]
    [[plugins]]
    use = "office-hours"
    name = "weekdays"
    [plugins.config]
    opens = 09:30:00
    exempt = ["night-shift"]
    [[plugins]]
    use = "tally"
    """
    _, chosen = registry.resolve(text)

    assert [link.plugin.label for link in chosen] == ["models", "weekdays", "tally"]
    assert chosen[1].config.exempt == ("night-shift",)


def test_its_configuration_is_as_strict_as_ours():
    text = '[[plugins]]\nuse = "office-hours"\n[plugins.config]\nopen = 09:00:00\n'
    with pytest.raises(ConfigError, match="did you mean `opens`"):
        registry.resolve(text)


async def test_the_policy_goes_by_the_clock_it_is_given(tmp_path: Path):
    clock = FakeClock()  # a little after eleven
    spec = registry.load("office-hours")
    config = {"exempt": ["night-shift"]}
    async with open_plugin(spec, config, state_dir=tmp_path, clock=clock) as policy:
        by_day = await policy.admit(make_exchange(), make_request())
        clock.advance(7 * 3600)
        by_night = await policy.admit(make_exchange(), make_request())
        night_shift = make_request(principal=Principal("x", "night-shift"))
        exempt = await policy.admit(make_exchange(), night_shift)

    assert isinstance(by_day, Admit)
    assert isinstance(by_night, Refuse)
    assert exempt.rule == "exempt"


async def test_the_observer_goes_on_where_it_was(tmp_path: Path):
    spec = registry.load("tally")
    async with open_plugin(spec, state_dir=tmp_path) as observer:
        await observer.on_record(make_record())
        state = await observer.flush()
    async with open_plugin(spec, state_dir=tmp_path, state=state) as observer:
        await observer.on_record(make_record())
        exposition, _ = observer.scrape("")

    assert b'{team="search",outcome="complete"} 2' in exposition


def test_it_imports_nothing_but_the_contract():
    allowed = {"plugin", "exchange", "record", "wire", "errors", "clock"}
    for module in HERE.glob("harbor_rules/*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tidegate"):
                assert node.module.split(".")[1] in allowed

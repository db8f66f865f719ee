"""The price table as it is written: TOML, read strictly, dollars as exact decimals."""

import datetime
import tomllib
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import msgspec

from tidegate.errors import PluginError

PICO_PER_NANO = 1000
MILLION = 1_000_000


class Rates(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """US dollars per million tokens, by class."""

    input: Decimal
    cache_write_5m: Decimal
    cache_write_1h: Decimal
    cache_read: Decimal
    output: Decimal

    def __post_init__(self) -> None:
        for name in Rates.__struct_fields__:
            picodollars(getattr(self, name), name)

    def pico(self) -> tuple[int, int, int, int, int]:
        """Return picodollars per token, in the order of `passes.CLASSES`."""
        return (
            picodollars(self.input, "input"),
            picodollars(self.output, "output"),
            picodollars(self.cache_read, "cache_read"),
            picodollars(self.cache_write_5m, "cache_write_5m"),
            picodollars(self.cache_write_1h, "cache_write_1h"),
        )


class Long(Rates, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Rates of a request whose prompt is long."""

    above: Annotated[int, msgspec.Meta(ge=0)]
    """Tokens of prompt, cache reads and writes included."""


class Row(Rates, frozen=True, forbid_unknown_fields=True, kw_only=True, rename={"since": "from"}):
    """Prices of some models, from a day on."""

    ids: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    upstreams: tuple[str, ...] = ()
    """Names of the upstreams whose prices they are; everybody's if empty."""
    since: datetime.date = datetime.date.min
    fast: Rates | None = None
    long: Long | None = None
    geography: bool = True


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A file."""

    version: str = ""
    batch: Decimal | None = None
    geography: dict[str, Decimal] = {}
    server_tools: dict[str, Decimal] = {}
    default: Rates | None = None
    models: tuple[Row, ...] = ()

    def __post_init__(self) -> None:
        unknown = self.server_tools.keys() - {"web_search", "web_fetch"}
        if unknown:
            raise ValueError(f"server_tools.{min(unknown)}: there are web_search and web_fetch")
        for name, dollars in self.server_tools.items():
            picodollars(dollars, f"server_tools.{name}")
        for name, factor in self.geography.items():
            permille(factor, f"geography.{name}")
        if self.batch is not None:
            permille(self.batch, "batch")


def picodollars(dollars: Decimal, where: str) -> int:
    """Return dollars per million as picodollars for each.

    Raises:
        ValueError: it is negative, or finer than that.
    """
    pico = dollars * MILLION
    if not pico.is_finite() or pico < 0 or pico != int(pico):
        raise ValueError(f"{where}: {dollars} is not a price; write dollars, at most 6 decimals")
    return int(pico)


def permille(factor: Decimal, where: str) -> int:
    """Return a factor in thousandths.

    Raises:
        ValueError: it is negative, or finer than that.
    """
    found = factor * 1000
    if not found.is_finite() or found < 0 or found != int(found):
        raise ValueError(f"{where}: {factor} is not a factor; at most 3 decimals")
    return int(found)


def shipped() -> Table:
    """Return the table of this package."""
    text = (resources.files(__package__) / "prices.toml").read_text()
    return _read(text, "prices.toml")


def read(path: Path) -> Table:
    """Return the table in a file.

    Raises:
        PluginError: it cannot be read, or is none; the message names place and fix.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8"
        raise PluginError(f"prices: {path}: {reason}") from None
    return _read(text, str(path))


def _read(text: str, name: str) -> Table:
    try:
        document: dict[str, Any] = tomllib.loads(text, parse_float=Decimal)
        return msgspec.convert(document, Table)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, ArithmeticError) as error:
        raise PluginError(f"prices: {name}: {error}") from None

"""Other gateways: ratios to tidegate inside a round, and what cannot be had is said."""

import pytest

from bench.peering.gateways import NotInstalled, run
from bench.peers import _rows
from bench.side_by_side.candidates import Candidate

CANDIDATES = [Candidate(name, "") for name in ("tidegate", "litellm", "portkey")]


def sample(**tree_us: float) -> dict[str, dict[str, float]]:
    return {
        name: {"per_second": 1e6 / us, "tree_us": us, "p99_us": us} for name, us in tree_us.items()
    }


def test_ratios_are_those_of_the_rounds() -> None:
    samples = [sample(tidegate=each, litellm=110 * each, portkey=9 * each) for each in range(1, 6)]
    _, rows = _rows("unary_1k", samples, CANDIDATES)
    shown = {row[0]: row[-2:] for row in rows}
    assert shown["litellm"] == ["110.00×, 110.00-110.00", "≥ 100×: met"]
    assert shown["portkey"] == ["9.00×, 9.00-9.00", "≥ 10×: not met"]


def test_who_failed_has_no_figures() -> None:
    _, rows = _rows("unary_1k", [sample(tidegate=1.0)], CANDIDATES)
    assert rows[1][0] == "litellm"
    assert set(rows[1][1:]) == {"-", ""}


def test_what_cannot_be_installed_is_said() -> None:
    with pytest.raises(NotInstalled, match="no-such-program is not installed"):
        run("no-such-program", "install")
    with pytest.raises(NotInstalled, match=r"^why$"):
        run("sh", "-c", "echo why >&2; exit 1")

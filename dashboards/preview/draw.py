"""Draw the dashboards with Grafana's own components, over a Prometheus that scraped a gateway.

`python dashboards/preview/draw.py`, in an environment with the extra `dev`; it needs `npm`, `prometheus`,
`promtool` and `chromium`. The pictures are written to `dashboards/pictures/`. Nothing leaves this machine
but what `npm` fetches the first time. A development tool: it is in no package.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chromium import shoot
from history import backfill
from scrape import prometheus
from webpage import serve_site
from world import Gateway, World

from tidegate.clock import SystemClock

HERE = Path(__file__).parent
BOARDS = HERE.parent / "grafana"
PICTURES = HERE.parent / "pictures"
SCRAPE_S = 5
HISTORY_DAYS = 30
HISTORY_STEP_S = 600
ALL = {"job": ".+", "instance": ".+", "team": ".+", "model": ".+"}
OF_HISTORY = ("2-usage",)
"""Dashboards of long ranges: drawn over the made-up month as well."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One dashboard over one scene."""

    board: str
    scene: str

    @property
    def name(self) -> str:
        """The name of its file."""
        return f"{self.board}-month.png" if self.scene == "month" else f"{self.board}.png"


def live_scene(began_s: float, ended_s: float) -> dict[str, Any]:
    """Return what is shown of the traffic that has just been."""
    return {
        "from_ms": began_s * 1000,
        "to_ms": ended_s * 1000,
        "scrape_s": SCRAPE_S,
        "variables": ALL | {"environment": "demo"},
        "note": "a real gateway, a simulated upstream",
    }


def month_scene(ended_s: float) -> dict[str, Any]:
    """Return what is shown of the made-up month."""
    return {
        "from_ms": (ended_s - 7 * 86400) * 1000,
        "to_ms": ended_s * 1000,
        "scrape_s": HISTORY_STEP_S,
        "variables": ALL | {"environment": "made-up-month"},
        "note": "made-up: the gateway's series, stretched over a month",
    }


def build_page() -> None:
    """Build the page that draws a dashboard, unless that is done."""
    if not (HERE / "node_modules").is_dir():
        subprocess.run(["npm", "ci", "--ignore-scripts"], cwd=HERE, check=True)
    subprocess.run(["npm", "run", "--silent", "build"], cwd=HERE, check=True)


async def draw(wanted: Sequence[Picture], out: Path, minutes: float, *, hold: bool) -> None:
    """Run everything, and take the pictures."""
    with tempfile.TemporaryDirectory(prefix="tidegate-preview-") as name:
        work = Path(name)
        async with World(work).running() as gateway:
            print(f"traffic for {minutes:g} minutes; metrics at {gateway.metrics}", flush=True)
            scenes = await _month(gateway, work)
            config = {"demo": gateway.admin}
            async with prometheus(work / "prometheus", config, SCRAPE_S) as api:
                began = SystemClock().now()
                await gateway.play(minutes * 60)
                scenes["live"] = live_scene(began, SystemClock().now())
                async with serve_site(HERE / "node_modules" / ".page", BOARDS, api, scenes) as site:
                    await asyncio.to_thread(_take, site, wanted, out)
                    if hold:
                        print(f"{site}?board=1-overview&scene=live until Ctrl-C", flush=True)
                        await asyncio.Event().wait()


async def _month(gateway: Gateway, work: Path) -> dict[str, Any]:
    """Make a month of what the gateway shows after half a minute."""
    await gateway.play(30)
    ended = int(SystemClock().now())
    text = await gateway.exposition()
    await asyncio.to_thread(
        backfill, text, work / "prometheus" / "data", ended, HISTORY_DAYS, HISTORY_STEP_S
    )
    return {"month": month_scene(ended)}


def _take(site: str, wanted: Sequence[Picture], out: Path) -> None:
    out.mkdir(exist_ok=True)
    for picture in wanted:
        board = json.loads((BOARDS / f"{picture.board}.json").read_text())
        rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in board["panels"])
        address = f"{site}?board={picture.board}&scene={picture.scene}"
        for line in shoot(address, out / picture.name, rows):
            print(f"{picture.name}: {line}", file=sys.stderr)
        print(out / picture.name, flush=True)


def pictures() -> list[Picture]:
    """Return every picture that there is to take."""
    boards = sorted(path.stem for path in BOARDS.glob("*.json"))
    return [Picture(board, "live") for board in boards] + [
        Picture(board, "month") for board in OF_HISTORY
    ]


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="how long traffic flows")
    parser.add_argument("--out", type=Path, default=PICTURES, help="where the pictures go")
    parser.add_argument("--only", default="", help="the beginning of the pictures' names")
    parser.add_argument("--hold", action="store_true", help="go on serving the page")
    given = parser.parse_args()
    wanted = [picture for picture in pictures() if picture.name.startswith(given.only)]
    build_page()
    asyncio.run(draw(wanted, given.out, given.minutes, hold=given.hold))


if __name__ == "__main__":
    main()

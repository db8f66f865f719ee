"""Write the dashboards to `grafana/`, or with `--check` say which of them are not up to date.

`python dashboards/build.py`, in an environment with the extra `dev`.
"""

import argparse
import json
import sys
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from source import gateway, latency, overview, policy, quotas, usage

PLACE = Path(__file__).with_name("grafana")
BOARDS = (overview, usage, latency, policy, quotas, gateway)


def rendered() -> dict[str, str]:
    """Return the text of each file. Every target, panel and key stands where it stood before."""
    boards = [_visible(module.board().build()) for module in BOARDS]
    return {
        f"{place}-{str(board.uid).removeprefix('tidegate-')}.json": _plain(
            json.dumps(board, cls=JSONEncoder)
        )
        for place, board in enumerate(boards, start=1)
    }


def _plain(text: str) -> str:
    """Take out what the types say of variables of another kind."""
    board = json.loads(text)
    for variable in board["templating"]["list"]:
        for name in ("auto", "auto_count", "auto_min"):
            variable.pop(name, None)
    return json.dumps(board, sort_keys=True, indent=2, ensure_ascii=False) + "\n"


def _visible(board: Dashboard) -> Dashboard:
    """Take links and annotations out of the menu that Grafana 12 and later would hide them in."""
    for link in board.links or ():
        link.placement = None
    for annotation in (board.annotations and board.annotations.list_val) or ():
        annotation.placement = None
    return board


def stale() -> list[str]:
    """Return the names of files that are missing, superfluous or not what would be written."""
    wanted = rendered()
    found = {path.name: path.read_text() for path in PLACE.glob("*.json")}
    names = wanted.keys() | found.keys()
    return sorted(name for name in names if wanted.get(name) != found.get(name))


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing, name what would change"
    )
    if parser.parse_args().check:
        names = stale()
        sys.stderr.writelines(f"not up to date: dashboards/grafana/{name}\n" for name in names)
        return 1 if names else 0
    PLACE.mkdir(exist_ok=True)
    for name in stale():
        (PLACE / name).unlink(missing_ok=True)
    for name, text in rendered().items():
        (PLACE / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Pictures of a page, by a Chromium without a screen."""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

WIDTH = 1500
ROW = 38
HEAD = 96
_CONSOLE = re.compile(r":CONSOLE[^\]]*\] (.+)")


def shoot(address: str, out: Path, rows: int) -> list[str]:
    """Write a picture of a dashboard of so many grid rows; return what the page complained of."""
    with tempfile.TemporaryDirectory(prefix="tidegate-chromium-") as profile:
        done = subprocess.run(
            [
                *("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
                *(
                    "--no-first-run",
                    "--disable-background-networking",
                    "--disable-component-update",
                ),
                *("--disable-sync", "--hide-scrollbars", "--enable-logging=stderr", "--v=0"),
                f"--user-data-dir={profile}",
                "--virtual-time-budget=20000",
                f"--window-size={WIDTH},{rows * ROW + HEAD}",
                f"--screenshot={out}",
                address,
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )
    if done.returncode or not out.is_file():
        raise SystemExit(f"chromium took no picture of {address}\n{done.stderr}")
    _shrink(out)
    return _CONSOLE.findall(done.stderr)


def _shrink(picture: Path) -> None:
    """Make do with fewer colours, where there is a program for that."""
    if shutil.which("pngquant"):
        place = ("--force", "--output", str(picture), "--", str(picture))
        subprocess.run(["pngquant", "--speed", "1", "128", *place], check=True)

"""Other people's programs, run to their end."""

import subprocess
from os import PathLike


def run(*command: str | PathLike[str]) -> subprocess.CompletedProcess[str]:
    """Run one that has to find nothing wrong."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done

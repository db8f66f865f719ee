"""The simulator ends when it is told to, whatever whoever started it does about signals."""

import signal
import subprocess
import sys

import pytest

# What a shell does with SIGINT for its background, and the kernel with SIGTERM for a container's
# first process.
IGNORING = "import os, signal, sys; signal.signal({0}, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"


@pytest.mark.process
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_simulator_ends_by_a_signal_that_its_parent_ignored(number: signal.Signals) -> None:
    simulator = [sys.executable, "-m", "tidegate", "simulator", "--port", "0"]
    with subprocess.Popen(
        [sys.executable, "-c", IGNORING.format(int(number)), *simulator],
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("http://127.0.0.1:")
        process.send_signal(number)
        try:
            code = process.wait(timeout=20)
        finally:
            process.kill()
    assert code == 0

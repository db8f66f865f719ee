"""What is read off processes and off the upstream: all of it, and nothing of another's."""

import http.client
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.side_by_side.loads import Upstream, until_answered
from bench.side_by_side.native import compiled
from bench.side_by_side.processes import Process
from support.ports import free_port

BURNS = """
import threading, time

def burn():
    while time.thread_time() < 0.2:
        pass

thread = threading.Thread(target=burn)
thread.start()
thread.join()
print("over", flush=True)
time.sleep(60)
"""


def waited(done: Callable[[], bool], within_s: float = 30.0) -> None:
    deadline = time.monotonic() + within_s
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_cpu_of_a_thread_that_has_ended_counts(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = Process([sys.executable, "-c", BURNS], "0", log)
    try:
        waited(lambda: "over" in log.read_text())
        assert process.cpu().tree >= 0.2
    finally:
        process.stop()


@pytest.fixture
def mock(tmp_path: Path) -> Iterator[Upstream]:
    upstream = Upstream(free_port())
    command = [compiled("mock_upstream"), "-p", str(upstream.port)]
    process = Process(command, "0", tmp_path / "log")
    until_answered(process, upstream.port, "GET", "/_mock/stats", b"")
    yield upstream
    process.stop()


def test_streams_that_are_left_open_are_ended(mock: Upstream) -> None:
    mock.set(delay_us=1_000_000)
    connection = http.client.HTTPConnection("127.0.0.1", mock.port, timeout=30)
    connection.request("POST", "/v1/messages", json.dumps({"stream": True, "max_tokens": 1000}))
    answer = connection.getresponse()
    mock.until_open(1, 10)
    mock.abandon()
    mock.until_open(0, 10)
    with pytest.raises(http.client.IncompleteRead):
        answer.read()
    connection.close()

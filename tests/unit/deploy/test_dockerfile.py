"""The Dockerfile copies what is there, and makes an image that runs as nobody."""

import json
import re
from pathlib import Path

from support.programs import run

ROOT = Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
STEPS = re.findall(r"(?m)^([A-Z]+) ((?:.*\\\n)*.*)$", DOCKERFILE)


def test_the_image_copies_what_is_there_and_what_the_context_has():
    context = (ROOT / ".dockerignore").read_text().splitlines()
    sources = [
        source
        for name, words in STEPS
        if name == "COPY" and not words.startswith("--from")
        for source in words.split()[:-1]
    ]
    assert sources
    for source in sources:
        assert (ROOT / source).exists()
        assert f"!{source}" in context


def test_the_image_runs_as_nobody_and_ends_by_a_signal():
    steps = dict(STEPS)  # the last of each
    assert steps["USER"] == "10001:10001"
    assert steps["STOPSIGNAL"] == "SIGTERM"
    entry, command = json.loads(steps["ENTRYPOINT"]), json.loads(steps["CMD"])
    assert [*entry, *command][:2] == ["tidegate", "serve"]
    assert {int(word) for word in steps["EXPOSE"].split()} == {8080, 9464}


def test_hadolint_finds_nothing_to_say():
    run("hadolint", "--failure-threshold", "style", DEPLOY / "Dockerfile")

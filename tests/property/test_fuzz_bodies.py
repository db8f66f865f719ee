"""No body is read otherwise here than by another parser of the same bytes: the short hunt.

The long one: `python tests/support/fuzzing.py --seconds 600`.
"""

import random

import pytest

from support.fuzzing import Difference, check, hunt, same


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_mutation_of_a_body_is_read_in_two_ways(seed: int) -> None:
    found = hunt(random.Random(seed), 1500)
    assert found["accepted"] > 50
    assert found["refused"] > 50


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (1, True),
        (0, False),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ([1], [1, 2]),
        (0.0, -0.0),
    ],
)
def test_the_hunt_tells_documents_apart(one: object, other: object) -> None:
    assert same(one, one)
    assert not same(one, other)


def test_the_hunt_would_find_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("support.fuzzing.json.loads", lambda *_, **__: {"model": "other"})
    with pytest.raises(Difference):
        check(b'{"model":"m","max_tokens":5,"messages":[]}')

"""A record lists the first edits one by one, and counts the rest by plugin and rule."""

from tidegate.pipeline.conclude import MOST_EDITS, bounded
from tidegate.record import EditRecord


def edits(count: int) -> list[EditRecord]:
    return [
        EditRecord(f"/messages/{i}", f"rule-{i % 3}", 40, 34, "redact", i * 100)
        for i in range(count)
    ]


def test_few_edits_are_listed_as_they_are() -> None:
    assert bounded(edits(MOST_EDITS)) == tuple(edits(MOST_EDITS))
    assert bounded([]) == ()


def test_of_many_none_is_lost_and_the_record_does_not_grow() -> None:
    many = edits(MOST_EDITS * 50)
    found = bounded(many)
    assert found[:MOST_EDITS] == tuple(many[:MOST_EDITS])
    assert len(found) == MOST_EDITS + 3
    for rule in ("rule-0", "rule-1", "rule-2"):
        mine = [edit for edit in many if edit.rule == rule]
        said = [edit for edit in found if edit.rule == rule]
        assert sum(edit.count for edit in said) == len(mine)
        assert sum(edit.bytes_before for edit in said) == 40 * len(mine)
        assert sum(edit.bytes_after for edit in said) == 34 * len(mine)
    assert {edit.pointer for edit in found[MOST_EDITS:]} == {""}

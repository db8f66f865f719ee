"""For authors of plugins: values to test with, and the contract as a check."""

from tidegate.testing.contract import ContractBroken, check_plugin
from tidegate.testing.fakes import (
    Background,
    FakeClock,
    make_answer,
    make_exchange,
    make_host,
    make_request,
    open_plugin,
)
from tidegate.testing.records import (
    make_inspection,
    make_intent,
    make_record,
    make_vitals,
    sample_records,
)
from tidegate.testing.rules import decision_problems, edit_problems, spec_problems

__all__ = [
    "Background",
    "ContractBroken",
    "FakeClock",
    "check_plugin",
    "decision_problems",
    "edit_problems",
    "make_answer",
    "make_exchange",
    "make_host",
    "make_inspection",
    "make_intent",
    "make_record",
    "make_request",
    "make_vitals",
    "open_plugin",
    "sample_records",
    "spec_problems",
]

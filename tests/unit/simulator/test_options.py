import pytest

from tidegate.simulator import CONTROLS, options
from tidegate.simulator.errors import ApiError
from tidegate.simulator.options import PER_EVENT, Options


def read(header: str = "", model: str = "sim-echo") -> Options:
    return options.read({"x-simulate": header} if header else {}, model)


def test_without_controls_nothing_is_odd() -> None:
    assert read() == Options()


def test_a_header_holds_several_controls() -> None:
    found = read("cut=3, pace_ms=20 ,gzip=1,")
    assert found == Options(cut=3, pace_ms=20, gzip=True)


def test_a_chunk_is_an_event_or_a_number() -> None:
    assert read("chunk=event").chunk == PER_EVENT
    assert read("chunk=7").chunk == 7


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("sim-error-529", Options(error="529")),
        ("sim-error-overloaded_error", Options(error="overloaded_error")),
        ("sim-slow-50", Options(pace_ms=50)),
        ("sim-cut-3-delay-10", Options(cut=3, delay_ms=10)),
        ("claude-haiku-4-5:sim-cut-3", Options(cut=3)),
        ("claude-haiku-4-5", Options()),
        ("sim-echo", Options()),
        ("sim-teapot-1", Options()),
        ("sim-cut", Options()),
    ],
)
def test_a_model_name_holds_controls(model: str, expected: Options) -> None:
    assert read(model=model) == expected


def test_the_header_wins_over_the_name() -> None:
    assert read("cut=1", "sim-cut-3-gzip-1") == Options(cut=1, gzip=True)


@pytest.mark.parametrize("header", ["teapot=1", "cut=many", "cut=-1", "cut", "answer=poem"])
def test_what_is_not_known_is_refused(header: str) -> None:
    with pytest.raises(ApiError, match="x-simulate"):
        read(header)


def test_every_control_is_explained() -> None:
    for name in Options.__struct_fields__:
        assert f"{name}=" in CONTROLS


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("claude-haiku-4-5:sim-cut-3", "claude-haiku-4-5"),
        ("sim-cut-3", "sim-cut-3"),
        ("claude-haiku-4-5:sim-what-3", "claude-haiku-4-5:sim-what-3"),
    ],
)
def test_a_name_is_split(name: str, base: str) -> None:
    assert options.split_model(name)[0] == base

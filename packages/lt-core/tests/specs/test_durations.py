import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lt_core.specs.durations import parse_duration
from lt_interfaces.errors import MisconfigurationException


@given(*[st.integers(0, 99)] * 3, st.integers(1, 99))
def test_a_string_means_days_hours_minutes_seconds(days: int, hours: int, minutes: int, seconds: int) -> None:
    expected = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    assert parse_duration("max_time", f"{days:02}:{hours:02}:{minutes:02}:{seconds:02}") == expected


def test_a_timedelta_and_its_keyword_arguments_mean_the_same() -> None:
    duration = timedelta(hours=1, minutes=30)
    assert parse_duration("max_time", duration) == duration
    assert parse_duration("max_time", {"hours": 1, "minutes": 30}) == duration


@pytest.mark.parametrize(
    "value",
    [
        "1:00",
        "00:00:00:00:01",
        "00:00:00:-1",
        "00:00:00:1.5",
        "soon",
        "",
        "00:00:00:00",
        "99999999999:00:00:00",
        timedelta(0),
        timedelta(seconds=-1),
        {"hour": 1},
        {"hours": math.nan},
        {"hours": math.inf},
        {"hours": "1"},
        {1: 2},
        {},
    ],
)
def test_malformed_zero_and_negative_durations_are_refused(value: object) -> None:
    with pytest.raises(MisconfigurationException, match="`max_time` must be a duration above zero"):
        parse_duration("max_time", value)


@pytest.mark.parametrize("value", [None, 3, 1.5, True, ["00:00:00:01"]])
def test_another_type_is_a_type_error(value: object) -> None:
    with pytest.raises(TypeError, match="`max_time` must be a duration"):
        parse_duration("max_time", value)

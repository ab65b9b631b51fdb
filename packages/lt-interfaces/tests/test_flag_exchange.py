import pytest

from lt_interfaces.flag_exchange import FlagExchange


def test_exchange_without_its_methods_is_refused() -> None:
    with pytest.raises(TypeError, match=r"exchange.*settle"):
        FlagExchange()  # type: ignore[abstract]  # that's what is refused

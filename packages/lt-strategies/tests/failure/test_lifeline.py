import socket

import pytest

from lt_strategies.failure.lifeline import Lifeline


def test_lifeline_ends_with_the_other_side() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        lifeline = Lifeline("127.0.0.1", server.getsockname()[1])
        other, _address = server.accept()
        assert not lifeline.has_ended()
        other.close()
        assert lifeline.has_ended()
    lifeline.close()


def test_nobody_to_keep_an_eye_on_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        Lifeline("127.0.0.1", port)

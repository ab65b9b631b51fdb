import pytest

from lt_compat.migration.edits import Edit, apply


def test_pieces_are_replaced_in_whatever_order_they_are_given() -> None:
    assert apply([Edit(5, 6, "Z"), Edit(0, 2, "ä"), Edit(3, 3, "!")], "éa-b-c".encode())[:2] == "ä".encode()
    assert apply([Edit(4, 5, "Z"), Edit(0, 1, ""), Edit(2, 2, "!")], b"a-b-c") == b"-!b-Z"
    assert apply([], b"abc") == b"abc"


def test_pieces_that_overlap_are_refused() -> None:
    with pytest.raises(ValueError, match="two changes overlap at byte 1"):
        apply([Edit(0, 2, "x"), Edit(1, 3, "y")], b"abc")

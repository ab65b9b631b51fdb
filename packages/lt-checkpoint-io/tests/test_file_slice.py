import io

from hypothesis import given
from hypothesis import strategies as st

from lt_checkpoint_io.file_slice import FileSlice


@given(
    data=st.binary(max_size=50),
    start=st.integers(0, 50),
    length=st.integers(0, 50),
    steps=st.lists(st.tuples(st.integers(0, 2), st.integers(-20, 60), st.integers(0, 30)), max_size=10),
)
def test_a_slice_reads_as_a_file_of_its_own(
    data: bytes, start: int, length: int, steps: list[tuple[int, int, int]]
) -> None:
    own = io.BytesIO(data[start : start + length])
    length = len(own.getvalue())
    part = io.BufferedReader(FileSlice(io.BytesIO(data), start, length))
    for whence, offset, count in steps:
        base = {0: 0, 1: own.tell(), 2: length}[whence]
        if 0 <= base + offset <= length:
            assert part.seek(offset, whence) == own.seek(offset, whence)
        assert part.read(count) == own.read(count)


def test_closing_a_slice_leaves_the_file_open() -> None:
    file = io.BytesIO(b"abc")
    io.BufferedReader(FileSlice(file, 1, 1)).close()
    assert not file.closed

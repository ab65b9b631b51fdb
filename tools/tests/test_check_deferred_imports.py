import pytest

from check_deferred_imports import unexplained


@pytest.mark.parametrize(
    "body",
    [
        "    # heavy, and only this function needs it\n    import torch\n",
        "    import torch  # heavy, and only this function needs it\n",
        "    # both are heavy\n    import numpy\n    from torch import (\n        nn,\n    )\n    import torch\n",
        "    return None\n",
    ],
)
def test_explained_imports_pass(body: str) -> None:
    assert list(unexplained(f"import os\ndef f():\n{body}")) == []


def test_unexplained_import_in_a_function_is_found() -> None:
    assert list(unexplained("def f():\n    if True:\n        import torch\n")) == [3]


def test_comment_does_not_cover_a_later_block() -> None:
    assert list(unexplained("def f():\n    # why\n    import numpy\n    x = 1\n    import torch\n")) == [5]

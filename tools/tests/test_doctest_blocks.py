from doctest_blocks import fenced


def test_examples_are_shown_as_code() -> None:
    text = "Add.\n\nExample:\n    >>> add(1,\n    ...     2)\n    3\n\nMore."
    assert fenced(text) == "Add.\n\nExample:\n    ```pycon\n    >>> add(1,\n    ...     2)\n    3\n    ```\n\nMore."


def test_text_without_examples_stays() -> None:
    assert fenced("Add two numbers.") == "Add two numbers."

import pytest

import copy_differences

PAGE = """
| what | Lightning | lt | why | switch |
|---|---|---|---|---|
| Sums | wrong | right ([sums](sums.md)), as in [torch](https://x) | maths | {none} |
| Products | wrong | right | maths | `old=True` |
""".replace("{none}", "\N{EN DASH}")


def test_rows_are_told_with_their_switch_and_without_links() -> None:
    assert copy_differences.rows(PAGE) == {
        "Sums": {"lt": "right, as in torch", "switch": ""},
        "Products": {"lt": "right", "switch": "`old=True`"},
    }


def test_two_rows_of_one_title_are_refused() -> None:
    with pytest.raises(ValueError, match="two rows are called 'Sums'"):
        copy_differences.rows(PAGE + PAGE.splitlines()[3])


def test_what_lt_compat_tells_is_what_the_page_says() -> None:
    said = copy_differences.COPY.read_text(encoding="utf-8")
    assert said == copy_differences.copied(), "run: python tools/copy_differences.py"

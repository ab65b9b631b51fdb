from typing import Any

import pytest

from lt_loggers.media import made_media


def made(items: Any, **options: Any) -> list[Any]:
    return made_media(lambda item, **own: (item, own), items, name="images", options=options)


def test_each_item_gets_its_own_options() -> None:
    assert made(["a", "b"], caption=["one", "two"], mode=["L", "RGB"]) == [
        ("a", {"caption": "one", "mode": "L"}),
        ("b", {"caption": "two", "mode": "RGB"}),
    ]


def test_a_single_item_must_stand_in_a_list() -> None:
    with pytest.raises(TypeError, match="`images` must be a list of images, got str"):
        made("a.png")


@pytest.mark.parametrize("caption", [["one"], "ab"])
def test_options_have_one_value_per_item(caption: Any) -> None:
    with pytest.raises(ValueError, match="`caption` must be a list with one value for each of the 2 images"):
        made(["a", "b"], caption=caption)

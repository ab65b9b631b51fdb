"""Shows doctests in docstrings as code: wraps each block of `>>>` lines in a fence before the docstring is parsed."""

import re

import griffe

BLOCK = re.compile(r"^([ ]*)>>> .*(?:\n(?![ ]*$).+)*", re.MULTILINE)
HEADING = re.compile(r"^([ ]*)Examples?::?$", re.MULTILINE)


class DoctestBlocks(griffe.Extension):
    """Griffe asks it about each object once, when the source has been read."""

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        """Rewrite the object's docstring in place."""
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)


def fenced(text: str) -> str:
    """Return the text with every doctest block in a fence, under the one heading that leaves the block alone."""
    text = HEADING.sub(r"\1Example:", text)
    return BLOCK.sub(lambda block: f"{block[1]}```pycon\n{block[0]}\n{block[1]}```", text)

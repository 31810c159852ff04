"""An embedding is short: what is not about the framework belongs into the core."""

import pytest
from glue import files_of, glue_lines

EMBEDDINGS = [
    "gevent_client.py",
    "poller.py",
    "qt_client.py",
    "tornado_client.py",
    "twisted_autobahn.py",
]
# An application on top of an adapter, and an adapter.
OTHERS = ["aiohttp_sse.py", "topone_anyio"]


@pytest.mark.parametrize("name", EMBEDDINGS)
def test_an_embedding_is_at_most_45_lines(name: str) -> None:
    [file] = files_of()[name]
    assert 10 < glue_lines(file.read_text("utf-8")) <= 45


def test_every_example_is_known_to_be_an_embedding_or_not() -> None:
    assert sorted(files_of()) == sorted(EMBEDDINGS + OTHERS)


SAMPLE = '''"""What it is."""

import os

# How much.
KINDS = {
    1: 2,
}


class Feed:
    """A feed."""

    def take(self) -> None:
        # Why.

        print(
            """two
lines"""
        )


def main() -> None:
    Feed().take()


if __name__ == "__main__":
    main()
'''


def test_lines_with_code_are_counted() -> None:
    """The table, the class, its method, and the call in its four lines."""
    assert glue_lines(SAMPLE) == 3 + 1 + 1 + 3

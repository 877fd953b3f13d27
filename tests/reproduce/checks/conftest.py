"""How a wrong answer is held against its check."""

import re

import pytest

from dlt_core.reproduce.checks.common import NotYet


@pytest.fixture
def told(capsys):
    """told(check, *answer): what the check says of an answer that is not right."""

    def what_it_says(check, *answer) -> str:
        with pytest.raises(NotYet) as stopped:
            check(*answer)
        assert capsys.readouterr().out == ""
        return str(stopped.value)

    return what_it_says


@pytest.fixture
def passes(capsys):
    """passes(check, *answer): the check says that the answer is right."""

    def is_right(check, *answer) -> None:
        check(*answer)
        assert re.fullmatch(r"✓ Right\. .+\n", capsys.readouterr().out), "one line"

    return is_right

import io
import threading

import pytest

from gcd_core.new_domain import progress
from gcd_core.new_domain.progress import ProgressLine


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_part_is_told_with_how_far_the_whole_is() -> None:
    stream = io.StringIO()
    line = ProgressLine(stream, 120.0, lambda seconds: None)
    with line.part("train the codec", 20.0, 12.0):
        pass
    first, second = stream.getvalue().splitlines()
    assert first == "[  12 of 120 min] train the codec (about 20.0 min)"
    assert second == "    took 0 s"


@pytest.mark.parametrize(
    ("spent", "seconds", "shares"),
    [(0, 0, ("0%", "0%")), (30, 600, ("33%", "50%")), (110, 3600, ("100%", "100%"))],
)
def test_the_moving_line_has_the_share_of_the_whole_and_of_the_part(spent, seconds, shares) -> None:
    line = ProgressLine(Terminal(), 120.0, lambda seconds: None)
    told = line._line("train the codec", 20.0, spent, seconds)
    of_all, of_part = shares
    assert told.split("]")[1].split()[0] == of_all
    assert told.rstrip().endswith(f"train the codec: {of_part}")
    assert told.count("#") == round(20 * min(1, (spent + seconds / 60) / 120))


def test_a_terminal_has_a_moving_line_and_the_clock_is_noted(monkeypatch) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.001)
    noted, ticked = [], threading.Event()

    def tick(seconds: float) -> None:
        noted.append(seconds)
        ticked.set()

    stream = Terminal()
    with ProgressLine(stream, 10.0, tick).part("find", 1.0, 0.0):
        assert ticked.wait(10)
    assert noted and "\r[" in stream.getvalue()
    assert stream.getvalue().endswith("took 0 s\n")

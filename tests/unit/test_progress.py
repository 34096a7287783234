"""What is said of long work where there is no terminal."""

import io
import sys

from ontogeny.core import progress


def test_a_line_a_minute_where_there_is_no_terminal(monkeypatch):
    now, said = [0.0], io.StringIO()
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(sys, "stderr", said)
    with progress.progress_bar("measuring", 4, show=True) as done:
        for minutes, so_far in ((0.5, 1), (1.1, 2), (1.5, 2.5), (3.0, 3)):
            now[0] = 60 * minutes
            done(so_far)
    assert said.getvalue().splitlines() == ["measuring: 50% after 1 min", "measuring: 75% after 3 min"]
    with progress.progress_bar("measuring", 4, show=False) as done:
        now[0] = 600.0
        done(4)
    assert len(said.getvalue().splitlines()) == 2

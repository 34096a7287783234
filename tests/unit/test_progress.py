"""What is said of long work where there is no terminal."""

import io
import sys

import torch

import ontogeny as og
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


def test_an_estimate_says_how_far_it_is():
    """Of two components, each half of the work; a piece that listens for itself hears its own share."""
    net, heard, own = torch.nn.Linear(2, 1), [], []
    data = (torch.ones(8, 2), torch.zeros(8, 1))
    with progress.listening(heard.append), progress.piece(1, 2), progress.listening(own.append):
        og.estimate_llc(
            net,
            data,
            lambda model, batch: (model(batch[0]) - batch[1]).square()[:, 0],
            ["weight", "bias"],
            n_beta=4.0,
            localization=1.0,
            step_size=0.01,
            burn_in=10,
            draws=20,
            progress=False,
        )
    assert own == sorted(own) and own[-1] == 1.0 and 0.5 in own and 0.25 < own[len(own) // 2] < 0.8
    assert heard == [0.5 + 0.5 * share for share in own]

"""Where a study's chunks are computed is a matter of a name; of those that train language models see tests/studies."""

import pytest

from ontogeny.core.errors import OntogenyError
from ontogeny.studies.registry import STUDIES

FIRST_TEXT = {"sorting": "training 0"}
"""What a study's first bar says where that is not "training": sorting goes seed by seed."""


@pytest.mark.parametrize("name", [name for name in STUDIES if name not in ("attention-heads", "feature-targeted")])
def test_a_study_hands_its_chunks_to_the_executor_asked_for(name, asked, tmp_path):
    with pytest.raises(OntogenyError, match="far enough"):
        STUDIES[name].run("quick", seeds=3, out=tmp_path / "out", workers=2, executor="ray", address="10.0.0.1:6379")
    [(chunks, given)] = asked
    assert chunks > 0
    text = FIRST_TEXT.get(name, "training")
    assert given == {"text": text, "progress": True, "workers": 2, "address": "10.0.0.1:6379"}


@pytest.mark.parametrize("name", STUDIES)
def test_another_executor_is_refused_before_anything_is_written(name, tmp_path):
    with pytest.raises(OntogenyError, match=r"^executor must be one of local, ray; got 'moon'\.$"):
        STUDIES[name].run("quick", out=tmp_path / "out", executor="moon")
    assert not (tmp_path / "out").exists()

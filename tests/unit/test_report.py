"""The page: nothing fetched, nothing that breaks out of its element, everything numbered and explained."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import plotly.graph_objects as go
import pytest
import xarray as xr

import synthetic
from ontogeny.core.errors import OntogenyError
from ontogeny.estimators.status import usable
from ontogeny.report.health import describe_health
from ontogeny.report.page import Section, Table, render, show, write_report
from ontogeny.report.superposition import sections, summarise, text
from ontogeny.report.superposition.sensitivity import ROWS


class Reader(HTMLParser):
    """Collects elements, their attributes and the text outside script and style."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.words, self.inside = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self.inside.append(tag)

    def handle_endtag(self, tag):
        if self.inside and self.inside[-1] == tag:
            self.inside.pop()

    def handle_data(self, data):
        if not self.inside:
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def summary(small_study):
    measurements, _, said = small_study
    return summarise(measurements, **{k: v for k, v in said.items() if k != "association"})


def page(**changes):
    given = {
        "title": "A study",
        "abstract": "What was asked.",
        "conclusions": ["One <b>thing</b> & another."],
        "settings": {"learning rate": 1e-3},
        "health": {"estimates": "All of them ok."},
        "sections": [
            Section(
                "First",
                figure=go.Figure(go.Scatter(y=[1, 2]), layout={"height": 300}),
                caption="A line.",
                alt="A line.",
            )
        ],
    }
    return render(**(given | changes))


def test_the_page_fetches_nothing_and_has_plotly_once():
    html = page()
    read = Reader(html)
    for tag, attrs in read.elements:
        for key in ("src", "href", "action", "data", "poster", "srcset"):
            assert not re.match(r"\s*(https?:|//)", attrs.get(key) or ""), (tag, attrs)
        assert tag not in ("iframe", "object", "embed", "base")
    links = [a for t, a in read.elements if t == "link"]
    assert all(a["href"].startswith("data:") for a in links)
    assert html.count("plotly.js v") == 1
    (policy,) = [a["content"] for t, a in read.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'") and "http" not in policy
    assert "@import" not in html[: html.index("</style>")] and "url(" not in html[: html.index("</style>")]


def test_text_is_escaped_and_json_cannot_end_its_script():
    wild = go.Figure(go.Scatter(y=[1.0, np.nan], name="</script><script>alert(1)</script>"), layout={"height": 200})
    read = Reader(page(sections=[Section("A & B", figure=wild, caption="<i>x</i>", alt='"quoted"')]))
    assert "One <b>thing</b> & another." in read.text and "<i>x</i>" in read.text
    assert [t for t, _ in read.elements].count("script") == 3
    assert any(a.get("aria-label") == '"quoted"' for _, a in read.elements)


def test_embedded_json_is_strict():
    html = page(
        sections=[
            Section(
                "A", figure=go.Figure(go.Scatter(y=[1.0, float("nan")]), layout={"height": 200}), caption="c", alt="a"
            )
        ]
    )
    data = re.search(r'id="data-1">(.*?)</script>', html, re.S).group(1)

    def refuse(word):
        raise AssertionError(word)

    assert json.loads(data, parse_constant=refuse)["views"][0]["data"][0]["y"] == [1.0, None]


def test_figures_and_tables_are_numbered_in_order():
    figure = go.Figure(layout={"height": 100})
    table = Table(("name", "value"), [("a", 0.123456), ("b", float("nan"))])
    read = Reader(
        page(
            sections=[
                Section("One", figure=figure, caption="first", alt="a"),
                Section("", figure={"0": figure, "1": figure}, caption="second", alt="b"),
                Section("Two", table=table, caption="third"),
            ]
        )
    )
    assert "Figure 1. first" in read.text and "Figure 2. second" in read.text and "Table 3. third" in read.text
    assert "a 0.1235 b —" in read.text
    anchors = [a["href"][1:] for t, a in read.elements if t == "a" and "href" in a]
    assert set(anchors) <= {a.get("id") for _, a in read.elements}
    assert [a["href"] for t, a in read.elements if t == "a"].count("#section-2") == 1


def test_what_is_not_fit_to_show_is_refused():
    with pytest.raises(OntogenyError, match="needs a caption and an alt text"):
        Section("A", figure=go.Figure())
    with pytest.raises(OntogenyError, match="empty mapping of figures"):
        Section("A", figure={}, caption="c", alt="a")
    with pytest.raises(OntogenyError, match="table without a caption"):
        Section("A", table=Table(("a",), []))
    with pytest.raises(OntogenyError, match="one cell a header, 2; got a row of 1"):
        Table(("a", "b"), [("x",)])
    with pytest.raises(OntogenyError, match="begin with one that has a title"):
        page(sections=[Section("", ["text"])])


def test_cells_are_readable():
    assert [show(v) for v in (True, 3, 1e-5, 123456, "x", 2.0)] == ["True", "3", "1e-05", "123,456", "x", "2"]


def test_the_file_is_replaced_whole(tmp_path):
    target = tmp_path / "new" / "report.html"
    for _ in range(2):
        write_report(target, title="t", abstract="a", conclusions=[], settings={}, health={}, sections=[])
    assert [p.name for p in target.parent.iterdir()] == ["report.html"]
    assert target.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_the_summary_is_strict_json_and_the_same_report_comes_of_it_read_back(summary):
    again = json.loads(json.dumps(summary, allow_nan=False))
    assert text.conclusions(again) == text.conclusions(summary)
    assert describe_health(again) == describe_health(summary)


def test_health_counts_every_estimate_and_explains_every_word(small_study, summary):
    measurements = small_study[0]
    said = describe_health(summary)
    assert sum(summary["health"]["status"].values()) == measurements["llc"].size
    for word in np.unique(measurements["status"].values):
        assert f"status: {str(word).replace('_', ' ')}" in said


@pytest.fixture(scope="module")
def beside(small_study):
    """The group of neighbours, and the summary with it and a calibration."""
    measurements, _, said = small_study
    found = synthetic.neighbours(measurements, said["tests"]["inflection"], twice_n_beta=1.2)
    values = dict.fromkeys(ROWS, 1.0) | {"kernel": "sgld", "friction": float("inf")}
    stored = {"calibration": json.dumps(values), "calibration_provenance": json.dumps({"n_beta": "near n/log n"})}
    given = {k: v for k, v in said.items() if k != "association"}
    return found, summarise(measurements.assign_attrs(stored), sensitivity=found, **given)


def test_the_rules_are_printed_with_the_numbers_used(small_study):
    measurements, trajectory, said = small_study
    made = sections(measurements, trajectory, **{k: v for k, v in said.items() if k != "relation"})
    classes, clauses = (s.table for s in made[1:3])
    assert [row[0] for row in classes.rows] == ["non-monotonic", "stuck", "plateau, then jump", "early rise"]
    rules = " ".join(str(row[1]) for row in [*classes.rows, *clauses.rows])
    for words in ("reaches 1.95 to stay, that is, without falling below 1.93", "within 0.1 of 1.8 of 7 % of training"):
        assert words in rules
    assert len(clauses.rows) == len(said["fits"].attrs) and "at least 0.9 over the stretch" in rules
    assert "70" not in classes.rows and "‖W‖² exceeds 0.7 of its final value" in made[1].caption


def test_the_calibration_and_its_sensitivity_are_shown(small_study, beside):
    measurements, trajectory, said = small_study
    found, summary = beside
    given = {k: v for k, v in said.items() if k != "relation"}
    made = sections(measurements, trajectory, summary=summary, neighbours=found, **given)
    at = [s.title for s in made].index("Does the answer hang on nβ and γ?")
    frozen, figure, measured, told = made[at : at + 4]
    assert ("nβ", 1.0, "1/loss", "near n/log n") in frozen.table.rows
    assert [row[0] for row in measured.table.rows] == ["frozen", "nβ/2", "2nβ", "γ/2", "2γ"]
    assert [row[1] for row in told.table.rows] == ["1", "1", "1.2", "1", "1"]
    names = {t.name for t in figure.figure.data if t.showlegend is None}
    assert names == {"frozen", "nβ/2", "2nβ", "γ/2", "2γ"}
    assert all(axis.title.text for axis in figure.figure.select_xaxes())
    good = usable(measurements.sel(seed=found["seed"])).values
    drawn = [t for t in figure.figure.data if t.name == "frozen" and t.yaxis not in ("y", "y2")]
    assert sum(np.isfinite(t.y).sum() for t in drawn) == good.sum()
    json.dumps(summary, allow_nan=False)


def test_all_sections_are_there_with_captions(small_study):
    measurements, trajectory, said = small_study
    made = sections(measurements, trajectory, **{k: v for k, v in said.items() if k != "relation"})
    assert [s.title for s in made if s.title] == [
        "The seed grid",
        "The polytope gallery",
        "Angles between features",
        "The local learning coefficient",
        "Loss, norms and shape",
        "Curvature, and what lies beyond it",
        "Is the LLC elevated at the jump?",
        "What kinds of trajectory there are",
        "When features emerge, and when the rank jumps",
        "What moves with the LLC",
    ]
    assert all(s.caption or s.table_caption for s in made if s.figure is not None or s.table is not None)


def test_the_null_distribution_is_shown_where_there_is_one(small_study):
    measurements, trajectory, said = small_study
    given = {k: v for k, v in said.items() if k != "relation"}
    tests = given["tests"]
    (shown,) = [s for s in sections(measurements, trajectory, **given) if s.choice == "test"]
    assert len(shown.figure) == int((tests["status"] == "ok").sum())
    assert {"level, plain", "rise, detrended"} <= set(shown.figure)
    bars, line = shown.figure["level, plain"].data
    assert sum(bars.y) == tests.sizes["permutation"] == 9999 and len(bars.y) <= 60
    assert line.x[0] == float(tests["mean_difference"].sel(variant="plain", statistic="level"))
    given["tests"] = tests.assign(status=xr.full_like(tests["status"], "too_few_seeds"))
    assert not [s for s in sections(measurements, trajectory, **given) if s.choice == "test"]

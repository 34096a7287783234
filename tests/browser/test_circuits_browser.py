"""Circuits in motion, in a real browser: the slider, the play button and a click on a curve move all heatmaps."""

import numpy as np
import pytest
import xarray as xr

from ontogeny.plots.circuits import circuits_over_training
from ontogeny.report.page import Section, write_report

STEPS = [0, 1, 10, 100, 1000]


def measured(seed):
    stream = np.random.default_rng(seed)
    curve = ("llc", "llc_se", "token_accuracy", "list_accuracy", "head_overlap", "translational_symmetry", "rank_sum",
             "participation_sum", "second_order_llc", "hessian_trace", "hessian_rank")  # fmt: skip
    out = xr.Dataset({name: ("checkpoint", stream.uniform(1, 5, len(STEPS))) for name in curve})
    out["chains_lost"] = ("checkpoint", np.zeros(len(STEPS), int))
    out["regime"] = ("checkpoint", ["localised"] * len(STEPS))
    for name, dims in (("qk", ("destination", "source")), ("ov", ("source", "output"))):
        out[name] = (("checkpoint", "head", *dims), stream.standard_normal((len(STEPS), 2, 4, 4)))
    return out.assign_coords(step=("checkpoint", STEPS), head=["0:0", "0:1"])


@pytest.fixture(scope="module")
def page(browser, tmp_path_factory):
    path = tmp_path_factory.mktemp("circuits") / "report.html"
    figures = {f"variant {number}": circuits_over_training(measured(number)) for number in range(2)}
    section = Section("Circuits", figure=figures, choice="variant", caption="A caption.", alt="Circuits over training.")
    write_report(path, title="T", abstract="A.", conclusions=["C."], settings={"a": 1}, health={}, sections=[section])
    page = browser.new_page(viewport={"width": 1200, "height": 1400})
    page.said = []
    page.on("pageerror", lambda error: page.said.append(str(error)))
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-ready=yes]", timeout=120_000)
    yield page
    assert page.said == []
    page.close()


SHOWN = """() => {
  const plot = document.querySelector(".plot");
  const maps = plot._fullData.filter((trace) => trace.type === "heatmap");
  return { active: plot._fullLayout.sliders[0].active, first: maps.map((trace) => Array.from(trace.z[0])),
           cursor: plot._fullLayout.shapes[0].x0 };
}"""


def after(page, active):
    page.wait_for_function(f"a => ({SHOWN})().active === a", arg=active)
    page.wait_for_timeout(200)
    return page.evaluate(SHOWN)


def click(page, name, point):
    """What plotly.js tells of a click on a point of the curve of that name."""
    page.evaluate(
        """([name, pointNumber]) => { const plot = document.querySelector(".plot");
        const data = plot.data.find((trace) => trace.name === name);
        plot.emit("plotly_click", { points: [{ data, pointNumber }] }); }""",
        [name, point],
    )


def test_a_click_on_a_curve_goes_to_its_step(page):
    before = page.evaluate(SHOWN)
    assert before["active"] == len(STEPS) - 1
    click(page, "accuracy per token", 1)
    now = after(page, 1)
    assert (
        now["first"] != before["first"]
        and now["cursor"] == pytest.approx(1)
        and before["cursor"] == pytest.approx(1000)
    )


def test_the_slider_moves_every_heatmap(page):
    start = after(page, 1)
    slider = page.locator(".slider-rail-touch-rect")
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    page.mouse.click(box["x"] + box["width"] - 2, box["y"] + box["height"] / 2)
    now = after(page, len(STEPS) - 1)
    assert all(a != b for a, b in zip(start["first"], now["first"], strict=True)) and len(now["first"]) == 4


def test_play_runs_to_the_end_and_another_variant_is_clickable(page):
    click(page, "λ̂(nβ, γ)", 0)
    first = after(page, 0)
    page.locator(".updatemenu-button").first.click()
    last = after(page, len(STEPS) - 1)
    assert first["first"] != last["first"]
    page.locator("select").select_option("1")
    page.wait_for_function(f"b => JSON.stringify(({SHOWN})().first) !== JSON.stringify(b)", arg=last["first"])
    click(page, "λ̂(nβ, γ)", 2)
    assert after(page, 2)["cursor"] == pytest.approx(10)

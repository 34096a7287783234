"""The report in a real browser: everything is drawn, answers to the mouse, fits the window, and nothing is fetched."""

import pytest

import synthetic


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    synthetic.write(path, *synthetic.some())
    assert path.stat().st_size < 12e6
    return path


@pytest.fixture(scope="module")
def page(browser, report):
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    page.said, page.asked = [], []
    page.on("console", lambda message: page.said.append((message.type, message.text)))
    page.on("pageerror", lambda error: page.said.append(("error", str(error))))
    page.on("request", lambda request: page.asked.append(request.url))
    page.goto(report.as_uri())
    page.wait_for_selector("html[data-ready=yes]", timeout=120_000)
    yield page
    page.close()


def double_click_until(page, box, place, condition, arg=None):
    """Double-click as often as it takes: on a busy machine plotly.js may see the two clicks as two."""
    from playwright.sync_api import TimeoutError as TooLong

    x, y = box["x"] + place[0] * box["width"], box["y"] + place[1] * box["height"]
    for attempt in range(10):
        page.mouse.dblclick(x, y)
        try:
            page.wait_for_function(condition, arg=arg, timeout=3000)
        except TooLong:
            if attempt == 9:
                raise
        else:
            return


def test_nothing_is_fetched_and_nothing_complains(page, report):
    assert [url for url in page.asked if not url.startswith(("data:", "blob:"))] == [report.as_uri()]
    assert page.said == []


def test_every_plot_is_drawn(page):
    plots = page.query_selector_all(".plot")
    assert len(plots) == 13
    for plot in plots:
        assert plot.query_selector("svg.main-svg") is not None, plot.get_attribute("id")
        assert plot.query_selector(".trace, .annotation") is not None, plot.get_attribute("id")
        assert plot.get_attribute("aria-label")


@pytest.mark.parametrize("width", [1200, 800])
def test_nothing_overflows(page, width):
    page.set_viewport_size({"width": width, "height": 900})
    page.wait_for_function(
        "() => [...document.querySelectorAll('.plot')].every(p => p._fullLayout.width <= innerWidth)"
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    rights = "() => [...document.querySelectorAll('.svg-container')].map(e => e.getBoundingClientRect().right)"
    assert max(page.evaluate(rights)) <= width
    page.set_viewport_size({"width": 1200, "height": 900})
    page.wait_for_function("() => document.querySelector('.plot')._fullLayout.width > 900")


def position(page, number, trace, point):
    """Where a point of a trace is in the window, scrolled into view."""
    page.locator(f"#plot-{number}").scroll_into_view_if_needed()
    return page.evaluate(
        """([id, k, i]) => {
            const plot = document.getElementById(id), t = plot._fullData[k], box = plot.getBoundingClientRect();
            const axis = (name) => plot._fullLayout[name[0] + 'axis' + name.slice(1)];
            const x = axis(t.xaxis), y = axis(t.yaxis);
            return [box.left + x._offset + x.d2p(t.x[i]), box.top + y._offset + y.d2p(t.y[i])];
        }""",
        [f"plot-{number}", trace, point],
    )


def number_of(page, words):
    """Number of the figure whose caption contains `words`."""
    return page.evaluate(
        "w => [...document.querySelectorAll('figcaption')].find(c => c.textContent.includes(w)).id.split('-')[1]", words
    )


def trace_named(page, number, name):
    return page.evaluate(
        "([id, n]) => document.getElementById(id)._fullData.findIndex(t => t.name === n)", [f"plot-{number}", name]
    )


def test_hover_says_seed_step_value_error_and_status(page):
    number = number_of(page, "LLC of one seed")
    x, y = position(page, number, trace_named(page, number, "λ̂, status ok"), 3)
    page.mouse.move(x - 3, y - 3)
    page.mouse.move(x, y, steps=4)
    label = page.wait_for_selector(f"#plot-{number} .hoverlayer .hovertext").text_content()
    for word in ("seed", "step", "λ̂ =", "±", "status: ok"):
        assert word in label


def test_a_click_on_the_legend_hides_a_trace(page):
    number = number_of(page, "LLC of every seed")
    visible = f"() => document.getElementById('plot-{number}')._fullData.filter(t => t.visible === true).length"
    before = page.evaluate(visible)
    page.locator(f"#plot-{number} .legendtoggle").first.click()
    page.wait_for_function(f"n => ({visible})() < n", arg=before)
    page.wait_for_timeout(500)  # plotly.js takes a second click within its double-click delay for a double click
    page.locator(f"#plot-{number} .legendtoggle").first.click()
    page.wait_for_function(f"n => ({visible})() === n", arg=before)


def test_dragging_zooms_and_a_double_click_returns(page):
    number = number_of(page, "Cosine similarity of each pair")
    page.locator(f"#plot-{number}").scroll_into_view_if_needed()
    span = f"() => document.getElementById('plot-{number}')._fullLayout.xaxis.range"
    before = page.evaluate(span)
    box = page.locator(f"#plot-{number} .nsewdrag").bounding_box()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.3 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.7 * box["height"], steps=6)
    page.mouse.up()
    page.wait_for_function(f"b => {{ const r = ({span})(); return r[1] - r[0] < 0.5 * (b[1] - b[0]); }}", arg=before)
    double_click_until(page, box, (0.5, 0.5), f"b => Math.abs(({span})()[1] - b[1]) < 1e-6", before)


def test_a_double_click_shows_the_estimates_out_of_view(page):
    number = number_of(page, "LLC of every seed")
    page.locator(f"#plot-{number}").scroll_into_view_if_needed()
    lowest = f"() => document.getElementById('plot-{number}')._fullLayout.yaxis.range[0]"
    before = page.evaluate(lowest)
    assert before > -2
    box = page.locator(f"#plot-{number} .nsewdrag").bounding_box()
    double_click_until(page, box, (0.6, 0.8), f"() => ({lowest})() < -100")
    page.wait_for_timeout(500)
    double_click_until(page, box, (0.6, 0.8), f"b => Math.abs(({lowest})() - b) < 1e-6", before)


def test_the_slider_moves_the_polytope(page):
    number = number_of(page, "The feature vectors of one seed")
    tip = f"() => document.getElementById('plot-{number}')._fullData[1].x[1]"
    before = page.evaluate(tip)
    slider = page.locator(f"#figure-{number} input[type=range]")
    said = page.locator(f"#figure-{number} output").text_content()
    note = page.locator(f"#figure-{number} .note").text_content()
    assert note.startswith("closest regular polygon at checkpoint 1,500")
    slider.fill("4")
    page.wait_for_function(f"b => Math.abs(({tip})() - b) > 1e-3", arg=before)
    assert page.locator(f"#figure-{number} output").text_content() != said
    assert page.locator(f"#figure-{number} .note").text_content() != note
    assert slider.get_attribute("aria-valuetext") == page.locator(f"#figure-{number} output").text_content()


def test_play_advances_the_slider_and_pauses(page):
    number = number_of(page, "The feature vectors of every seed")
    play = page.locator(f"#figure-{number} button.play")
    value = f"() => Number(document.querySelector('#figure-{number} input[type=range]').value)"
    play.click()
    page.wait_for_function(f"() => ({value})() >= 3")
    assert play.text_content() == "Pause"
    play.click()
    assert play.text_content() == "Play"
    stopped = page.evaluate(value)
    page.wait_for_timeout(300)
    assert page.evaluate(value) == stopped


@pytest.mark.parametrize(
    "words", ["The feature vectors of one seed", "LLC of one seed", "Cosine similarity", "One seed: loss"]
)
def test_the_seed_selector_changes_the_data(page, words):
    number = number_of(page, words)
    data = f"() => JSON.stringify(document.getElementById('plot-{number}')._fullData.map(t => [...(t.y || [])]))"
    before = page.evaluate(data)
    select = page.locator(f"#figure-{number} select")
    chosen = select.input_value()
    page.locator(f"#figure-{number} button[data-move='1']").click()
    page.wait_for_function(f"b => ({data})() !== b", arg=before)
    assert select.input_value() != chosen
    select.select_option(chosen)
    page.wait_for_function(f"b => ({data})() === b", arg=before)


def test_it_prints_without_losing_figures(page):
    page.emulate_media(media="print")
    assert page.pdf()[:4] == b"%PDF"
    page.emulate_media(media="screen")
    assert page.said == []

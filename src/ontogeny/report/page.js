"use strict";
(() => {
  const BUTTONS = [["toImage", "zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "autoScale2d", "resetScale2d"]];
  const CONFIG = { responsive: true, displaylogo: false, modeBarButtons: BUTTONS, plotlyServerURL: "" };
  const MILLISECONDS_A_FRAME = 80;

  const GAP = -32768;

  // Coordinates come as little-endian int16 in units of `scale`.
  const numbers = (text, scale) => {
    const view = new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
    return Float32Array.from({ length: view.byteLength / 2 }, (_, i) => {
      const whole = view.getInt16(2 * i, true);
      return whole === GAP ? NaN : whole * scale;
    });
  };

  // plotly.js writes into what it is given, so every drawing gets a copy of its own.
  const draw = (plot, view) => {
    const { data, layout, frames } = structuredClone(view);
    return Plotly.react(plot, { data, layout, frames, config: CONFIG });
  };

  const selector = (figure, onChange) => {
    const select = figure.querySelector("select");
    if (!select) return () => 0;
    select.addEventListener("change", onChange);
    for (const button of figure.querySelectorAll("button.step")) {
      button.addEventListener("click", () => {
        const count = select.options.length;
        select.selectedIndex = (select.selectedIndex + Number(button.dataset.move) + count) % count;
        onChange();
      });
    }
    return () => select.selectedIndex;
  };

  const views = (figure, plot, payload) => {
    const show = () => {
      const view = payload.views[chosen()];
      return draw(plot, { ...view, layout: { ...view.layout, template: payload.template } });
    };
    // Where frames stand for the points of curves, a click on a curve goes to its point's frame.
    const onClick = ({ points: [{ data, pointNumber }] }) => {
      const frames = payload.views[chosen()].frames;
      if (!frames || data.type === "heatmap" || !Number.isInteger(pointNumber) || !(pointNumber in frames)) return;
      const still = { mode: "immediate", frame: { duration: 0, redraw: true }, transition: { duration: 0 } };
      Plotly.animate(plot, [frames[pointNumber].name], still);
    };
    const chosen = selector(figure, show);
    return show().then(() => plot.on("plotly_click", onClick));
  };

  const animation = (figure, plot, payload) => {
    const x = numbers(payload.x, payload.scale), y = numbers(payload.y, payload.scale);
    const { points, frames, slices } = payload;
    const moving = slices.map((_, k) => k).filter((k) => slices[k][1] > slices[k][0]);
    const slider = figure.querySelector("input[type=range]");
    const output = figure.querySelector("output"), note = figure.querySelector(".note");
    const play = figure.querySelector("button.play");
    let waiting = false, timer = null;

    const update = () => {
      waiting = false;
      const frame = Number(slider.value);
      const start = (chosen() * frames.length + frame) * points;
      const part = (values) => moving.map((k) => Array.from(values.subarray(start + slices[k][0], start + slices[k][1])));
      output.textContent = frames[frame];
      if (note) note.textContent = payload.notes[payload.noted[chosen()][frame]];
      slider.setAttribute("aria-valuetext", frames[frame]);
      return Plotly.restyle(plot, { x: part(x), y: part(y) }, moving);
    };
    const soon = () => {
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(update);
    };
    const stop = () => {
      clearInterval(timer);
      timer = null;
      play.textContent = "Play";
      play.setAttribute("aria-pressed", "false");
    };
    const chosen = selector(figure, soon);

    slider.addEventListener("input", () => { stop(); soon(); });
    play.addEventListener("click", () => {
      if (timer !== null) return stop();
      if (Number(slider.value) >= frames.length - 1) slider.value = 0;
      play.textContent = "Pause";
      play.setAttribute("aria-pressed", "true");
      soon();
      timer = setInterval(() => {
        slider.value = Number(slider.value) + 1;
        soon();
        if (Number(slider.value) >= frames.length - 1) stop();
      }, MILLISECONDS_A_FRAME);
    });
    return draw(plot, payload.figure).then(update);
  };

  const KINDS = { views, animation };
  const plots = [...document.querySelectorAll(".plot")];

  // One figure a task, so that the page can be read and scrolled while the later ones are drawn.
  const drawAll = async () => {
    for (const plot of plots) {
      const number = plot.id.split("-")[1];
      try {
        const payload = JSON.parse(document.getElementById(`data-${number}`).textContent);
        await KINDS[plot.dataset.kind](plot.closest("figure"), plot, payload);
      } catch (error) {
        plot.textContent = `Figure ${number} could not be drawn: ${error.message}`;
        console.error(error);
      }
      await new Promise((done) => setTimeout(done));
    }
    document.documentElement.dataset.ready = "yes";
  };

  const PRINTED_WIDTH = 690;
  addEventListener("beforeprint", () => plots.forEach((p) => Plotly.relayout(p, { width: PRINTED_WIDTH })));
  addEventListener("afterprint", () => plots.forEach((p) => Plotly.relayout(p, { width: null, autosize: true })));
  drawAll();
})();

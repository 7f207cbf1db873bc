/* The charts: figures come from the page's data, colours from its styles. */
(() => {
  const narrow = matchMedia("(max-width: 600px)");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const still = matchMedia("(pointer: coarse)");
  const charts = every(".chart");

  function painted(value, colours) {
    if (typeof value === "string") return value.startsWith("--c-") ? colours.getPropertyValue(value).trim() : value;
    if (Array.isArray(value)) return value.map((each) => painted(each, colours));
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, painted(each, colours)]));
  }

  const axis = {
    gridcolor: "--c-grid", linecolor: "--c-line", zeroline: false, automargin: true, fixedrange: true,
    title: { standoff: 8 },
  };
  const theme = {
    layout: {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: "system-ui, sans-serif", size: 13, color: "--c-text" },
      margin: { l: 56, r: 20, t: 12, b: 48 },
      xaxis: axis, yaxis: axis, dragmode: false, hovermode: "closest",
      hoverlabel: { bgcolor: "--c-page", bordercolor: "--c-line", font: { color: "--c-text" } },
      legend: { orientation: "h", x: 0, xanchor: "left", y: 1.02, yanchor: "bottom" },
    },
  };

  function stock() {
    const { dates, close, forecast } = report.stocks;
    const own = (forecast[state.symbol] || {})[state.horizon];
    if (!own) return null;
    const days = own.t.map((place) => dates[place]);
    const blank = { data: report.figures.stock.data, layout: report.figures.stock.layout };
    const [low, high, published, actual] = blank.data;
    const band = own.l ? [{ ...low, x: days, y: own.l }, { ...high, x: days, y: own.h }] : [];
    const lines = [{ ...published, x: days, y: own.p }, { ...actual, x: dates, y: close[state.symbol] || [] }];
    return { data: [...band, ...lines], layout: blank.layout };
  }

  function figure(chart) {
    const name = chart.dataset.figure;
    if (name === "stock") return stock();
    return "byHorizon" in chart.dataset ? report.figures[name][state.horizon] : report.figures[name];
  }

  function draw(chart) {
    const found = figure(chart);
    chart.hidden = !found;
    const note = chart.nextElementSibling;
    if (note) note.hidden = Boolean(found);
    if (!found) return;
    const colours = getComputedStyle(document.documentElement);
    const { data, layout } = painted({ data: found.data, layout: { ...found.layout, template: theme } }, colours);
    if (narrow.matches) {
      layout.font = { size: 12 };
      for (const trace of data) {
        if (trace.type === "bar") ["text", "textposition", "textangle", "cliponaxis"].forEach((key) => delete trace[key]);
        if (trace.mode !== "markers+text") continue;
        trace.mode = "markers";
        ["textposition", "textfont"].forEach((key) => delete trace[key]);
        layout.legend = { y: -0.25, yanchor: "top" };
      }
    }
    if (still.matches) layout.dragmode = false;
    if (layout.height) chart.style.height = `${layout.height}px`;
    Plotly.react(chart, data, layout, { displayModeBar: false, responsive: true });
  }

  const facts = [
    "rel_mae", "rel_rmse", "mae", "naive_mae", "cover90", "width90", "source", "model", "confidence", "reasons", "flags",
  ];

  function describe() {
    const row = every("#counters tbody tr").find((each) => each.dataset.symbol === state.symbol);
    const list = document.getElementById("stock-facts");
    list.replaceChildren();
    const heads = [...document.getElementById("counters").tHead.rows[0].cells];
    for (const key of facts) {
      const place = heads.findIndex(
        ({ dataset: { k, h } }) => k === key && (h === undefined || h === state.horizon));
      if (!row || place < 0) continue;
      const [part, term, fact] = ["div", "dt", "dd"].map((tag) => document.createElement(tag));
      term.textContent = heads[place].textContent;
      fact.append(...[...row.cells[place].childNodes].map((node) => node.cloneNode(true)));
      part.append(term, fact);
      list.append(part);
    }
    const own = (report.stocks.forecast[state.symbol] || {})[state.horizon];
    const drawn = own
      ? `${own.t.length} forecasts made ${spoken(state.horizon)} before, each drawn on the day it is for. ` +
        (own.l ? "The band should hold nine in ten closes." : "This preset forecasts no interval.")
      : "";
    document.getElementById("stock-note").textContent = `${state.symbol}: ${drawn || "nothing to draw."}`;
    document.getElementById("chart-stock").setAttribute(
      "aria-label", `Chart: forecast and actual price of ${state.symbol}, ${spoken(state.horizon)} ahead`);
  }

  watchers.push(() => {
    for (const chart of charts) if (chart.dataset.figure === "stock" || "byHorizon" in chart.dataset) draw(chart);
    describe();
  });
  for (const query of [narrow, dark]) query.addEventListener("change", () => charts.forEach(draw));
  charts.forEach(draw);
  describe();
})();

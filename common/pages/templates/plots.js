/* Draws the charts of a page, with figures from its data and colours from its styles. */
function plots(figure) {
  const narrow = matchMedia("(max-width: 600px)");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const still = matchMedia("(pointer: coarse)");
  const charts = every(".chart");

  function painted(value, colours) {
    if (typeof value === "string") {
      const name = report.colours[value] ?? value;
      return name.startsWith("--c-") ? colours.getPropertyValue(name).trim() : value;
    }
    if (Array.isArray(value)) return value.map((item) => painted(item, colours));
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, painted(item, colours)]));
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

  function draw(chart) {
    const plot = figure(chart);
    chart.hidden = !plot;
    const note = chart.nextElementSibling;
    if (note) note.hidden = Boolean(plot);
    if (!plot) return;
    const colours = getComputedStyle(document.documentElement);
    const { data, layout } = painted({ data: plot.data, layout: { ...plot.layout, template: theme } }, colours);
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

  for (const query of [narrow, dark]) query.addEventListener("change", () => charts.forEach(draw));
  charts.forEach(draw);
  return { charts, draw };
}

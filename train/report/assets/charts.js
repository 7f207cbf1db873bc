/* The charts by horizon and the chosen stock. */
(() => {
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

  const { charts, draw } = plots(figure);
  watchers.push(() => {
    for (const chart of charts) if (chart.dataset.figure === "stock" || "byHorizon" in chart.dataset) draw(chart);
    describe();
  });
  describe();
})();

/* The charts by horizon and the charts of the chosen stock. */
(() => {
  const forecast = () => report.stocks.forecast[state.symbol]?.[state.horizon];

  function stock() {
    const own = forecast();
    if (!own) return null;
    const { dates } = report.stocks;
    const days = own.t.map((place) => dates[place]);
    const blank = report.figures.stock;
    const [low, high, published, actual] = blank.data;
    const band = own.l ? [{ ...low, x: days, y: own.l }, { ...high, x: days, y: own.h }] : [];
    const closes = report.stocks.close[state.symbol] || [];
    const lines = [{ ...published, x: days, y: own.p }, { ...actual, x: dates, y: closes }];
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
    const row = counters.rows.find(({ data }) => data.symbol === state.symbol);
    const list = document.getElementById("stock-facts");
    list.replaceChildren();
    for (const key of facts) {
      const head = counters.heads.find(({ dataset: { k, h } }) => k === key && (h === undefined || h === state.horizon));
      if (!row || !head) continue;
      const fact = [...row.cell(head).childNodes].map((node) => node.cloneNode(true));
      list.append(made("div", {}, made("dt", {}, head.textContent), made("dd", {}, ...fact)));
    }
    const own = forecast();
    const drawn = own
      ? `${own.t.length} forecasts made ${spoken(state.horizon)} before, drawn on their target days. ` +
        (own.l ? "The band should contain nine in ten closes." : "This preset forecasts no interval.")
      : "nothing to draw.";
    document.getElementById("stock-note").textContent = `${state.symbol}: ${drawn}`;
    document.getElementById("chart-stock").setAttribute(
      "aria-label", `Chart: forecast and actual price of ${state.symbol}, ${spoken(state.horizon)} ahead`);
  }

  const { charts, draw } = plots(figure);

  function showStock() {
    draw(document.getElementById("chart-stock"));
    describe();
  }

  watchers.push(() => {
    for (const chart of charts) if ("byHorizon" in chart.dataset) draw(chart);
    showStock();
  });
  showStock();
})();

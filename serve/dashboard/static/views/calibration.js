/* Calibration of the intervals and of the probabilities of a rise, no change, a fall and a move. */
import { chart, draw } from "../charts.js";
import { facts, h } from "../dom.js";
import { count, days, NONE, number, share } from "../format.js";
import { empty } from "../states.js";
import { folded, plainTable } from "../table.js";

const LEVELS = [["80", "--c-3", "square"], ["90", "--c-1", "circle"], ["95", "--c-2", "diamond"]];
const FEW = 30;

function coverage(pooled) {
  const xs = pooled.map((row) => days(row.horizon));
  const values = pooled.flatMap((row) => LEVELS.map(([level]) => 100 * row[`cover${level}`]));
  return {
    data: LEVELS.map(([level, colour, symbol]) => ({
      type: "scatter", mode: "markers", name: `${level} % interval`, x: xs, y: pooled.map((row) => 100 * row[`cover${level}`]),
      marker: { color: colour, size: 12, symbol }, hovertemplate: `${level} % interval contained %{y:.1f} %, %{x} ahead<extra></extra>`,
    })),
    layout: {
      xaxis: { type: "category", range: [-0.4, xs.length - 0.6] },
      yaxis: { title: { text: "closes inside, %" }, range: [Math.min(76, ...values) - 2, 100.5], showgrid: false },
      shapes: LEVELS.map(([level, colour]) => ({ type: "line", xref: "paper", x0: 0, x1: 1, y0: Number(level), y1: Number(level), layer: "below", line: { color: colour, dash: "dash", width: 1.25 } })),
    },
  };
}

function reliability(bins) {
  const seen = (name, rows, mode, symbol) => ({
    type: "scatter", mode, name, x: rows.map((row) => 100 * row.forecast), y: rows.map((row) => 100 * row.seen), customdata: rows.map((row) => count(row.n)),
    line: { color: "--c-ours", width: 2.5 }, marker: { color: "--c-ours", size: 9, symbol }, hovertemplate: "forecast %{x:.0f} %, moved %{y:.0f} % of %{customdata}<extra></extra>",
  });
  const [many, few] = [bins.filter((row) => row.n >= FEW), bins.filter((row) => row.n < FEW)];
  const line = { type: "scatter", mode: "lines", name: "as forecast", x: [0, 100], y: [0, 100], hoverinfo: "skip", line: { color: "--c-muted", dash: "dash", width: 1.5 } };
  const marks = [seen("seen", many, "lines+markers", "circle"), seen(`of fewer than ${FEW} forecasts`, few, "markers", "circle-open")];
  return {
    data: [line, ...marks.filter((each) => each.x.length)],
    layout: { xaxis: { title: { text: "probability of a move, forecast %" }, range: [-2, 102] }, yaxis: { title: { text: "moved, %" }, range: [-2, 102] } },
  };
}

const OUTCOMES = [["up", "--c-rise", "circle"], ["unchanged", "--c-muted", "square"], ["down", "--c-fall", "diamond"]];

function byDirection(bins) {
  const line = { type: "scatter", mode: "lines", name: "as forecast", x: [0, 100], y: [0, 100], hoverinfo: "skip", line: { color: "--c-muted", dash: "dash", width: 1.5 } };
  const series = OUTCOMES.map(([outcome, colour, symbol]) => {
    const rows = bins.filter((row) => row.outcome === outcome && row.n >= FEW);
    return {
      type: "scatter", mode: "lines+markers", name: outcome, x: rows.map((row) => 100 * row.forecast), y: rows.map((row) => 100 * row.seen), customdata: rows.map((row) => count(row.n)),
      line: { color: colour, width: 2 }, marker: { color: colour, size: 9, symbol }, hovertemplate: `${outcome}: forecast %{x:.0f} %, observed %{y:.0f} % of %{customdata}<extra></extra>`,
    };
  });
  return {
    data: [line, ...series.filter((each) => each.x.length)],
    layout: { xaxis: { title: { text: "probability, forecast %" }, range: [-2, 102] }, yaxis: { title: { text: "observed, %" }, range: [-2, 102] } },
  };
}

/* The probabilities of a rise, no change and a fall, as served; tenths with few forecasts are only in the table. */
function directionsShown(bins, figures, horizon) {
  const all = bins.filter((row) => row.tier === "all");
  const plot = chart();
  draw(plot, byDirection(all), `share of closes above, at and below the last price against the forecast probability, ${days(horizon)} ahead`);
  const signed = (value) => (typeof value === "number" ? `${number(value, 3)} ${value > 0 ? "(better)" : "(no better)"}` : NONE);
  return [
    h("p", { class: "note" }, "Share of closes above, at and below the last price, against the forecast probability."), h("figure", {}, plot),
    figures ? facts([
      ["Brier score", `${number(figures.brier, 3)}: 0 is perfect, 2 the worst`],
      ["Skill against base rates", signed(figures.brier_skill)],
      ["Skill, up alone", signed(figures.brier_up_skill)],
    ]) : null,
    folded("The figures as a table", plainTable("Probabilities by direction", [
      { label: "Probability of", value: (row) => row.outcome },
      { label: "Stocks", value: (row) => (row.tier === "all" ? "all" : `${row.tier} tier`) },
      { label: "Forecast", number: true, value: (row) => row.forecast, show: (row) => share(row.forecast) },
      { label: "Observed", number: true, value: (row) => row.seen, show: (row) => share(row.seen) },
      { label: "Forecasts", number: true, value: (row) => row.n, show: (row) => count(row.n) },
    ], bins, { quiet: true })),
  ].filter(Boolean);
}

export function calibration({ pooled, moves, directions }) {
  const known = pooled.filter((row) => row.cover90 !== null);
  const first = h("div", {}, h("h3", {}, "Intervals"));
  const second = h("div", {});
  if (known.length) {
    const plot = chart();
    draw(plot, coverage(known), "share of closes inside the 80, 90 and 95 % intervals, by horizon");
    const column = (level) => ({ label: `${level} %`, number: true, value: (row) => row[`cover${level}`], show: (row) => share(row[`cover${level}`]) });
    first.append(h("p", { class: "note" }, "Each mark should be on the dashed line of its colour."), h("figure", {}, plot),
      folded("The figures as a table", plainTable("Closes inside each interval", [{ label: "Ahead", value: (row) => days(row.horizon) }, ...LEVELS.map(([level]) => column(level))], known, { quiet: true })));
  } else {
    first.append(empty("This preset forecasts no intervals."));
  }

  function show(horizon) {
    const chosen = (directions ?? []).filter((row) => `${row.horizon}d` === horizon);
    if (chosen.length) {
      const figures = pooled.find((row) => row.horizon === horizon && typeof row.brier === "number");
      second.replaceChildren(h("h3", {}, `Probabilities of a rise, no change and a fall, ${days(horizon)} ahead`), ...directionsShown(chosen, figures, horizon));
      return;
    }
    const bins = (moves ?? []).filter((row) => `${row.horizon}d` === horizon);
    const content = [h("h3", {}, `Probability of a move, ${days(horizon)} ahead`)];
    if (bins.length) {
      const plot = chart();
      draw(plot, reliability(bins), `share of prices that moved against the forecast probability, ${days(horizon)} ahead`);
      content.push(h("p", { class: "note" }, "Share of prices that moved, against the forecast probability."), h("figure", {}, plot),
        folded("The figures as a table", plainTable("Probability of a move", [
          { label: "Forecast", number: true, value: (row) => row.forecast, show: (row) => share(row.forecast) },
          { label: "Moved", number: true, value: (row) => row.seen, show: (row) => share(row.seen) },
          { label: "Forecasts", number: true, value: (row) => row.n, show: (row) => count(row.n) },
        ], bins, { quiet: true })));
    } else {
      content.push(empty(moves ? "This preset does not forecast the probability of a move." : "Not stored in this release."));
    }
    second.replaceChildren(...content);
  }

  return { element: h("div", { class: "pair" }, first, second), show };
}

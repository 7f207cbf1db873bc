/* Errors over all moving stocks by horizon. */
import { chart, draw } from "../charts.js";
import { h } from "../dom.js";
import { capital, count, days, number, percent, ratio } from "../format.js";
import { verdict } from "../marks.js";
import { better, explained, RULE } from "../measures.js";
import { folded, plainTable } from "../table.js";

export const cards = ({ pooled }) =>
  h("ul", { class: "cards" }, pooled.map((row) =>
    h("li", { class: `card ${tone(row.rel_mae)}` },
      h("h3", {}, capital(`${days(row.horizon)} ahead`)),
      h("p", { class: "big" }, ratio(row.rel_mae), h("small", {}, " of the naive error")),
      h("p", {}, verdict(row.rel_mae), ` than the last price; MAPE ${percent(row.mape)} against ${percent(row.naive_mape)}`),
      explained(row, ["mape"]).map((text) => h("p", { class: "note" }, text)))));

const tone = (value) => (value === null ? "" : { 1: "better", "-1": "worse" }[better(value)] ?? "");

export function byHorizon({ pooled }) {
  const ratios = chart();
  const xs = pooled.map((row) => days(row.horizon));
  const trace = (key, name, colour, symbol) => ({
    type: "scatter", mode: "lines+markers", name, x: xs, y: pooled.map((row) => row[key]), line: { color: colour, width: 2.5 },
    marker: { color: colour, size: 10, symbol }, hovertemplate: `${name} %{y:.3f}, %{x} ahead<extra></extra>`,
  });
  const values = pooled.flatMap((row) => [row.rel_mae, row.rel_rmse]).filter((each) => each !== null);
  const [low, high] = [Math.min(0.99, ...values), Math.max(1.01, ...values)];
  const room = 0.15 * (high - low);
  draw(ratios, {
    data: [trace("rel_mae", "absolute error", "--c-1", "circle"), trace("rel_rmse", "squared error (root)", "--c-2", "diamond")],
    layout: {
      xaxis: { type: "category", range: [-0.3, xs.length - 0.7] },
      yaxis: { title: { text: "error / naive error" }, range: [low - room, high + room], tickformat: ".3~f" },
      shapes: [{ type: "line", xref: "paper", x0: 0, x1: 1, y0: 1, y1: 1, layer: "below", line: { color: "--c-text", width: 1.5 } }],
      annotations: [{ text: "naive", xref: "paper", x: 1, xanchor: "right", y: 1, yanchor: "bottom", showarrow: false, font: { size: 12, color: "--c-muted" } }],
    },
  }, "errors of the published price and of the mean over the last price’s, by horizon");
  const column = (label, key, show) => ({ label, number: true, value: (row) => row[key], show: (row) => show(row[key]) });
  const table = plainTable("Errors by horizon, all stocks that move", [
    { label: "Ahead", value: (row) => days(row.horizon) },
    column("MAE, KES", "mae", (value) => number(value, 3)),
    column("naive", "naive_mae", (value) => number(value, 3)),
    column("MAPE", "mape", percent),
    column("naive MAPE", "naive_mape", percent),
    column("relMAE", "rel_mae", ratio),
    column("relRMSE", "rel_rmse", ratio),
    column("Stocks", "symbols", count),
    column("Forecasts", "n", count),
  ], pooled, { quiet: true });
  const notes = pooled.flatMap((row) => explained(row, ["mae"]).map((text) => h("p", { class: "note" }, `${capital(days(row.horizon))} ahead. ${text}`)));
  return h("div", {}, h("figure", {}, ratios), folded("The figures as a table", h("div", {}, table, h("p", { class: "note" }, RULE), notes)));
}

/* The tables of one stock: every horizon, measured errors beside the naive forecast, past forecasts. */
import { h } from "../dom.js";
import { capital, count, day, days, number, percent, price, range, ratio, share, weekday } from "../format.js";
import { moved, verdict } from "../marks.js";
import { explained, RULE } from "../measures.js";
import { folded, plainTable } from "../table.js";

const OLDER = 30;

function section(title, note, content) {
  return h("section", {}, h("h2", {}, title), note ? h("p", { class: "note" }, note) : null, content);
}

export function outlookTable({ predictions }, horizon) {
  if (!predictions.length) return section("Every horizon", null, h("p", { class: "state" }, "There is no forecast."));
  const levels = ["80", "90", "95"].map((level) => ({
    label: `${level} %`, number: true, value: (row) => row.intervals[level]?.lower,
    show: (row) => range(row.intervals[level].lower, row.intervals[level].upper),
  }));
  const probability = (label, name) => ({ label, number: true, value: (row) => row[`probability_${name}`], show: (row) => share(row[`probability_${name}`], 0) });
  const expected = [
    { label: "Expected", number: true, value: (row) => row.expected_change_percent, show: (row) => moved(row.expected_change_percent) },
    probability("Up", "up"), probability("Unchanged", "unchanged"), probability("Down", "down"),
  ];
  const columns = [
    { label: "Ahead", value: (row) => days(row.horizon) },
    { label: "For", value: (row) => weekday(row.target_date), kind: "whole" },
    { label: "Forecast, KES", number: true, value: (row) => row.prediction, show: (row) => price(row.prediction) },
    { label: "Change", number: true, value: (row) => row.change_percent, show: (row) => moved(row.change_percent) },
    ...expected,
    ...levels,
  ];
  return section("Every horizon", "Forecast prices, the probabilities that the close is above, at or below the last price, and the intervals that should contain it with this probability, KES.",
    plainTable("Forecast and intervals by horizon", columns, predictions, { quiet: true, mark: (row) => row.horizon === horizon }));
}

export function errorTable({ performance }, horizon) {
  const rows = Object.entries(performance?.horizons ?? {}).map(([ahead, figures]) => ({ ahead, ...figures })).filter((row) => row.n > 0);
  const note = `On the test part, which no model saw: mean absolute error of the published price beside that of the last price (naive). ${RULE}`;
  if (!rows.length) {
    return section("Measured error", note, h("p", { class: "state" }, "Not measured: the stock did not move in the test part, or has too few prices."));
  }
  const pair = (label, ours, naive, show) => [
    { label, number: true, value: (row) => row[ours], show: (row) => show(row[ours]) },
    { label: "naive", number: true, value: (row) => row[naive], show: (row) => show(row[naive]) },
  ];
  const columns = [
    { label: "Ahead", value: (row) => days(row.ahead) },
    ...pair("KES", "mae", "naive_mae", (value) => number(value, 3)),
    ...pair("MAPE", "mape", "naive_mape", (value) => percent(value)),
    { label: "relMAE", number: true, value: (row) => row.rel_mae, show: (row) => ratio(row.rel_mae) },
    { label: "Against naive", value: (row) => row.rel_mae, show: (row) => verdict(row.rel_mae), kind: "whole" },
    { label: "Inside 90 %", number: true, value: (row) => row.cover90, show: (row) => share(row.cover90) },
    { label: "Forecasts", number: true, value: (row) => row.n, show: (row) => count(row.n) },
  ];
  const table = plainTable("Measured error by horizon", columns, rows, { quiet: true, mark: (row) => row.ahead === horizon });
  const notes = rows.flatMap((row) => explained(row).map((text) => h("p", { class: "note" }, `${capital(days(row.ahead))} ahead. ${text}`)));
  return section("Measured error beside naive", note, h("div", {}, table, notes));
}

export function pastTable({ forecasts, horizon }) {
  if (!forecasts.length) return h("p", { class: "note" }, "No forecast of the test part is in the period shown.");
  const off = (row) => (100 * (row.published - row.actual)) / row.actual;
  const columns = [
    { label: "For", value: (row) => row.target_date, show: (row) => weekday(row.target_date) },
    { label: "Made on", value: (row) => row.cutoff, show: (row) => day(row.cutoff), kind: "whole" },
    { label: "Forecast, KES", number: true, value: (row) => row.published, show: (row) => price(row.published) },
    { label: "Actual, KES", number: true, value: (row) => row.actual, show: (row) => price(row.actual) },
    { label: "Error", number: true, value: off, show: (row) => percent(off(row)) },
    { label: "90 % interval, KES", number: true, value: (row) => row.lower, show: (row) => range(row.lower, row.upper) },
    { label: "Inside", value: (row) => (row.lower === null ? null : row.lower <= row.actual && row.actual <= row.upper ? "yes" : "no") },
  ];
  const rows = forecasts.slice(-OLDER).reverse();
  return folded(`The last ${rows.length} past forecasts, ${days(horizon)} ahead, as a table`,
    plainTable("Past forecasts beside what happened, newest first", columns, rows, { quiet: true }));
}

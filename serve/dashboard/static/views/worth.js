/* What the forecasts are worth: ranks, portfolios after costs, skill by price and liquidity. */
import { h, prose } from "../dom.js";
import { count, days, number, ratio, share } from "../format.js";
import { empty } from "../states.js";
import { folded, plainTable } from "../table.js";

const ENTRIES = { next_close: "next close", same_close: "cutoff’s own close (not tradable)" };
const PORTFOLIOS = { top_minus_market: "top fifth minus market", top_minus_bottom: "top minus bottom fifth" };

const column = (label, key, show) => ({ label, number: true, value: (row) => row[key], show: (row) => show(row[key]) });
const ahead = { label: "Ahead", value: (row) => days(row.horizon) };
const entry = { label: "Bought at", value: (row) => ENTRIES[row.entry] };
const two = (value) => number(value, 2);
const interval = (label, low, high, decimals) => ({
  label, value: (row) => row[low], show: (row) => (row[low] === null ? "" : `${number(row[low], decimals)} to ${number(row[high], decimals)}`),
});

const portfolios = ({ portfolios: rows, cost_percent: cost }) =>
  plainTable(`Portfolios in percent of the price, costs of ${cost} % each way`, [
    ahead, { label: "Portfolio", value: (row) => PORTFOLIOS[row.portfolio] }, column("Before costs", "gross", two),
    column("t", "gross_t", (value) => number(value, 1)), column("Turnover", "turnover", (value) => share(value, 0)),
    column("After costs", "net", two), interval("95 % interval", "net_low", "net_high", 2),
    column("Break-even cost", "break_even", two), column("Days", "days", count),
  ], rows.filter((row) => row.entry === "next_close"));

const ranks = ({ rank_ic: rows }) =>
  plainTable("Rank information coefficient: Spearman’s correlation of the forecast and actual changes of a day’s stocks", [
    ahead, entry, column("Mean", "ic", ratio), column("t", "t", (value) => number(value, 1)), interval("95 % interval", "low", "high", 3),
    column("Days above 0", "positive_share", (value) => share(value, 0)), column("Days", "days", count),
  ], rows);

const groups = ({ groups: rows }) =>
  plainTable("Errors by last price and by liquidity (share of the last 60 closes that moved)", [
    { label: "Group", value: (row) => row.group }, { label: "Ahead", value: (row) => days(row.horizon) }, column("relMAE", "rel_mae", ratio),
    column("relRMSE", "rel_rmse", ratio), column("Share of naive squared error", "naive_share", (value) => share(value, 0)), column("Forecasts", "n", count),
  ], rows);

export function worth({ worth: figures }) {
  if (!figures) return empty("Not stored in this release.");
  return h("div", {},
    h("p", {}, prose(figures.verdict)), h("p", {}, prose(figures.ranking)),
    folded("The figures as tables", portfolios(figures), ranks(figures), groups(figures), h("ul", {}, figures.notes.map((note) => h("li", {}, prose(note))))));
}

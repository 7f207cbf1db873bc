/* Served forecasts beside actual prices: the latest report of `nsecast monitor`. */
import { facts, h, prose } from "../dom.js";
import { ago, capital, count, day, days, instant, number, plural, ratio, share } from "../format.js";
import { stockLink } from "../marks.js";
import { RULE } from "../measures.js";
import { empty } from "../states.js";
import { folded, plainTable } from "../table.js";

const STALE_S = 2 * 86_400;
const FINE = ["as expected", "too few", "no backtest"];

const figure = (value) => number(value, Number.isInteger(value) ? 0 : 3);
const word = (text, fine) => (fine ? text : h("span", { class: "worse" }, text));

export function accuracy({ found, age_s: age, note }) {
  if (!found) return [empty(prose(note))];
  const overall = found.errors.filter((row) => row.level !== "stock");
  const stocks = found.errors.filter((row) => row.level === "stock" && !FINE.includes(row.verdict));
  return [
    h("p", { class: age > STALE_S ? "worse" : "note" }, `Checked ${ago(age)} (${instant(found.at)}), release `, h("code", {}, found.release), age > STALE_S ? ". This report is old: run `nsecast monitor` once a day." : "."),
    found.breaches.length
      ? h("div", { class: "state failed", role: "alert" }, h("strong", {}, plural(found.breaches.length, "limit was exceeded", "limits were exceeded")),
        h("ul", {}, found.breaches.map((each) => h("li", {}, `${capital(each.kind)}: ${each.what} is ${figure(each.got)}, the limit is ${figure(each.limit)}.`))))
      : h("p", { class: "state good" }, h("strong", {}, "No limit was exceeded.")),
    facts([
      ["Forecasts served", count(found.served)], ["Scored", count(found.scored)], ["Waiting for their close", count(found.waiting)],
      ["Prices end on", `${day(found.fresh.data_end)}, ${plural(found.fresh.sessions_old, "session")} before ${day(found.fresh.due)}`],
      ["Stale", `${count(found.fresh.stale.length)} of ${plural(found.fresh.counters, "stock")}`],
      ["Newly stale", found.fresh.newly_stale.length ? found.fresh.newly_stale.flatMap((each) => [stockLink(each), " "]) : null],
      ["Frozen", `${share(found.fresh.frozen_share, 0)}, at the release ${share(found.fresh.frozen_share_then, 0)}`],
    ]),
    h("h3", {}, "Errors of served forecasts beside the backtest’s"),
    overall.length ? errors(overall) : empty("No served forecast can be scored yet: their closes are still to come."),
    stocks.length ? folded(`${plural(stocks.length, "stock")} worse than expected`, errors(stocks)) : null,
    h("h3", {}, "Drift since training"),
    found.drift.length ? drift(found.drift) : empty("Too few new sessions."),
  ].filter(Boolean);
}

function errors(rows) {
  const column = (label, key, show) => ({ label, number: true, value: (row) => row[key], show: (row) => show(row[key]) });
  return h("div", {}, h("p", { class: "note" }, RULE), plainTable("Served forecasts beside the backtest", [
    { label: "Group", value: (row) => row.group, show: (row) => (row.level === "tier" ? `${row.group} tier` : row.level === "all" ? "all" : stockLink(row.group)) },
    { label: "Ahead", value: (row) => days(`${row.horizon}d`), kind: "whole" },
    column("Forecasts", "n", count),
    column("MAE, KES", "mae", (value) => number(value, 3)),
    column("backtest", "backtest_mae", (value) => number(value, 3)),
    column("naive", "naive_mae", (value) => number(value, 3)),
    column("relMAE", "rel_mae", ratio),
    column("backtest", "backtest_rel_mae", ratio),
    column("Inside 90 %", "cover90", (value) => share(value)),
    column("Brier skill", "brier_skill", (value) => number(value, 3)),
    column("backtest", "backtest_brier_skill", (value) => number(value, 3)),
    { label: "Verdict", value: (row) => row.verdict, kind: "whole", show: (row) => word(row.verdict, FINE.includes(row.verdict)) },
  ], rows, { quiet: true }));
}

function drift(rows) {
  const beyond = (row) => row.word === "large" && row.psi > (row.chance ?? Infinity);
  return plainTable("Population stability index of every input", [
    { label: "Input", value: (row) => row.feature.replace("input:", "").replace("p_move:", "chance of a move, ").replaceAll("_", " ") },
    { label: "PSI", number: true, value: (row) => row.psi, show: (row) => number(row.psi, 3) },
    { label: "by chance", number: true, value: (row) => row.chance, show: (row) => number(row.chance, 3) },
    { label: "Values", number: true, value: (row) => row.n, show: (row) => count(row.n) },
    { label: "Verdict", value: (row) => row.word, kind: "whole", show: (row) => word(row.word === "large" && !beyond(row) ? "large, but possibly due to chance" : row.word, !beyond(row)) },
  ], [...rows].sort((a, b) => b.psi - a.psi), { quiet: true });
}

/* The five questions that a finished training answers. */
import { h, prose } from "../dom.js";
import { capital, number } from "../format.js";
import { empty } from "../states.js";
import { folded, plainTable } from "../table.js";

const WORDS = {
  mae: "MAE, KES", naive_mae: "naive", mape: "MAPE, %", naive_mape: "naive, %", rel_mae: "relMAE", rel_rmse: "relRMSE", n: "forecasts",
  horizon: "days ahead", dm_abs_p: "p, absolute", dm_sq_p: "p, squared",
};

/* Such as rel_mae_1d. */
function words(name) {
  const [, stem, horizon] = /^(.*?)(?:_(\d+)d)?$/.exec(name);
  const plain = WORDS[stem] ?? stem.replaceAll("_", " ");
  return capital(horizon ? `${plain}, ${horizon} d` : plain);
}

const shown = (value) => (typeof value !== "number" ? String(value) : number(value, Number.isInteger(value) ? 0 : 3));

function figures({ columns, rows }, caption) {
  const described = columns.map((name, place) => ({
    label: words(name), number: rows.some((row) => typeof row[place] === "number"), value: (row) => row[place], show: (row) => shown(row[place]),
  }));
  return plainTable(caption, described, rows, { quiet: true });
}

export function answers({ answers: found }) {
  if (!found) return empty("Not stored in this release.");
  return h("div", { class: "answers" }, found.map((each, place) =>
    h("article", {}, h("h3", {}, `${place + 1}. ${each.question}`), h("p", {}, prose(each.answer)),
      each.tables.some((table) => table.rows.length)
        ? folded("The figures behind it", ...each.tables.filter((table) => table.rows.length).map((table) => figures(table, `Figures behind question ${place + 1}`)))
        : null)));
}

/* The performance matrix: every stock at one horizon, beside the naive forecast. */
import { field, list } from "../controls.js";
import { h } from "../dom.js";
import { count, number, percent, plural, ratio, share } from "../format.js";
import { confidence, flags, stockLink } from "../marks.js";
import { better, RULE } from "../measures.js";
import { sortedTable } from "../table.js";

const state = { by: "relMAE", down: false };
const chosen = { text: "", tier: "", confidence: "", flag: "" };
const ORDER = { low: 1, medium: 2, high: 3 };
const split = (row) => row.flags.split(", ").filter(Boolean);

function columns(horizon) {
  const measured = (label, key, show, { downFirst = false, wide = true } = {}) => ({
    label, number: true, downFirst, wide, value: (row) => row.horizons[horizon]?.[key] ?? null, show: (row) => show(row.horizons[horizon][key]),
  });
  const toned = (value) => h("span", { class: { 1: "better", "-1": "worse" }[better(value)] ?? null }, ratio(value));
  return [
    { label: "Stock", value: (row) => row.symbol, show: (row) => stockLink(row.symbol, horizon) },
    { label: "Name", wide: true, value: (row) => row.name, kind: "name" },
    { label: "Model", wide: true, value: (row) => row.model },
    { label: "Rank", number: true, wide: true, value: (row) => row.rank },
    measured("MAE, KES", "mae", (value) => number(value, 3)),
    measured("naive", "naive_mae", (value) => number(value, 3)),
    measured("MAPE", "mape", (value) => percent(value)),
    measured("naive MAPE", "naive_mape", (value) => percent(value)),
    measured("relMAE", "rel_mae", toned, { wide: false }),
    measured("relRMSE", "rel_rmse", toned, { wide: false }),
    measured("Inside 90 %", "cover90", (value) => share(value), { downFirst: true }),
    measured("Brier skill", "brier_skill", (value) => number(value, 3), { downFirst: true }),
    measured("Forecasts", "n", count, { downFirst: true }),
    { label: "Confidence", value: (row) => ORDER[row.confidence], show: (row) => confidence(row.confidence), downFirst: true },
    { label: "State", wide: true, value: (row) => row.flags || null, kind: "state-cell", show: (row) => flags(split(row)) },
    { label: "Sector", wide: true, value: (row) => row.sector, kind: "sector-cell" },
  ];
}

export function matrix({ rows }) {
  const shown = h("p", { class: "note", role: "status" });
  const box = h("div", {});
  let table = null;

  function update() {
    const found = rows.filter((row) =>
      `${row.symbol} ${row.name} ${row.sector}`.toLowerCase().includes(chosen.text.trim().toLowerCase()) &&
      (!chosen.tier || row.tier === chosen.tier) &&
      (!chosen.confidence || row.confidence === chosen.confidence) &&
      (!chosen.flag || split(row).includes(chosen.flag)));
    table.fill(found);
    shown.textContent = found.length ? `${plural(found.length, "stock")} of ${rows.length}.` : "No stock matches all filters. Remove one.";
  }

  const set = (name) => (value) => {
    chosen[name] = value;
    update();
  };
  const among = [...new Set(rows.flatMap(split))].sort();
  const pairs = (values) => [["", "all"], ...values.map((each) => [each, each])];
  const filters = h("div", { class: "filters" },
    field("Find", "ticker, name or sector", chosen.text, set("text")),
    list("Tier", pairs(["specific", "general"]), chosen.tier, set("tier")),
    list("Confidence", pairs(["high", "medium", "low"]), chosen.confidence, set("confidence")),
    list("State", pairs(among), among.includes(chosen.flag) ? chosen.flag : "", set("flag")));

  return {
    element: h("div", {}, h("p", { class: "note" }, RULE), filters, shown, box),
    show(horizon) {
      table = sortedTable("The performance matrix", columns(horizon), state);
      box.replaceChildren(table.element);
      update();
    },
  };
}

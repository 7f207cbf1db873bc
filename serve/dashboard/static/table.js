/* Plain tables, and tables that sort by a click on a heading. */
import { h, say } from "./dom.js";
import { NONE } from "./format.js";

const order = new Intl.Collator("en", { numeric: true });

/*
 * Columns are { label, value, show?, number?, wide?, kind? }. `value(row)` sorts; `show(row)` is the content of the
 * cell, by default the value. Missing values come last. Columns that are `wide` are hidden on a phone.
 */
const classes = (column) => [column.number && "number", column.wide && "wide", column.kind].filter(Boolean).join(" ") || null;

function cell(column, row, first) {
  const value = column.value(row);
  const missing = value === null || value === undefined || value === "";
  const shown = column.show && !(missing && column.number) ? column.show(row) : missing ? NONE : String(value);
  return h(first ? "th" : "td", { class: classes(column), scope: first ? "row" : null }, shown);
}

const box = (table, tall) =>
  h("div", { class: tall ? "box tall" : "box", role: "region", tabindex: "0", "aria-label": table.caption.textContent }, table);

/* A table in a box that scrolls on its own. */
export function plainTable(caption, columns, rows, { quiet = false, mark } = {}) {
  const head = columns.map((each) => h("th", { class: each.number ? "number" : null, scope: "col" }, each.label));
  const table = h(
    "table", {}, h("caption", { class: quiet ? "sr" : null }, caption), h("thead", {}, h("tr", {}, head)),
    h("tbody", {}, rows.map((row) =>
      h("tr", { class: mark?.(row) ? "marked" : null }, columns.map((each, place) => cell(each, row, place === 0))))));
  return box(table, false);
}

/*
 * A table that sorts and updates `state` = { by: label, down }. `fill(rows)` of the result shows other rows in the
 * same order.
 */
export function sortedTable(caption, columns, state, { chosen } = {}) {
  let rows = [];
  const body = h("tbody", {});
  const heads = columns.map((column) =>
    h("th", { class: classes({ ...column, kind: null }), scope: "col" },
      h("button", { type: "button", onclick: () => by(column) }, column.label)));

  function draw() {
    const column = columns.find((each) => each.label === state.by) || columns[0];
    const keyed = rows.map((row) => [column.value(row) ?? null, row]);
    keyed.sort(([a], [b]) => {
      if (a === null || b === null || a === "" || b === "") return (a === null || a === "") - (b === null || b === "");
      return (state.down ? -1 : 1) * (typeof a === "number" ? a - b : order.compare(a, b));
    });
    body.replaceChildren(...keyed.map(([, row]) => {
      const line = h("tr", {}, columns.map((each, place) => cell(each, row, place === 0)));
      if (chosen) line.addEventListener("click", (event) => event.target.closest("a, button") || chosen(row));
      return line;
    }));
    heads.forEach((head, place) => {
      const mine = columns[place] === column;
      head.setAttribute("aria-sort", mine ? (state.down ? "descending" : "ascending") : "none");
    });
  }

  function by(column) {
    state.down = state.by === column.label ? !state.down : Boolean(column.downFirst);
    state.by = column.label;
    draw();
    const first = column.number ? ["smallest first", "largest first"] : ["A to Z", "Z to A"];
    say(`Sorted by ${column.label}, ${first[Number(state.down)]}.`);
  }

  const table = h("table", { class: chosen ? "links" : null },
    h("caption", { class: "sr" }, caption), h("thead", {}, h("tr", {}, heads)), body);
  return {
    element: box(table, true),
    fill(newRows) {
      rows = newRows;
      draw();
    },
  };
}

export const folded = (summary, ...content) => h("details", {}, h("summary", {}, summary), ...content);

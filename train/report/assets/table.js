"use strict";
/* State shared by the page (horizon, stock) and the table of all counters: sort, filter, choose. */
const report = JSON.parse(document.getElementById("report-data").textContent);
const state = { horizon: document.body.dataset.horizon, symbol: document.getElementById("choose").value };
const watchers = [];
const every = (selector, root = document) => [...root.querySelectorAll(selector)];
const spoken = (horizon) => (horizon === "1" ? "1 day" : `${horizon} days`);

function change(update) {
  Object.assign(state, update);
  document.body.dataset.horizon = state.horizon;
  for (const radio of every(".picker input")) radio.checked = radio.value === state.horizon;
  document.getElementById("choose").value = state.symbol;
  for (const watcher of watchers) watcher(update);
}

for (const radio of every(".picker input")) {
  radio.addEventListener("change", () => change({ horizon: radio.value }));
}
document.getElementById("choose").addEventListener("change", (event) => change({ symbol: event.target.value }));

(() => {
  const table = document.getElementById("counters");
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const rows = [...body.rows];
  const filters = every("[data-filter]");
  const sorted = { head: heads[0], down: false };
  const order = new Intl.Collator("en", { numeric: true });

  function value(row, place) {
    if (place === 0) return row.dataset.symbol;
    const cell = row.cells[place];
    if (cell.dataset.v !== undefined) return Number(cell.dataset.v);
    return cell.querySelector("[aria-hidden]") ? null : cell.textContent;
  }

  function sort() {
    const place = heads.indexOf(sorted.head);
    const sign = sorted.down ? -1 : 1;
    const keyed = rows.map((row) => [value(row, place), row]);
    keyed.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      return sign * (typeof a === "number" && typeof b === "number" ? a - b : order.compare(a, b));
    });
    body.append(...keyed.map(([, row]) => row));
    for (const head of heads) {
      head.setAttribute("aria-sort", head !== sorted.head ? "none" : sorted.down ? "descending" : "ascending");
    }
  }

  function matches(row, filter) {
    const wanted = filter.value.trim();
    if (!wanted) return true;
    if (filter.dataset.filter === "text") return row.dataset.text.includes(wanted.toLowerCase());
    const own = row.dataset[filter.dataset.filter];
    if (filter.dataset.filter !== "flags") return own === wanted;
    return wanted === "-" ? own === "" : own.split(", ").includes(wanted);
  }

  function filter() {
    for (const row of rows) row.hidden = !filters.every((each) => matches(row, each));
    tell();
  }

  function tell() {
    const shown = rows.filter((row) => !row.hidden).length;
    const orders = sorted.head.classList.contains("number") ? ["smallest first", "largest first"] : ["A to Z", "Z to A"];
    const how = `${sorted.head.textContent.trim()}, ${orders[Number(sorted.down)]}`;
    document.getElementById("shown").textContent =
      `${shown} of ${rows.length} counters, ${spoken(state.horizon)} ahead. Sorted by ${how}.`;
  }

  function mark() {
    for (const row of rows) {
      if (row.dataset.symbol === state.symbol) row.setAttribute("aria-current", "true");
      else row.removeAttribute("aria-current");
    }
  }

  for (const head of heads) {
    head.querySelector("button").addEventListener("click", () => {
      sorted.down = head === sorted.head ? !sorted.down : false;
      sorted.head = head;
      sort();
      tell();
    });
  }
  for (const each of filters) each.addEventListener("input", filter);
  every(".filters")[0].addEventListener("reset", () => setTimeout(filter));
  body.addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    const selection = getSelection();
    const selecting = !event.target.closest("button") && !selection.isCollapsed;
    if (selecting && row.contains(selection.anchorNode)) return;
    change({ symbol: row.dataset.symbol });
    document.getElementById("choose").focus({ preventScroll: true });
    document.getElementById("stock").scrollIntoView();
  });
  watchers.push((update) => {
    if (update.horizon) {
      const { k, h } = sorted.head.dataset;
      if (h) sorted.head = heads.find((head) => head.dataset.k === k && head.dataset.h === update.horizon);
      sort();
      tell();
    }
    mark();
  });
  mark();
  filter();
})();

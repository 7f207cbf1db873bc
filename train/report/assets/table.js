/* State shared by the page (horizon, stock) and the table of all counters: sort, filter, choose. */
const state = { horizon: document.body.dataset.horizon, symbol: document.getElementById("choose").value };
const watchers = [];
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
  const { body, heads, rows, sorted, sort, said } = sortable(document.getElementById("counters"), () => tell());
  const filters = every("[data-filter]");

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
    document.getElementById("shown").textContent =
      `${shown} of ${rows.length} counters, ${spoken(state.horizon)} ahead. ${said()}`;
  }

  function mark() {
    for (const row of rows) {
      if (row.dataset.symbol === state.symbol) row.setAttribute("aria-current", "true");
      else row.removeAttribute("aria-current");
    }
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
    }
    mark();
  });
  mark();
  filter();
})();

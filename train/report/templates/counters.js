/* The page's state (horizon, stock) and the table of all stocks: sort, filter, choose. */
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

function made(tag, properties, ...content) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...content);
  return element;
}

const counters = (() => {
  const element = document.getElementById("counters");
  const body = element.tBodies[0];
  const rows = [...body.rows].map((row) => new PageRow(row));
  const filters = every("[data-filter]");
  const { heads, sorted, sort, orderText } = sortable(element, rows, show);

  function matches(row, filter) {
    const wanted = filter.value.trim();
    if (!wanted) return true;
    if (filter.dataset.filter === "text") return row.data.text.includes(wanted.toLowerCase());
    const own = row.data[filter.dataset.filter];
    if (filter.dataset.filter !== "flags") return own === wanted;
    return wanted === "-" ? own === "" : own.split(", ").includes(wanted);
  }

  function show() {
    const found = rows.filter((row) => filters.every((filter) => matches(row, filter)));
    body.replaceChildren(...found.map((row) => row.draw()));
    document.getElementById("shown").textContent =
      `${found.length} of ${rows.length} stocks, ${spoken(state.horizon)} ahead. ${orderText()}`;
    mark();
  }

  function mark() {
    for (const row of body.rows) {
      if (row.dataset.symbol === state.symbol) row.setAttribute("aria-current", "true");
      else row.removeAttribute("aria-current");
    }
  }

  /* Sorts by the column of the same figure at the chosen horizon. */
  function follow(horizon) {
    const { k, h } = sorted.head.dataset;
    if (h) sorted.head = heads.find((head) => head.dataset.k === k && head.dataset.h === horizon);
    sort();
  }

  for (const filter of filters) filter.addEventListener("input", show);
  every(".filters")[0].addEventListener("reset", () => setTimeout(show));
  body.addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    const selection = getSelection();
    const selecting = !event.target.closest("button") && !selection.isCollapsed;
    if (selecting && row.contains(selection.anchorNode)) return;
    change({ symbol: row.dataset.symbol });
    document.getElementById("choose").focus({ preventScroll: true });
    document.getElementById("stock").scrollIntoView();
  });
  watchers.push((update) => (update.horizon ? follow(update.horizon) : mark()));
  show();
  return { rows, heads };
})();

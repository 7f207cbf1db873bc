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

/* The data files beside the page: scripts that call reportData, each loaded once. */
const files = { loading: {}, waiting: {}, loaded: {} };

function reportData(release, name, data) {
  if (release === report.release) files.loaded[name] = data;
}

/* Resolves to the data of a file, or to null if it is missing or of another release. */
function load(name) {
  files.loading[name] ??= new Promise((resolve) => {
    const script = document.createElement("script");
    script.src = `${encodeURIComponent(report.folder)}/${name}.js`;
    script.onload = script.onerror = () => resolve(files.loaded[name] ?? null);
    document.head.append(script);
  });
  return files.loading[name];
}

const missingFiles = `${report.folder} of release ${report.release}, which is not beside this page.`;

/* A row whose cells come from the data files. */
class FileRow {
  constructor(place) {
    this.place = place;
    const own = (k) => this.found({ dataset: { k } }) ?? "";
    const data = Object.fromEntries(["symbol", "tier", "sector", "confidence", "flags"].map((k) => [k, own(k)]));
    this.data = { ...data, text: [data.symbol, own("name"), data.sector].join(" ").toLowerCase() };
  }

  found({ dataset: { k, h } }) {
    const file = files.loaded[h === undefined ? "counters" : `counters_${h}`];
    return file ? file.rows[this.place][file.columns.indexOf(k)] : null;
  }

  value(head) {
    const found = this.found(head);
    return Array.isArray(found) ? found[0] : found;
  }

  cell(head) {
    const { k, h } = head.dataset;
    const cell = document.createElement(k === "symbol" ? "th" : "td");
    Object.assign(cell.dataset, h === undefined ? { k } : { k, h });
    cell.className = head.className;
    const found = this.found(head);
    if (k === "symbol") cell.append(made("button", { type: "button", className: "pick" }, found, hidden(": show its forecasts")));
    else if (found === null) cell.append(sign("–"), hidden("none"));
    else if (!Array.isArray(found)) cell.append(found);
    else {
      cell.dataset.v = found[0];
      cell.append(...FileRow.ratio(found[1]));
    }
    return cell;
  }

  /* The nodes for a number's text; a ratio starts with the sign of its verdict. */
  static ratio(text) {
    const word = { "✓": "better", "✗": "worse", "=": "equal" }[text[0]];
    if (!word) return [text];
    const clear = text.endsWith("*") ? ", significantly" : "";
    return [made("span", { className: word }, sign(`${text[0]} `), text.slice(2), hidden(` ${word}${clear}`))];
  }

  draw(heads) {
    const row = document.createElement("tr");
    row.dataset.symbol = this.data.symbol;
    row.append(...heads.filter(({ dataset: { h } }) => h === undefined || h === state.horizon).map((head) => this.cell(head)));
    return row;
  }
}

function made(tag, properties, ...content) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...content);
  return element;
}
const hidden = (text) => made("span", { className: "sr" }, text);
const sign = (text) => made("span", { ariaHidden: "true" }, text);

const counters = (() => {
  const element = document.getElementById("counters");
  const body = element.tBodies[0];
  const rows = [...body.rows].map((row) => new PageRow(row));
  const filters = every("[data-filter]");
  const { heads, sorted, sort, orderText } = sortable(element, rows, show);
  let note = "";

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
    const listed = found.slice(0, report.counters?.listed);
    body.replaceChildren(...listed.map((row) => row.draw(heads)));
    const first = listed.length < found.length ? `The first ${listed.length} are listed; filter to see others. ` : "";
    document.getElementById("shown").textContent =
      `${found.length} of ${rows.length} stocks, ${spoken(state.horizon)} ahead. ${first}${note}${orderText()}`;
    mark();
  }

  function mark() {
    for (const row of body.rows) {
      if (row.dataset.symbol === state.symbol) row.setAttribute("aria-current", "true");
      else row.removeAttribute("aria-current");
    }
  }

  async function follow(horizon) {
    if (report.counters) await load(`counters_${horizon}`);
    if (horizon !== state.horizon) return;
    const { k, h } = sorted.head.dataset;
    if (h) sorted.head = heads.find((head) => head.dataset.k === k && head.dataset.h === horizon);
    sort();
  }

  /* Replaces the rows in the page by those of the data files. */
  async function fill() {
    const [all] = await Promise.all([load("counters"), load(`counters_${state.horizon}`)]);
    if (!all) note = `The other ${report.counters.count - rows.length} stocks are in ${missingFiles} `;
    else {
      rows.splice(0, rows.length, ...all.rows.map((_, place) => new FileRow(place)));
      const options = rows.map(({ data, place }) => {
        const name = rows[place].found({ dataset: { k: "name" } });
        return new Option(`${data.symbol} – ${name}${all.drawn[place] ? "" : " (no forecasts)"}`, data.symbol);
      });
      document.getElementById("choose").replaceChildren(...options);
      document.getElementById("choose").value = state.symbol;
    }
    sort();
    for (const watcher of watchers) watcher({});
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
  return { rows, heads, fill };
})();

/* Search for a stock by ticker, name or sector: a combobox after the ARIA practices. */
import { h } from "./dom.js";

const MAX_OPTIONS = 8;

/* Score how well a stock matches the input; 0 if it does not. */
export function fit(stock, typed) {
  const wanted = typed.trim().toLowerCase();
  if (!wanted) return 0;
  const [symbol, name, sector] = [stock.symbol, stock.name, stock.sector].map((text) => text.toLowerCase());
  if (symbol === wanted) return 6;
  if (symbol.startsWith(wanted)) return 5;
  if (name.startsWith(wanted)) return 4;
  if (name.split(/[\s()&-]+/).some((word) => word.startsWith(wanted))) return 3;
  if (`${symbol} ${name}`.includes(wanted)) return 2;
  return sector.includes(wanted) ? 1 : 0;
}

/* Fill `place` with the box; returns a function that sets the stocks. */
export function searchBox(place) {
  const field = h("input", {
    id: "find", type: "text", role: "combobox", autocomplete: "off", spellcheck: "false", placeholder: "Find a stock or sector",
    "aria-label": "Find a stock by ticker, name or sector", "aria-autocomplete": "list", "aria-expanded": "false",
    "aria-controls": "found", "aria-keyshortcuts": "/", disabled: true,
  });
  const list = h("ul", { id: "found", role: "listbox", "aria-label": "Stocks", hidden: true });
  const note = h("p", { class: "nothing", role: "status", hidden: true });
  place.replaceChildren(field, list, note);
  let stocks = [];
  let chosen = -1;

  function close() {
    list.hidden = true;
    note.hidden = true;
    chosen = -1;
    field.setAttribute("aria-expanded", "false");
    field.removeAttribute("aria-activedescendant");
  }

  function go(symbol) {
    field.value = "";
    close();
    location.hash = `#stock/${symbol}`;
  }

  function option(stock, number) {
    return h(
      "li", { id: `found-${number}`, role: "option", "aria-selected": "false", onclick: () => go(stock.symbol),
        onpointerdown: (event) => event.preventDefault(), "data-symbol": stock.symbol },
      h("b", {}, stock.symbol), h("span", {}, stock.name), h("small", {}, stock.sector));
  }

  function open() {
    const found = stocks.map((stock) => [fit(stock, field.value), stock]).filter(([score]) => score > 0);
    found.sort(([a], [b]) => b - a);
    const best = found.slice(0, found[0]?.[0] === 1 ? found.length : MAX_OPTIONS).map(([, stock]) => stock);
    close();
    list.replaceChildren(...best.map(option));
    list.hidden = !best.length;
    field.setAttribute("aria-expanded", String(best.length > 0));
    if (best.length) choose(0);
    note.hidden = best.length > 0 || !field.value.trim();
    note.textContent = note.hidden ? "" : `No stock has “${field.value.trim()}” in its ticker, name or sector.`;
  }

  function choose(number) {
    const options = [...list.children];
    if (!options.length) return;
    chosen = (number + options.length) % options.length;
    options.forEach((each, at) => each.setAttribute("aria-selected", String(at === chosen)));
    options[chosen].scrollIntoView({ block: "nearest" });
    field.setAttribute("aria-activedescendant", options[chosen].id);
  }

  const keys = {
    ArrowDown: () => (list.hidden ? open() : choose(chosen + 1)),
    ArrowUp: () => choose(chosen - 1),
    Enter: () => chosen >= 0 && go(list.children[chosen].dataset.symbol),
    Escape: () => (list.hidden && note.hidden ? (field.value = "") : close()),
  };
  field.addEventListener("keydown", (event) => {
    if (!keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });
  field.addEventListener("input", open);
  field.addEventListener("blur", close);
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName)) return;
    event.preventDefault();
    field.focus();
  });
  return (found) => {
    stocks = found;
    field.disabled = false;
  };
}

/* The sector map: a tile of the same size for each stock, with its published price, coloured by the expected change. */
import { every, h } from "../dom.js";
import { change, days, direction, kes, price } from "../format.js";
import { probabilityWords } from "../marks.js";
import { cells, put, squarify } from "../treemap.js";

const LABEL = 20;
const GAP = 3;
const LEAST = 0.5;
/* Percent; smaller changes are shown as none. */
const LEAST_SHOWN = 0.005;
/* Group for sectors with a single stock, which have no room for their name. */
const ALONE = "Other sectors";
/* Share of the changes within the colour scale; larger ones have its last colour. */
const INSIDE = 0.9;

function scaleOf(rows) {
  const sizes = rows.map((row) => Math.abs(row.expected ?? 0)).filter((size) => size >= LEAST_SHOWN).sort((a, b) => a - b);
  const most = sizes[Math.min(sizes.length - 1, Math.floor(INSIDE * sizes.length))] || 0;
  return Math.max(LEAST, Math.ceil(most * 2) / 2);
}

export function sectorMap() {
  const map = h("div", { class: "map" });
  const legend = h("p", { class: "legend" });
  let sectors = [];

  function tile(row, horizon, scale) {
    const value = row.expected;
    const words = row.forecast
      ? [`${row.name}, ${row.sector}: forecast ${kes(row.forecast.prediction)}, last ${kes(row.last_price)}`, `expected change ${change(value)}`, probabilityWords(row.forecast)].filter(Boolean).join("; ")
      : `${row.name}: no forecast. ${row.reason || ""}`;
    const kind = value === null ? "none" : direction(value);
    const element = h("a", { class: `tile ${kind}`, href: `#stock/${encodeURIComponent(row.symbol)}/${horizon}`, title: words, "aria-label": `${row.symbol}, ${words}` },
      h("b", {}, row.symbol), h("span", {}, row.forecast ? price(row.forecast.prediction) : "none"));
    element.style.setProperty("--share", Math.min(1, Math.abs(value ?? 0) / scale).toFixed(3));
    return element;
  }

  function place() {
    const { clientWidth: w, clientHeight: h } = map;
    if (!w || !sectors.length) return;
    const rectangles = squarify(sectors.map((each) => each.tiles.length), 0, 0, w, h);
    sectors.forEach(({ element, tiles }, number) => {
      const rectangle = rectangles[number];
      put(element, { ...rectangle, w: rectangle.w - GAP, h: rectangle.h - GAP });
      fit(element.firstElementChild);
      const inside = cells(tiles.length, rectangle.w - GAP, rectangle.h - GAP - LABEL);
      tiles.forEach((each, at) => put(each, { ...inside[at], y: inside[at].y + LABEL }));
    });
  }

  /* Shorten "Energy and Petroleum" to "Energy" if there is no room. */
  function fit(label) {
    label.textContent = label.title;
    if (label.scrollWidth > label.clientWidth) [label.textContent] = label.title.split(" and ");
  }

  const watcher = new ResizeObserver(place);
  watcher.observe(map);

  function show(rows, horizon) {
    const scale = scaleOf(rows);
    const alone = [...Map.groupBy(rows, (row) => row.sector)].filter(([, members]) => members.length === 1).map(([name]) => name);
    const ordered = [...rows].sort((a, b) => (b.expected ?? -99) - (a.expected ?? -99));
    const groups = Map.groupBy(ordered, (row) => (alone.length > 1 && alone.includes(row.sector) ? ALONE : row.sector));
    sectors = [...groups].sort(([, a], [, b]) => b.length - a.length).map(([name, members]) => {
      const tiles = members.map((row) => tile(row, horizon, scale));
      return { tiles, element: h("div", { class: "sector", role: "group", "aria-label": name }, h("span", { class: "sector-name", title: name, "aria-hidden": "true" }, name), tiles) };
    });
    const focused = every("a", map).indexOf(document.activeElement);
    map.replaceChildren(...sectors.map((each) => each.element));
    if (focused >= 0) every("a", map)[focused]?.focus();
    place();
    legend.replaceChildren(
      h("span", {}, `≤ ${change(-scale, 1)}`), h("span", { class: "ramp", "aria-hidden": "true" }), h("span", {}, `≥ ${change(scale, 1)}`),
      h("span", { class: "note" }, `Colour: the change expected in ${days(horizon)}. Number: the published price in KES, often the last one. Point at a tile, or open it, for the probabilities.`));
  }

  return { element: h("div", {}, legend, map), show, stop: () => watcher.disconnect() };
}


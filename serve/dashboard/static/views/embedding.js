/* A map of the general model's embedding, and the neighbours of one stock. */
import { chart, draw, plain } from "../charts.js";
import { list } from "../controls.js";
import { h, say } from "../dom.js";
import { number, share } from "../format.js";
import { stockLink } from "../marks.js";
import { empty } from "../states.js";

const COLOURS = 6;
const SHAPES = ["circle", "diamond", "square", "triangle-up", "cross", "star"];
/* Positions of a label in pixels from its mark, and the usual sizes of a label and of the map. */
const SIDES = { "top center": [0, 17], "bottom center": [0, -17], "middle right": [34, 0], "middle left": [-34, 0] };
const LABEL = [46, 15];
const MAP = [840, 400];
let chosen = "";

/* Choose for each stock the side where its label is furthest from the marks and from previous labels. */
function sides(positions, symbols) {
  const [across, up] = ["x", "y"].map((axis) => {
    const values = positions.map((each) => each[axis]);
    return Math.max(...values) - Math.min(...values) || 1;
  });
  const marks = positions.filter((each) => symbols.includes(each.symbol))
    .map((each) => [each.symbol, (each.x / across) * MAP[0], (each.y / up) * MAP[1]]);
  const taken = marks.map(([, x, y]) => [x, y]);
  const apart = (x, y, [ox, oy]) => Math.max(Math.abs(x - ox) / LABEL[0], Math.abs(y - oy) / LABEL[1]);
  return new Map(marks.map(([symbol, x, y], number) => {
    const room = ([dx, dy]) => Math.min(...taken.map((each, place) => (place === number ? 9 : apart(x + dx, y + dy, each))));
    const [side, [dx, dy]] = Object.entries(SIDES).reduce((best, each) => (room(each[1]) > room(best[1]) ? each : best));
    taken.push([x + dx, y + dy]);
    return [symbol, side];
  }));
}

function figure({ places, shares }, names, symbol) {
  const near = new Set(places.find((each) => each.symbol === symbol)?.neighbours.map((each) => each.symbol));
  const side = sides(places, [symbol, ...near]);
  const groups = [...Map.groupBy(places, (each) => names.get(each.symbol)?.sector ?? "Unknown")].sort(([a], [b]) => a.localeCompare(b));
  const traces = groups.map(([sector, rows], place) => ({
    type: "scatter", mode: "markers+text", name: plain(sector), x: rows.map((row) => row.x), y: rows.map((row) => row.y),
    text: rows.map((row) => (row.symbol === symbol || near.has(row.symbol) ? row.symbol : "")), textposition: rows.map((row) => side.get(row.symbol) ?? "top center"), textfont: { size: 12 },
    customdata: rows.map((row) => [row.symbol, plain(names.get(row.symbol)?.name ?? row.symbol)]),
    hovertemplate: `%{customdata[0]} %{customdata[1]}<extra>${plain(sector)}</extra>`,
    marker: {
      color: `--c-${1 + (place % COLOURS)}`, symbol: SHAPES[(place + Math.floor(place / COLOURS)) % SHAPES.length],
      size: rows.map((row) => (row.symbol === symbol ? 18 : near.has(row.symbol) ? 13 : 9)),
      opacity: rows.map((row) => (row.symbol === symbol || near.has(row.symbol) ? 1 : 0.45)), line: { color: "--c-text", width: rows.map((row) => (row.symbol === symbol ? 2 : 0)) },
    },
  }));
  const titles = shares.map((each, axis) => `axis ${axis + 1} (${share(each, 0)} of the variance)`);
  return {
    data: traces,
    layout: { xaxis: { title: { text: titles[0] } }, yaxis: { title: { text: titles[1] } }, legend: { orientation: "h", x: 0, y: -0.16, yanchor: "top" } },
  };
}

export function embedding({ embedding: found }, { rows }) {
  if (!found) return empty("Not stored in this release.");
  const names = new Map(rows.map((row) => [row.symbol, row]));
  const symbols = found.places.map((each) => each.symbol);
  if (!symbols.includes(chosen)) chosen = symbols.includes("SCOM") ? "SCOM" : symbols[0];
  const plot = chart("tallest");
  const near = h("ol", { class: "ranked" });
  const title = h("h3", {});

  function show(symbol) {
    chosen = symbol;
    const place = found.places.find((each) => each.symbol === symbol);
    draw(plot, figure(found, names, symbol), `the stocks on the first two axes of the embedding, with the neighbours of ${symbol} marked`);
    title.textContent = `Nearest to ${symbol}`;
    near.replaceChildren(...place.neighbours.map((each) =>
      h("li", {}, stockLink(each.symbol), h("span", {}, names.get(each.symbol)?.name ?? ""), h("span", { class: "distance" }, number(each.distance, 2)))));
  }

  const picker = list("Stock", symbols.map((each) => [each, `${each} – ${names.get(each)?.name ?? each}`]), chosen, (symbol) => {
    show(symbol);
    say(`Neighbours of ${symbol}: ${found.places.find((each) => each.symbol === symbol).neighbours.map((each) => each.symbol).join(", ")}.`);
  });
  show(chosen);
  const held = found.shares.reduce((sum, each) => sum + each, 0);
  return h("div", { class: "stage" },
    h("figure", { class: "card" }, plot),
    h("div", { class: "card" }, picker, title, near,
      h("p", { class: "note" }, `Distance in all dimensions of the embedding. The two shown have ${share(held, 0)} of its variance${held < 0.99 ? ", so stocks that look close may still be apart" : ""}.`)));
}

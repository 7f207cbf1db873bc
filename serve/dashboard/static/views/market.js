/* The market: every stock on a map and in a table, movers, and frozen or stale stocks. */
import { get } from "../api.js";
import { horizonOf, horizons, remember } from "../controls.js";
import { h } from "../dom.js";
import { count, day, days, direction, plural, weekday } from "../format.js";
import { moved, stockLink } from "../marks.js";
import { loaded } from "../states.js";
import { title } from "../title.js";
import { sectorMap } from "./sector_map.js";
import { stockTable } from "./stock_table.js";

const MOVERS = 5;
const STILL = ["frozen", "stale", "no data", "too short"];

/* One row for each stock: its newest close, and its forecast or the reason why there is none. */
function joined(market, all) {
  const forecasts = new Map(all.predictions.map((each) => [each.symbol, each]));
  const reasons = new Map(all.summary.errors.map((each) => [each.symbol, each.detail]));
  return market.quotes.map((quote) => {
    const forecast = forecasts.get(quote.symbol) || null;
    return { ...quote, forecast, published: forecast ? forecast.change_percent : null, expected: forecast ? forecast.expected_change_percent ?? forecast.change_percent : null, reason: reasons.get(quote.symbol) || null };
  });
}

export async function view(container, [requested], signal) {
  title("Market");
  let horizon = horizonOf(requested);
  const summary = h("p", { class: "lead" });
  const map = sectorMap();
  const table = stockTable();
  const movers = h("div", { class: "movers" });
  const still = h("div", {});
  const body = h("div", {});
  const parts = [
    h("section", { "aria-labelledby": "map-title" }, h("h2", { id: "map-title" }, "Sectors"), map.element),
    h("section", { "aria-labelledby": "movers-title" }, h("h2", { id: "movers-title" }, "Movers"), movers),
    h("section", { "aria-labelledby": "all-title" }, h("h2", { id: "all-title" }, "All stocks"), table.element),
    h("section", { "aria-labelledby": "still-title" }, h("h2", { id: "still-title" }, "Frozen or stale"), still),
  ];

  async function load() {
    const [quotes, all] = await Promise.all([get("market", { signal }), get(`predict/all?horizon=${horizon}`, { signal })]);
    return { quotes, rows: joined(quotes, all), horizon };
  }

  function draw(found) {
    const fresh = !body.contains(map.element);
    if (fresh) body.replaceChildren(...parts);
    summary.replaceChildren(...summaryOf(found));
    map.show(found.rows, found.horizon);
    movers.replaceChildren(...lists(found));
    table.show(found.rows, found.horizon);
    still.replaceChildren(...stopped(found.rows));
    return null;
  }

  const refresh = () => loaded(body, "the market", load, draw, signal);
  const picker = horizons(horizon, (chosen) => {
    horizon = chosen;
    remember("market", horizon);
    refresh();
  });
  container.append(h("div", { class: "head" }, h("div", {}, h("h1", {}, "Market"), summary), picker), body);
  signal.addEventListener("abort", map.stop);
  return refresh();
}

function summaryOf({ quotes, rows, horizon }) {
  const ways = { up: 0, down: 0, flat: 0 };
  for (const row of rows) if (row.forecast) ways[direction(row.published)] += 1;
  const target = rows.map((row) => row.forecast?.target_date).filter(Boolean).sort().at(-1);
  const none = rows.length - ways.up - ways.down - ways.flat;
  return [
    `Prices to ${day(quotes.data_end)}, published forecasts for ${weekday(target)}, ${days(horizon)} ahead: `,
    h("b", {}, `${count(ways.up)} up, ${count(ways.down)} down, ${count(ways.flat)} unchanged`),
    none ? `, ${plural(none, "without a forecast", "without a forecast")}.` : ".",
  ];
}

function lists({ rows, horizon }) {
  const known = rows.filter((row) => row.forecast);
  const by = (value, sign) => known.filter((row) => sign * value(row) > 0.005).sort((a, b) => sign * (value(b) - value(a))).slice(0, MOVERS);
  const forecast = (row) => row.expected;
  const session = (row) => row.change_percent ?? 0;
  const titles = [
    [`Expected up, ${days(horizon)}`, by(forecast, 1), forecast],
    [`Expected down, ${days(horizon)}`, by(forecast, -1), forecast],
    ["Up in the last session", by(session, 1), session],
    ["Down in the last session", by(session, -1), session],
  ];
  return titles.map(([title, found, value]) =>
    h("div", { class: "card" }, h("h3", {}, title),
      found.length
        ? h("ol", { class: "ranked" }, found.map((row) => h("li", {}, stockLink(row.symbol, horizon), h("span", {}, row.name), moved(value(row)))))
        : h("p", { class: "note" }, "None.")));
}

function stopped(rows) {
  const found = STILL.map((flag) => [flag, rows.filter((row) => row.flags.includes(flag))]).filter(([, each]) => each.length);
  if (!found.length) return [h("p", {}, "None: every stock has moved recently and has a price in the last session.")];
  const words = {
    frozen: "no move in the whole window; forecast at the last price",
    stale: "no price in recent sessions",
    "no data": "no price in this release",
    "too short": "too few prices to be assessed",
  };
  return [h("dl", { class: "facts single" }, found.map(([flag, each]) =>
    h("div", {}, h("dt", {}, h("span", { class: "flag" }, flag), ` ${plural(each.length, "stock")}: ${words[flag]}`),
      h("dd", { class: "names" }, each.map((row) => stockLink(row.symbol))))))];
}

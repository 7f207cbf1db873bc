/* One stock: its prices, the forecast fan, and the errors of past forecasts. */
import { get, Refused } from "../api.js";
import { chart, draw } from "../charts.js";
import { choice, horizonOf, horizons, remember, tick } from "../controls.js";
import { h } from "../dom.js";
import { day, days, kes } from "../format.js";
import { flags, moved } from "../marks.js";
import { failed, loaded } from "../states.js";
import { title } from "../title.js";
import { fan } from "./fan.js";
import { forecastCard } from "./forecast_card.js";
import { errorTable, outlookTable, pastTable } from "./stock_tables.js";

const RANGES = [["65", "3 months"], ["250", "1 year"], ["750", "3 years"], ["5000", "all"]];
const selection = { symbol: null, days: "250", past: true };

/* The default stock: the one shown last, else one with its own model. */
async function anyStock(signal) {
  if (selection.symbol) return selection.symbol;
  const { models } = await get("models/available", { signal });
  return (models.find((each) => each.symbol === "SCOM") || models.find((each) => each.model_type !== "general") || models[0]).symbol;
}

export async function view(container, [named, requested], signal) {
  title("Stock");
  let horizon = horizonOf(requested);
  let symbol = named?.toUpperCase();
  const head = h("div", { class: "head" }, h("h1", {}, symbol ?? "Stock"));
  const body = h("div", {});
  container.append(head, body);

  async function load() {
    symbol ??= await anyStock(signal);
    const path = encodeURIComponent(symbol);
    const [card, outlook] = await Promise.all([
      get(`models/${path}`, { signal }),
      get(`outlook/${path}`, { signal }).catch((error) => {
        if (error instanceof Refused && error.status === 422) return { predictions: [], reason: error.message };
        throw error;
      }),
    ]);
    return { card, outlook, history: await past() };
  }

  const past = () => get(`history/${encodeURIComponent(symbol)}?horizon=${horizon}&days=${selection.days}`, { signal });

  function show({ card, outlook, history }) {
    selection.symbol = symbol;
    remember("stock", symbol, horizon);
    title(card.name);
    if (!card.horizons.includes(horizon)) horizon = card.horizons[0];
    const plot = chart("tall");
    const aside = h("div", { class: "card forecast" });
    const tables = h("div", { class: "stack" });
    const older = h("div", {});
    let found = history;

    function again() {
      draw(plot, fan(found, outlook.predictions, horizon, selection.past), label(card, horizon, selection.past));
      aside.replaceChildren(...forecastCard(card, outlook, horizon));
      tables.replaceChildren(outlookTable(outlook, horizon), errorTable(card, horizon));
      older.replaceChildren(pastTable(found));
    }

    async function fetchPast() {
      plot.setAttribute("aria-busy", "true");
      try {
        found = await past();
        if (!signal.aborted) again();
      } catch (error) {
        if (!signal.aborted) body.replaceChildren(failed(error, () => loaded(body, symbol, load, show, signal)));
      } finally {
        plot.removeAttribute("aria-busy");
      }
    }

    const picker = horizons(horizon, (chosen) => {
      horizon = chosen;
      remember("stock", symbol, horizon);
      fetchPast();
    }, card.horizons);
    const range = choice("Prices of the last", RANGES, selection.days, (chosen) => {
      selection.days = chosen;
      fetchPast();
    });
    const overlay = tick("past forecasts", selection.past, (chosen) => {
      selection.past = chosen;
      again();
    });
    head.replaceChildren(headline(card, history), picker);
    again();
    return [
      h("div", { class: "stage" },
        h("figure", { class: "card" }, h("div", { class: "controls" }, range, overlay), plot),
        aside),
      tables, older,
    ];
  }

  return loaded(body, named ? named.toUpperCase() : "a stock", load, show, signal);
}

function headline(card, { prices }) {
  const [before, last] = prices.slice(-2);
  const step = last && before ? 100 * (last.close / before.close - 1) : null;
  const split = last?.flags.includes("ACTION");
  const names = card.performance?.flags.split(", ").filter(Boolean) ?? [];
  return h("div", {},
    h("p", { class: "kicker" }, h("b", {}, card.symbol), ` · ${card.sector}`),
    h("h1", {}, card.name),
    card.last_price === null
      ? h("p", { class: "lead" }, "This release has no price for it.")
      : h("p", { class: "lead" }, h("b", {}, kes(card.last_price)), ` at the close of ${day(card.last_date)} `,
        step === null || split ? null : moved(step), step === null || split ? null : " from the session before"),
    names.length ? flags(names) : null);
}

function label(card, horizon, withPast) {
  const more = withPast ? `, and past forecasts made ${days(horizon)} before` : "";
  return `closing prices of ${card.name}, the forecast for the next 30 trading days with its intervals${more}. The tables below have the figures.`;
}

/* All stocks in one table with filters and sorting. */
import { field, list, tick } from "../controls.js";
import { h } from "../dom.js";
import { day, NONE, plural, price, range, share } from "../format.js";
import { probabilities, confidence, flags, moved, spark, stockLink } from "../marks.js";
import { sortedTable } from "../table.js";

const sorted = { by: "Stock", down: false };
const chosen = { text: "", sector: "", confidence: "", model: "", moving: false };
const ORDER = { low: 1, medium: 2, high: 3 };

function columns(horizon) {
  return [
    { label: "Stock", value: (row) => row.symbol, show: (row) => stockLink(row.symbol, horizon) },
    { label: "Name", wide: true, value: (row) => row.name, kind: "name" },
    { label: "30 sessions", wide: true, value: (row) => (row.closes.length > 1 ? row.closes.at(-1) / row.closes[0] - 1 : null), number: true, show: (row) => spark(row.closes), downFirst: true },
    { label: "Last, KES", wide: true, value: (row) => row.last_price, number: true, show: (row) => price(row.last_price), downFirst: true },
    { label: "Session", wide: true, value: (row) => row.change_percent, number: true, show: (row) => moved(row.change_percent), downFirst: true },
    { label: "Forecast, KES", value: (row) => row.forecast?.prediction, number: true, show: (row) => price(row.forecast.prediction), downFirst: true },
    { label: "Change", value: (row) => row.published, number: true, show: (row) => moved(row.published), downFirst: true },
    { label: "Expected", wide: true, value: (row) => row.expected, number: true, show: (row) => moved(row.expected), downFirst: true },
    { label: "Up / same / down", wide: true, value: (row) => row.forecast?.probability_up, number: true, show: (row) => probabilityCell(row.forecast), downFirst: true },
    { label: "90 % interval, KES", wide: true, value: (row) => width(row), number: true, show: (row) => interval(row), downFirst: true },
    { label: "Confidence", value: (row) => ORDER[row.forecast?.confidence], number: false, show: (row) => (row.forecast ? confidence(row.forecast.confidence) : "–"), downFirst: true },
    { label: "State", wide: true, value: (row) => row.flags.join(", ") || null, kind: "state-cell", show: (row) => flags(row.flags) },
    { label: "Sector", wide: true, value: (row) => row.sector, kind: "sector-cell" },
    { label: "Model", wide: true, value: (row) => row.forecast && (row.forecast.model_type === "general" ? "general" : "its own"), kind: "whole" },
    { label: "Last close", wide: true, value: (row) => row.last_date, kind: "whole", show: (row) => (row.last_date ? day(row.last_date) : "–") },
  ];
}

function probabilityCell(forecast) {
  const outcomes = probabilities(forecast);
  return outcomes ? h("span", { class: "whole" }, outcomes.map((outcome) => share(outcome.share, 0)).join(" / ").replaceAll("\u00a0%", "") + "\u00a0%") : NONE;
}

function width({ forecast }) {
  const found = forecast?.confidence_interval;
  return found ? (found.upper - found.lower) / forecast.last_price : null;
}

const interval = ({ forecast }) => range(forecast.confidence_interval?.lower, forecast.confidence_interval?.upper);

function fits(row) {
  const { forecast } = row;
  return (
    `${row.symbol} ${row.name} ${row.sector}`.toLowerCase().includes(chosen.text.trim().toLowerCase()) &&
    (!chosen.sector || row.sector === chosen.sector) &&
    (!chosen.confidence || forecast?.confidence === chosen.confidence) &&
    (!chosen.model || (chosen.model === "none" ? !forecast : forecast?.model_type === chosen.model)) &&
    (!chosen.moving || Math.abs(row.published ?? 0) >= 0.005));
}

export function stockTable() {
  const shown = h("p", { class: "note", role: "status" });
  const filters = h("div", { class: "filters" });
  const box = h("div", {});
  const element = h("div", {}, filters, shown, box);
  let rows = [];
  let table = null;

  function update() {
    const found = rows.filter(fits);
    table.fill(found);
    shown.textContent = found.length
      ? `${plural(found.length, "stock")} of ${rows.length}.`
      : "No stock matches all filters. Remove one.";
  }

  const set = (name) => (value) => {
    chosen[name] = value;
    update();
  };

  function show(found, horizon) {
    rows = found;
    if (!filters.childElementCount) {
      const sectors = [...new Set(rows.map((row) => row.sector))].sort();
      filters.append(
        field("Find", "ticker, name or sector", chosen.text, set("text")),
        list("Sector", [["", "all"], ...sectors.map((each) => [each, each])], chosen.sector, set("sector")),
        list("Confidence", [["", "all"], ["high", "high"], ["medium", "medium"], ["low", "low"]], chosen.confidence, set("confidence")),
        list("Model", [["", "all"], ["stock_specific", "its own"], ["general", "general"], ["none", "no forecast"]], chosen.model, set("model")),
        tick("forecast to move", chosen.moving, set("moving")));
    }
    const { scrollLeft = 0, scrollTop = 0 } = box.firstElementChild ?? {};
    table = sortedTable("All stocks with their newest close and forecast", columns(horizon), sorted, {
      chosen: (row) => { location.hash = `#stock/${encodeURIComponent(row.symbol)}/${horizon}`; },
    });
    box.replaceChildren(table.element);
    table.element.scrollTo(scrollLeft, scrollTop);
    update();
  }

  return { element, show };
}

/* The forecast at one horizon: price, interval, model, confidence and measured error. */
import { facts, h } from "../dom.js";
import { capital, days, kes, price, weekday } from "../format.js";
import { probabilityBar, confidence, moved } from "../marks.js";
import { explained } from "../measures.js";

const WHO = { stock_specific: "its own model", general: "the general model for all stocks" };

/* Texts of the server may begin in lower case. */
const sentence = (text) => capital(text).replace(/([^.!?])$/, "$1.");

export function forecastCard(card, outlook, horizon) {
  const found = outlook.predictions.find((each) => each.horizon === horizon);
  const heading = h("h2", {}, `${days(horizon)} ahead`);
  if (!found) {
    return [heading, h("p", { class: "state" }, h("strong", {}, "No forecast. "), outlook.reason || "This release does not forecast so far ahead.")];
  }
  const range = found.confidence_interval;
  const reasons = found.confidence_reasons.map((each) => h("li", {}, sentence(each)));
  return [
    heading,
    h("p", { class: "note" }, `for ${weekday(found.target_date)}`),
    h("p", { class: "big" }, kes(found.prediction), " ", moved(found.change_percent)),
    h("p", {}, ...within(range)),
    probabilityBar(found),
    facts([
      ["Expected change", typeof found.expected_change_percent === "number" ? [moved(found.expected_change_percent), ` to ${kes(found.mean_prediction)}, the mean forecast`] : null],
      ["Forecast by", h("span", {}, WHO[found.model_type], " ", h("code", {}, found.model_version))],
      ["Published", found.forecast_source === "model" ? "the forecast of the model" : "the last price: no change is forecast"],
      ["Confidence", [confidence(found.confidence), reasons.length ? h("ul", { class: "reasons" }, reasons) : null]],
      ["Measured error", measured(found, card, horizon)],
    ], "facts stacked"),
    found.warnings.length
      ? h("div", { class: "caveats" }, h("h3", {}, "Before you use it"), h("ul", {}, found.warnings.map((each) => h("li", {}, sentence(each.message)))))
      : null,
  ].filter(Boolean);
}

function within(range) {
  if (!range) return ["This model gives no interval."];
  if (range.lower === range.upper) return ["The price does not move, so the interval has no width."];
  return ["Nine times in ten between ", h("b", { class: "whole" }, `${kes(range.lower)} and ${price(range.upper)}`), "."];
}

function measured(found, card, horizon) {
  const figures = card.performance?.horizons[horizon];
  if (!figures || found.mape === null) return "not measured: the stock did not move in the test part, or had no prices";
  const naive = found.naive_mape;
  return h("span", {}, h("b", {}, `${price(found.mape)}\u00a0%`), ` on average, where the last price was off by `, h("b", {}, `${price(naive)}\u00a0%`),
    ` (${figures.n.toLocaleString("en-GB")} past forecasts). `, ...explained(figures, ["mape"]));
}

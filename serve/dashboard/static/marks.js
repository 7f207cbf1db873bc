/* Small marks, always with text as well. */
import { h, s } from "./dom.js";
import { arrow, change, direction, NONE, share } from "./format.js";
import { better } from "./measures.js";

const LEVELS = { low: 1, medium: 2, high: 3 };

export const confidence = (word) =>
  h("span", { class: `confidence ${word}` },
    h("span", { class: "dots", "aria-hidden": "true" }, "●".repeat(LEVELS[word]), h("span", {}, "●".repeat(3 - LEVELS[word]))), word);

/* A change in percent, with an arrow and its sign. */
export const moved = (value, decimals = 2) =>
  typeof value === "number"
    ? h("span", { class: `moved ${direction(value, decimals)}` },
      h("span", { class: "arrow", "aria-hidden": "true" }, arrow(value)), change(value, decimals))
    : NONE;

/* A forecast's probabilities of a rise, no change and a fall: name, words and share; null without them. */
export function probabilities(forecast) {
  const shares = [["up", "rise"], ["unchanged", "no change"], ["down", "fall"]].map(([name, words]) => ({ name, words, share: forecast?.[`probability_${name}`] }));
  return shares.every((entry) => typeof entry.share === "number") ? shares : null;
}

/* The probabilities as text for labels. */
export function probabilityWords(forecast) {
  const parts = probabilities(forecast);
  return parts ? `probability of a rise ${share(parts[0].share, 0)}, no change ${share(parts[1].share, 0)}, a fall ${share(parts[2].share, 0)}` : "";
}

/* A bar of the three probabilities, with their numbers and words below it. */
export function probabilityBar(forecast) {
  const parts = probabilities(forecast);
  if (!parts) return null;
  const symbols = { up: "▲", unchanged: "■", down: "▼" };
  const bar = h("div", { class: "probability-bar", "aria-hidden": "true" }, parts.map((outcome) => {
    const segment = h("span", { class: `probability-${outcome.name}` });
    segment.style.setProperty("flex-grow", outcome.share.toFixed(4));
    return segment;
  }));
  const list = h("ul", { class: "probability-list", "aria-label": "Probabilities of the close against the last price" }, parts.map((outcome) =>
    h("li", { class: `probability-${outcome.name}` }, h("span", { "aria-hidden": "true" }, symbols[outcome.name]), " ", h("b", {}, share(outcome.share, 0)), ` ${outcome.words}`)));
  return h("div", { class: "probabilities" }, bar, list);
}

export const flags = (names) => (names.length ? h("span", { class: "flags" }, names.map((name) => h("span", { class: "flag" }, name))) : NONE);

export const stockLink = (symbol, horizon = "1d") =>
  h("a", { href: `#stock/${encodeURIComponent(symbol)}/${horizon}` }, symbol);

/* A sparkline of the newest closes. */
export function spark(closes, width = 84, height = 22) {
  if (closes.length < 2) return NONE;
  const low = Math.min(...closes);
  const spread = Math.max(...closes) - low || 1;
  const points = closes.map((close, place) => {
    const x = 1 + (place * (width - 2)) / (closes.length - 1);
    return `${x.toFixed(1)},${(height - 2 - ((close - low) * (height - 4)) / spread).toFixed(1)}`;
  });
  return s("svg", { class: `spark ${direction(closes.at(-1) / closes[0] - 1, 4)}`, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" },
    s("polyline", { points: points.join(" ") }));
}

/* A ratio to naive, relMAE: below 1 is better. */
export function verdict(value) {
  if (typeof value !== "number") return h("span", {}, NONE);
  const off = Math.abs(100 * (1 - value));
  if (better(value) === 0) return h("span", {}, "no better, no worse");
  return h("span", { class: value < 1 ? "better" : "worse" }, `${off.toFixed(1)}\u00a0% ${value < 1 ? "better" : "worse"}`);
}

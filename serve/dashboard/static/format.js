/* Formats of numbers and dates; "–" for missing values. */
export const NONE = "–";
const THIN = "\u00a0";

const fixed = new Map();
function digits(count) {
  if (!fixed.has(count)) {
    const options = { minimumFractionDigits: count, maximumFractionDigits: count };
    fixed.set(count, new Intl.NumberFormat("en-GB", options));
  }
  return fixed.get(count);
}

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
const minus = (text) => text.replace("-", "−");

export const number = (value, count = 2) => (isNumber(value) ? minus(digits(count).format(value)) : NONE);
export const count = (value) => number(value, 0);
export const ratio = (value) => number(value, 3);
/* A price without its unit, for tables with the unit in the heading. */
export const price = (value) => number(value, 2);
export const kes = (value) => (isNumber(value) ? `KES${THIN}${price(value)}` : NONE);
export const percent = (value, decimals = 2) => (isNumber(value) ? `${number(value, decimals)}${THIN}%` : NONE);
/* A share between 0 and 1 in percent. */
export const share = (value, decimals = 1) => (isNumber(value) ? percent(100 * value, decimals) : NONE);

/* A change in percent with its sign, without one if it rounds to zero. */
export function change(value, decimals = 2) {
  if (!isNumber(value)) return NONE;
  const rounded = Number(value.toFixed(decimals));
  const sign = rounded > 0 ? "+" : "";
  return `${sign}${percent(rounded === 0 ? 0 : rounded, decimals)}`;
}

export function direction(value, decimals = 2) {
  if (!isNumber(value)) return "flat";
  const rounded = Number(value.toFixed(decimals));
  return rounded > 0 ? "up" : rounded < 0 ? "down" : "flat";
}
export const arrow = (value) => ({ up: "▲", down: "▼", flat: "■" })[direction(value)];

export const range = (low, high) => (isNumber(low) && isNumber(high) ? `${price(low)}${THIN}–${THIN}${price(high)}` : NONE);

const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric", timeZone: "UTC" });
const WEEKDAY = new Intl.DateTimeFormat("en-GB", {
  weekday: "short", day: "numeric", month: "short", year: "numeric", timeZone: "UTC",
});
/* A day such as 2024-10-31. */
export const day = (text) => (text ? DAY.format(new Date(text)) : NONE);
export const weekday = (text) => (text ? WEEKDAY.format(new Date(text)).replace(",", "") : NONE);

let clocks = clocksOf("UTC"); // until the server has sent the time zone of the exchange
let used = false;

function clocksOf(timeZone) {
  const time = { hour: "2-digit", minute: "2-digit", timeZoneName: "short", timeZone };
  return {
    timeZone,
    instant: new Intl.DateTimeFormat("en-KE", { day: "numeric", month: "short", year: "numeric", ...time }),
    seconds: new Intl.DateTimeFormat("en-KE", { ...time, second: "2-digit" }),
    plain: new Intl.DateTimeFormat("sv-SE", { dateStyle: "short", timeStyle: "medium", timeZone }),
  };
}

function formatted(kind, at) {
  used = true;
  return clocks[kind].format(new Date(at));
}

/* Show times in a zone from now on; returns whether times were already shown in another zone. */
export function useZone(timeZone) {
  if (timeZone === clocks.timeZone) return false;
  clocks = clocksOf(timeZone);
  return used;
}
/* A time in the zone of the exchange. */
export const instant = (text) => (text ? formatted("instant", text) : NONE);
export const clock = (at) => formatted("seconds", at);
/* The same without the zone, such as 2024-10-31 15:00:00, for Plotly. */
export const wallTime = (text) => formatted("plain", text);

export function ago(seconds) {
  if (!isNumber(seconds)) return NONE;
  const units = [[86400, "day"], [3600, "hour"], [60, "minute"]];
  for (const [size, name] of units) {
    const whole = Math.floor(seconds / size);
    if (whole >= 1) return `${whole} ${name}${whole === 1 ? "" : "s"} ago`;
  }
  return "just now";
}

export const days = (horizon) => (horizon === "1d" ? "1 day" : `${Number.parseInt(horizon, 10)} days`);
export const plural = (amount, one, many = `${one}s`) => `${count(amount)} ${amount === 1 ? one : many}`;
export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/* Numbers and dates as people read them; "–" where there is nothing. */
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

const known = (value) => typeof value === "number" && Number.isFinite(value);
const minus = (text) => text.replace("-", "−");

export const number = (value, count = 2) => (known(value) ? minus(digits(count).format(value)) : NONE);
export const count = (value) => number(value, 0);
export const ratio = (value) => number(value, 3);
/* A price without its unit, for tables that have it in the heading. */
export const price = (value) => number(value, 2);
export const kes = (value) => (known(value) ? `KES${THIN}${price(value)}` : NONE);
export const percent = (value, places = 2) => (known(value) ? `${number(value, places)}${THIN}%` : NONE);
/* Of a share between 0 and 1. */
export const share = (value, places = 1) => (known(value) ? percent(100 * value, places) : NONE);

/* With its sign; what rounds to nothing has none. */
export function change(value, places = 2) {
  if (!known(value)) return NONE;
  const rounded = Number(value.toFixed(places));
  const sign = rounded > 0 ? "+" : "";
  return `${sign}${percent(rounded === 0 ? 0 : rounded, places)}`;
}

export function direction(value, places = 2) {
  if (!known(value)) return "flat";
  const rounded = Number(value.toFixed(places));
  return rounded > 0 ? "up" : rounded < 0 ? "down" : "flat";
}
export const arrow = (value) => ({ up: "▲", down: "▼", flat: "■" })[direction(value)];

export const range = (low, high) => (known(low) && known(high) ? `${price(low)}${THIN}–${THIN}${price(high)}` : NONE);

const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric", timeZone: "UTC" });
const WEEKDAY = new Intl.DateTimeFormat("en-GB", {
  weekday: "short", day: "numeric", month: "short", year: "numeric", timeZone: "UTC",
});
/* Of a day such as 2024-10-31. */
export const day = (text) => (text ? DAY.format(new Date(text)) : NONE);
export const weekday = (text) => (text ? WEEKDAY.format(new Date(text)).replace(",", "") : NONE);

let clocks = clocksOf("UTC"); // until the server has named the exchange's
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

/* From now on times are those of the clocks of that zone; whether some were shown by others. */
export function useZone(timeZone) {
  if (timeZone === clocks.timeZone) return false;
  clocks = clocksOf(timeZone);
  return used;
}
/* Of an instant, as the clocks of the exchange show it. */
export const instant = (text) => (text ? formatted("instant", text) : NONE);
export const clock = (at) => formatted("seconds", at);
/* Without its zone, such as 2024-10-31 15:00:00: Plotly takes it as it stands. */
export const wallTime = (text) => formatted("plain", text);

export function ago(seconds) {
  if (!known(seconds)) return NONE;
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

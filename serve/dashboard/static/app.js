/* The page: shows the views with banners and footer, and redraws them. */
import { get, Unreachable } from "./api.js";
import { connection, healthNow, look } from "./connection.js";
import { every, h, prose, say } from "./dom.js";
import { day, useZone } from "./format.js";
import { searchBox } from "./search.js";
import { failed } from "./states.js";
import { follow } from "./theme.js";
import { title } from "./title.js";

/* Views are fetched when first shown, and all of them after the first view, so that they later need only data. */
const VIEWS = {
  market: () => import("./views/market.js"),
  stock: () => import("./views/stock.js"),
  performance: () => import("./views/performance.js"),
  operations: () => import("./views/operations.js"),
};
const place = document.getElementById("view");
let shown = { name: "", stop: new AbortController(), good: true };

/* Read the view and its arguments from the address after "#", such as stock/SCOM/5d. */
function address() {
  const [name, ...rest] = location.hash.slice(1).split("/").map(decoded);
  return name in VIEWS ? { name, rest } : { name: "market", rest: [] };
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/* Report a script that could not be fetched as Unreachable; other errors are defects of the script. */
function scriptError(error) {
  throw error instanceof TypeError ? new Unreachable("The server does not respond.", { cause: error }) : error;
}

async function show({ moved = false } = {}) {
  const { name, rest } = address();
  shown.stop.abort();
  const stop = new AbortController();
  shown = { name, stop, good: true };
  for (const link of every("nav [data-view]")) {
    if (link.dataset.view === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const container = h("div", { class: `view ${name}` });
  place.replaceChildren(container);
  if (moved) {
    scrollTo({ top: 0, behavior: "instant" });
    place.focus({ preventScroll: true });
  }
  try {
    const { view } = await VIEWS[name]().catch(scriptError);
    if (stop.signal.aborted) return;
    const good = await view(container, rest, stop.signal);
    if (stop.signal.aborted) return;
    shown.good = good !== false;
    performance.mark("nsecast:shown");
  } catch (error) {
    shown.good = false;
    if (!stop.signal.aborted) container.replaceChildren(failed(error, show));
  }
}

function banners() {
  const health = healthNow();
  const items = [];
  if (health.synthetic) {
    items.push(h("p", { class: "banner synthetic" }, h("strong", {}, "Synthetic data."),
      " All prices are invented and say nothing about real stocks."));
  }
  if (health.quick) {
    items.push(h("p", { class: "banner quick" }, h("strong", {}, "Quick release."),
      " Trained briefly, to try things out. Do not quote its figures."));
  }
  for (const problem of health.problems) items.push(h("p", { class: "banner trouble" }, h("strong", {}, "Degraded."), " ", prose(problem)));
  const bar = document.getElementById("banners");
  if (bar.textContent !== items.map((item) => item.textContent).join("")) bar.replaceChildren(...items);
  title();
  document.getElementById("release").replaceChildren(
    "Release ", h("code", {}, health.release), `, prices to ${day(health.data_end)}.`);
}

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address selects the view
  place.focus();
});
addEventListener("hashchange", () => show({ moved: true }));
connection.addEventListener("health", () => {
  banners();
  if (useZone(healthNow().timezone)) show();
});
connection.addEventListener("release", () => {
  say(`Release ${healthNow().release} is now in production. The view is updated.`);
  show();
});
connection.addEventListener("back", () => {
  if (!shown.good) show();
});

const findAmong = searchBox(document.getElementById("search"));

/* Fetch the stocks for the search box; after a failure again when the server is back. */
function listStocks() {
  get("models/available").then(
    (list) => findAmong(list.models),
    () => connection.addEventListener("back", listStocks, { once: true }));
}

connection.addEventListener("release", listStocks);
follow(document.getElementById("appearance"));
look();
show().then(async () => {
  listStocks();
  await Promise.allSettled(Object.values(VIEWS).map((fetched) => fetched()));
  performance.mark("nsecast:complete");
});

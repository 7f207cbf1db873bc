/* The service: releases, replicas and traffic, and the accuracy of served forecasts. */
import { get, Unreachable } from "../api.js";
import { look } from "../connection.js";
import { h } from "../dom.js";
import { failed, loaded } from "../states.js";
import { title } from "../title.js";
import { accuracy } from "./accuracy.js";
import { registry } from "./registry.js";
import { traffic } from "./traffic.js";

const EVERY_S = 3;
const SLOWEST_S = 30;

function section(id, title, ...content) {
  return h("section", { "aria-labelledby": id }, h("h2", { id }, title), ...content);
}

/* Poll while the view is visible, less often while the server does not respond. */
function poll(ask, taken, signal) {
  let timer = null;
  let failures = 0;
  async function once() {
    clearTimeout(timer);
    if (document.hidden || signal.aborted) return;
    try {
      const found = await ask();
      if (signal.aborted) return;
      failures = 0;
      taken(found, null);
    } catch (error) {
      if (signal.aborted) return;
      failures += 1;
      taken(null, error);
      if (error instanceof Unreachable && failures === 1) look();
    }
    timer = setTimeout(once, 1000 * Math.min(SLOWEST_S, EVERY_S * 2 ** failures));
  }
  document.addEventListener("visibilitychange", once, { signal });
  signal.addEventListener("abort", () => clearTimeout(timer));
  once();
  return once;
}

export async function view(container, _, signal) {
  title("Operations");
  const busy = traffic();
  const live = h("div", {}, busy.element);
  const [releases, served] = [h("div", {}), h("div", {})];
  container.append(
    h("div", { class: "head" }, h("div", {}, h("h1", {}, "Operations"),
      h("p", { class: "lead" }, "Releases in production, running replicas, and the accuracy of served forecasts."))),
    section("production", "In production", releases),
    section("traffic", "Replicas and traffic", live),
    section("accuracy", "Realised accuracy and drift", served));

  const again = poll(() => get("stats", { signal, retry: false }), (found, error) => {
    if (error && !busy.drawn()) live.replaceChildren(failed(error, () => again()));
    else if (found && !live.contains(busy.element)) live.replaceChildren(busy.element);
    busy.show(found, error);
  }, signal);
  const good = await Promise.all([
    loaded(releases, "the releases", () => get("releases", { signal }), registry, signal),
    loaded(served, "served forecasts", () => get("live", { signal }), accuracy, signal),
  ]);
  return good.every(Boolean);
}

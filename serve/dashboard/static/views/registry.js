/* Releases: the one in production, the history of production, and all others. */
import { facts, h } from "../dom.js";
import { capital, count, day, instant, percent, ratio } from "../format.js";
import { verdict } from "../marks.js";
import { explained } from "../measures.js";
import { folded, plainTable } from "../table.js";

const named = (release) => h("span", {}, h("code", {}, release.id), release.synthetic ? h("span", { class: "flag warn" }, "synthetic data") : null,
  release.quick ? h("span", { class: "flag warn" }, "quick") : null);

export function registry({ production, serving, releases, moves }) {
  const now = releases.find((each) => each.id === serving);
  const since = moves.find((each) => each.release === production);
  const behind = production === serving
    ? null
    : h("p", { class: "state failed" }, h("strong", {}, "Not yet loaded. "), "Production is ", h("code", {}, production ?? "nothing"), ", but this router still serves ", h("code", {}, serving), ".");
  return [
    behind,
    h("div", { class: "card" },
      facts([
        ["Serving", now ? named(now) : h("code", {}, serving)],
        ["In production since", since ? instant(since.at) : null],
        ["Published", now ? instant(now.created) : null],
        ["Data", now ? `${now.source}, to ${day(now.data_end)}` : null],
        ["Preset", now?.preset],
        ["Models", now ? count(now.models) : null],
        ["Test, shortest horizon", now && now.rel_mae !== null ? h("span", {}, `relMAE ${ratio(now.rel_mae)}: `, verdict(now.rel_mae), ` than naive; MAPE ${percent(now.mape)} against ${percent(now.naive_mape)}. `, explained(now, ["mape"]).join(" ")) : null],
        ["Failed models", now?.failed.join(", ")],
      ])),
    h("h3", {}, "History of production"),
    moves.length ? history(moves) : h("p", { class: "state" }, "No release has been promoted yet."),
    folded(`All releases (${count(releases.length)})`, all(releases)),
  ].filter(Boolean);
}

function history(moves) {
  return plainTable("Moves of production, newest first", [
    { label: "When", kind: "whole", value: (row) => row.at, show: (row) => instant(row.at) },
    { label: "Action", value: (row) => row.action, show: (row) => capital(row.action) },
    { label: "Release", value: (row) => row.release, show: (row) => h("code", {}, row.release) },
    { label: "Gate", value: (row) => (row.forced ? "forced" : row.action === "rollback" ? "" : "passed"),
      show: (row) => (row.forced ? h("span", {}, h("span", { class: "flag warn" }, "overruled"), ` ${row.reasons.join("; ")}`) : row.action === "rollback" ? "–" : "passed") },
  ], moves, { quiet: true });
}

function all(releases) {
  return plainTable("All releases, newest first", [
    { label: "Release", value: (row) => row.id, show: named },
    { label: "State", value: (row) => row.state, show: (row) => (row.state === "ok" ? "complete" : h("span", {}, h("span", { class: "flag warn" }, row.state), ` ${row.reason}`)) },
    { label: "Published", kind: "whole", value: (row) => row.created, show: (row) => (row.created ? instant(row.created) : "–") },
    { label: "Data to", kind: "whole", value: (row) => row.data_end, show: (row) => day(row.data_end) },
    { label: "relMAE", number: true, value: (row) => row.rel_mae, show: (row) => ratio(row.rel_mae) },
    { label: "MAPE", number: true, value: (row) => row.mape, show: (row) => percent(row.mape) },
  ], releases, { quiet: true });
}

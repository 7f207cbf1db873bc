/* One verdict for a forecast's errors: relMAE. Pairs of other measures can point the other way, and that is explained. */
import { number, percent } from "./format.js";

export const RULE = "The verdict is relMAE: errors in percent of the last price, ours over naive’s. Errors in KES count more where prices are high, " +
  "MAPE is in percent of the actual price; either can point the other way.";

const PAIRS = [
  { ours: "mae", naive: "naive_mae", digits: 3, shown: (value) => number(value, 3), where: "In KES", why: ": errors at high prices count more there" },
  { ours: "mape", naive: "naive_mape", digits: 2, shown: percent, where: "In percent of the actual price (MAPE)", why: "" },
];

/* 1 better, -1 worse, 0 equal: a ratio that reads 1.000 is equal. */
export const better = (ratio) => Math.sign(1 - Number(ratio.toFixed(3)));

/* A sentence for each pair that, as printed, points another way than the verdict. */
export function explained(row, among = ["mae", "mape"]) {
  if (typeof row.rel_mae !== "number") return [];
  return PAIRS.filter((pair) => among.includes(pair.ours)).flatMap(({ ours, naive, digits, shown, where, why }) => {
    const [own, other] = [row[ours], row[naive]];
    if (typeof own !== "number" || typeof other !== "number") return [];
    const way = Math.sign(Number(other.toFixed(digits)) - Number(own.toFixed(digits)));
    if (way === 0 || way === better(row.rel_mae)) return [];
    const closer = way > 0 ? "the forecast" : "the last price";
    return [`${where} ${closer} was closer, ${shown(own)} against ${shown(other)}${why}. The verdict goes by relMAE, in percent of the last price.`];
  });
}

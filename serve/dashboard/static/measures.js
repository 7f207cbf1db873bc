/* The verdict on a forecast is relMAE; a text explains when another measure points the other way. */
import { number, percent } from "./format.js";

export const RULE = "The verdict is relMAE: the error in percent of the last price, relative to the naive forecast. Errors in KES give more weight to high " +
  "prices, and MAPE is in percent of the actual price, so either can point the other way.";

const PAIRS = [
  { ours: "mae", naive: "naive_mae", digits: 3, shown: (value) => number(value, 3), where: "In KES", why: ", which give more weight to high prices" },
  { ours: "mape", naive: "naive_mape", digits: 2, shown: percent, where: "In percent of the actual price (MAPE)", why: "" },
];

/* 1 better, -1 worse, 0 equal: a ratio that reads 1.000 is equal. */
export const better = (ratio) => Math.sign(1 - Number(ratio.toFixed(3)));

/* Return a sentence for each pair of measures that, as shown, contradicts the verdict. */
export function explained(row, among = ["mae", "mape"]) {
  if (typeof row.rel_mae !== "number") return [];
  return PAIRS.filter((pair) => among.includes(pair.ours)).flatMap(({ ours, naive, digits, shown, where, why }) => {
    const [own, other] = [row[ours], row[naive]];
    if (typeof own !== "number" || typeof other !== "number") return [];
    const way = Math.sign(Number(other.toFixed(digits)) - Number(own.toFixed(digits)));
    if (way === 0 || way === better(row.rel_mae)) return [];
    const closer = way > 0 ? "the forecast" : "the last price";
    return [`${where} ${closer} was closer, ${shown(own)} against ${shown(other)}${why}. The verdict is by relMAE, in percent of the last price.`];
  });
}

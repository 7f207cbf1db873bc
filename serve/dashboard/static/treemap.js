/* A treemap: a rectangle for each sector, with its stocks inside. */

/*
 * Squarified treemap (Bruls, Huizing and van Wijk, 2000): nearly square rectangles { x, y, w, h } with areas in
 * proportion to `weights`, which are sorted in descending order.
 */
export function squarify(weights, x, y, w, h) {
  const total = weights.reduce((sum, each) => sum + each, 0);
  const areas = weights.map((each) => (each * w * h) / total);
  const found = [];
  let rest = { x, y, w, h };
  for (let start = 0; start < areas.length; ) {
    const side = Math.min(rest.w, rest.h);
    let end = start + 1;
    while (end < areas.length && worst(areas, start, end + 1, side) <= worst(areas, start, end, side)) end += 1;
    const depth = areas.slice(start, end).reduce((sum, each) => sum + each, 0) / side;
    let along = 0;
    for (const area of areas.slice(start, end)) {
      const length = area / depth;
      found.push(rest.w >= rest.h
        ? { x: rest.x, y: rest.y + along, w: depth, h: length }
        : { x: rest.x + along, y: rest.y, w: length, h: depth });
      along += length;
    }
    rest = rest.w >= rest.h
      ? { x: rest.x + depth, y: rest.y, w: rest.w - depth, h: rest.h }
      : { x: rest.x, y: rest.y + depth, w: rest.w, h: rest.h - depth };
    start = end;
  }
  return found;
}

function worst(areas, start, end, side) {
  const row = areas.slice(start, end);
  const sum = row.reduce((total, each) => total + each, 0);
  return Math.max(...row.map((each) => Math.max((side ** 2 * each) / sum ** 2, sum ** 2 / (side ** 2 * each))));
}

/* Penalty for rows of different lengths, comparable to a deviation from the wanted shape. */
const UNEVEN = 0.25;

/* Divide a rectangle into `count` cells of equal area, row by row, each about `wide` times as wide as high. */
export function cells(count, w, h, wide = 1.5) {
  const odd = (rows) => Math.abs(Math.log((w * rows ** 2) / (h * count * wide))) + (count % rows ? UNEVEN : 0);
  const rows = Array.from({ length: count }, (_, place) => place + 1).reduce((best, each) => (odd(each) < odd(best) ? each : best));
  const found = [];
  let y = 0;
  for (let row = 0; row < rows; row += 1) {
    const among = Math.ceil((count - found.length) / (rows - row));
    const height = (h * among) / count;
    for (let place = 0; place < among; place += 1) found.push({ x: (place * w) / among, y, w: w / among, h: height });
    y += height;
  }
  return found;
}

/* Position an element at a rectangle inside its parent. */
export function put(element, { x, y, w, h }) {
  Object.assign(element.style, { left: `${x}px`, top: `${y}px`, width: `${w}px`, height: `${h}px` });
}

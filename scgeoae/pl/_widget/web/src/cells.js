/** Where the cells are on a map: nearest cell, cells in a polygon, and the part of the map that most cells occupy. */
import KDBush from 'kdbush';

export class Cells {
  /** @param positions (n, 2) in C order */
  constructor(positions) {
    this.positions = positions;
    this.size = positions.length / 2;
    this.box = dataBox(positions);
    // the plot draws the longer side from -1 to 1
    this.center = [0, 1].map((k) => (this.box.low[k] + this.box.high[k]) / 2);
    this.half = Math.max(this.box.high[0] - this.box.low[0], this.box.high[1] - this.box.low[1]) / 2 || 1;
    const index = new KDBush(this.size, 16, Float32Array);
    for (let i = 0; i < this.size; i++) index.add(...this.toPlot(this.at(i)));
    this.index = index.finish();
  }

  at(row) {
    return [this.positions[2 * row], this.positions[2 * row + 1]];
  }

  toPlot([x, y]) {
    return [(x - this.center[0]) / this.half, (y - this.center[1]) / this.half];
  }

  fromPlot([x, y]) {
    return [x * this.half + this.center[0], y * this.half + this.center[1]];
  }

  /** Return the row of the nearest cell within a distance, or -1. */
  nearest(position, within, isShown) {
    let [best, least] = [-1, Infinity];
    for (const row of this.index.within(...this.toPlot(position), within / this.half)) {
      const [x, y] = this.at(row);
      const distance = (x - position[0]) ** 2 + (y - position[1]) ** 2;
      if (distance < least && isShown(row)) [best, least] = [row, distance];
    }
    return best;
  }

  /** Return the rows of the cells inside a polygon, in ascending order. */
  inside(polygon, isShown) {
    const xs = polygon.map(([x]) => x);
    const ys = polygon.map(([, y]) => y);
    const low = this.toPlot([Math.min(...xs), Math.min(...ys)]);
    const high = this.toPlot([Math.max(...xs), Math.max(...ys)]);
    const margin = 1e-5; // the index has single precision
    const rows = this.index
      .range(low[0] - margin, low[1] - margin, high[0] + margin, high[1] + margin)
      .filter((row) => isShown(row) && isInside(this.at(row), polygon));
    return Uint32Array.from(rows).sort();
  }

  /** Return the median position of some cells. */
  median(rows) {
    return [0, 1].map((k) => {
      const values = Float32Array.from(rows, (row) => this.positions[2 * row + k]).sort();
      const middle = values.length >> 1;
      return values.length % 2 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
    });
  }
}

function isInside([x, y], polygon) {
  let inside = false;
  for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
    const [xi, yi] = polygon[i];
    const [xj, yj] = polygon[j];
    if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) inside = !inside;
  }
  return inside;
}

/**
 * Return the box around the cells without outliers: those beyond the 1% or 99% quantile by more than half the distance
 * between the two, which would press all others into a corner.
 */
function dataBox(positions) {
  const size = positions.length / 2;
  const sides = [0, 1].map((k) => {
    const sorted = Float32Array.from({ length: size }, (_, i) => positions[2 * i + k]).sort();
    const at = (share) => sorted[Math.round(share * (size - 1))];
    return { low: at(0), high: at(1), innerLow: at(0.01), innerHigh: at(0.99) };
  });
  const spread = Math.max(...sides.map((side) => side.innerHigh - side.innerLow));
  return {
    low: sides.map(({ low, innerLow }) => (low < innerLow - spread / 2 ? innerLow - spread / 5 : low)),
    high: sides.map(({ high, innerHigh }) => (high > innerHigh + spread / 2 ? innerHigh + spread / 5 : high)),
  };
}

/** Shortest curves on the surface that a decoder spans. */
import { dot } from './decoder.js';

const POINTS = 64;
const MAX_ITERATIONS = 200;
// A curve is done when no point moves by more than this share of its length.
const TOLERANCE = 1e-3;
const SMALLEST_RATE = 2 ** -12;
// Tiles along the longer side of the map, and how many times longer a way is where there are no cells.
const TILES = 64;
const DETOUR = 4;

/**
 * Return the shortest curve between two positions: {coordinates, distance, length, straight, through, points}.
 * `straight` is the length of the straight line on the map, and `through` that of the straight line through the data.
 * The search starts from the straight line and from the shortest route where cells are; the shorter result counts.
 */
export function geodesic(decoder, cells, from, to) {
  const line = evenly([from, to], POINTS);
  const starts = [line, evenly(routeAlongCells(decoder, cells, from, to), POINTS)];
  const found = starts.map((start) => {
    const curve = shorten(decoder, start);
    return { curve, distance: cumulative(decoder, curve) };
  });
  const { curve, distance } = found.reduce((a, b) => (b.distance.at(-1) < a.distance.at(-1) ? b : a));
  return {
    coordinates: Float32Array.from(curve.flat()),
    distance: Float32Array.from(distance),
    length: distance.at(-1),
    straight: cumulative(decoder, line).at(-1),
    through: cumulative(decoder, [from, to]).at(-1),
    points: curve.map((position) => decoder.decode(position)),
  };
}

/** Return the length of a polyline up to each of its points. */
function cumulative(decoder, curve) {
  const points = curve.map((position) => decoder.toEuclidean(decoder.decode(position)));
  const lengths = [0];
  for (let i = 1; i < points.length; i++) lengths.push(lengths[i - 1] + Math.sqrt(squaredDistance(points[i], points[i - 1])));
  return lengths;
}

function squaredDistance(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] - b[i]) ** 2;
  return sum;
}

/** Return evenly spaced points on a polyline. */
function evenly(route, count) {
  const at = [0];
  for (let i = 1; i < route.length; i++) {
    at.push(at[i - 1] + Math.hypot(route[i][0] - route[i - 1][0], route[i][1] - route[i - 1][1]));
  }
  const points = [];
  for (let k = 0, i = 0; k < count; k++) {
    const wanted = (at.at(-1) * k) / (count - 1);
    while (i < at.length - 2 && at[i + 1] < wanted) i++;
    const share = Math.min(Math.max((wanted - at[i]) / (at[i + 1] - at[i] || 1), 0), 1);
    points.push([0, 1].map((c) => route[i][c] + share * (route[i + 1][c] - route[i][c])));
  }
  return points;
}

/** Minimize the energy Σ‖D(z_{i+1}) − D(z_i)‖² of a curve between fixed ends by Gauss–Newton steps. */
function shorten(decoder, start) {
  let curve = start;
  let points = curve.map((position) => decoder.toEuclidean(decoder.decode(position)));
  let energy = energyOf(points);
  for (let iteration = 0; iteration < MAX_ITERATIONS; iteration++) {
    const step = gaussNewton(decoder, curve, points);
    let [trial, trialPoints] = [curve, points];
    for (let rate = 1; rate > SMALLEST_RATE; rate /= 2) {
      const next = curve.map(([x, y], i) => [x + rate * step[i][0], y + rate * step[i][1]]);
      const nextPoints = next.map((position) => decoder.toEuclidean(decoder.decode(position)));
      const nextEnergy = energyOf(nextPoints);
      if (nextEnergy < energy) {
        [trial, trialPoints, energy] = [next, nextPoints, nextEnergy];
        break;
      }
    }
    const moved = Math.max(...points.map((point, i) => Math.sqrt(squaredDistance(point, trialPoints[i]))));
    [curve, points] = [trial, trialPoints];
    if (moved <= TOLERANCE * Math.sqrt(energy * (curve.length - 1))) break;
  }
  return curve;
}

function energyOf(points) {
  let sum = 0;
  for (let i = 1; i < points.length; i++) sum += squaredDistance(points[i], points[i - 1]);
  return sum;
}

/** Return the step of each point, zero at the ends. The Hessian is block-tridiagonal, with blocks of 2 by 2. */
function gaussNewton(decoder, curve, points) {
  const tangents = curve.map((position) => decoder.jet(position).tangents.map(decoder.toEuclidean));
  const last = curve.length - 1;
  const diagonal = [];
  const upper = [];
  const right = [];
  for (let i = 1; i < last; i++) {
    const [a, b] = tangents[i];
    const bend = points[i].map((value, k) => points[i - 1][k] + points[i + 1][k] - 2 * value);
    const [g00, g01, g11] = [2 * dot(a, a), 2 * dot(a, b), 2 * dot(b, b)];
    // bounds the step in a direction in which the surface has collapsed
    const floor = 1e-9 * (g00 + g11);
    diagonal.push([g00 + floor, g01, g01, g11 + floor]);
    right.push([dot(a, bend), dot(b, bend)]);
    const [c, d] = tangents[i + 1];
    upper.push([-dot(a, c), -dot(a, d), -dot(b, c), -dot(b, d)]);
  }
  return [[0, 0], ...solveBlocks(diagonal, upper, right), [0, 0]];
}

/** Solve a symmetric block-tridiagonal system; `upper[i]` is the block right of `diagonal[i]`. */
function solveBlocks(diagonal, upper, right) {
  const inverses = [];
  const sides = [];
  for (let i = 0; i < diagonal.length; i++) {
    let [block, side] = [diagonal[i], right[i]];
    if (i > 0) {
      const lower = product(transpose(upper[i - 1]), inverses[i - 1]);
      const change = product(lower, upper[i - 1]);
      const shift = apply(lower, sides[i - 1]);
      block = block.map((value, k) => value - change[k]);
      side = [side[0] - shift[0], side[1] - shift[1]];
    }
    const determinant = block[0] * block[3] - block[1] * block[2];
    inverses.push([block[3], -block[1], -block[2], block[0]].map((value) => value / determinant));
    sides.push(side);
  }
  const solution = new Array(diagonal.length);
  for (let i = diagonal.length - 1; i >= 0; i--) {
    const shift = i < diagonal.length - 1 ? apply(upper[i], solution[i + 1]) : [0, 0];
    solution[i] = apply(inverses[i], [sides[i][0] - shift[0], sides[i][1] - shift[1]]);
  }
  return solution;
}

const transpose = ([a, b, c, d]) => [a, c, b, d];
const apply = ([a, b, c, d], [x, y]) => [a * x + b * y, c * x + d * y];
const product = ([a, b, c, d], [e, f, g, h]) => [a * e + b * g, a * f + b * h, c * e + d * g, c * f + d * h];

/** Return the shortest route along the tiles of the map, by Dijkstra; tiles without cells nearby count several times. */
function routeAlongCells(decoder, cells, from, to) {
  const { box, half } = cells;
  const low = [0, 1].map((k) => Math.min(box.low[k], from[k], to[k]));
  const high = [0, 1].map((k) => Math.max(box.high[k], from[k], to[k]));
  const width = (2 * half) / TILES;
  const columns = Math.ceil((high[0] - low[0]) / width) + 1;
  const rows = Math.ceil((high[1] - low[1]) / width) + 1;
  const tileOf = ([x, y]) => Math.floor((y - low[1]) / width) * columns + Math.floor((x - low[0]) / width);
  const centerOf = (tile) => [low[0] + ((tile % columns) + 0.5) * width, low[1] + (Math.floor(tile / columns) + 0.5) * width];

  const occupied = new Uint8Array(columns * rows);
  for (let i = 0; i < cells.size; i++) {
    const [x, y] = cells.at(i);
    if (x >= low[0] && x <= high[0] && y >= low[1] && y <= high[1]) occupied[tileOf([x, y])] = 1;
  }
  const decoded = new Map();
  const pointAt = (tile) => {
    if (!decoded.has(tile)) decoded.set(tile, decoder.toEuclidean(decoder.decode(centerOf(tile))));
    return decoded.get(tile);
  };
  const [source, target] = [tileOf(from), tileOf(to)];
  const distance = new Float64Array(columns * rows).fill(Infinity);
  const before = new Int32Array(columns * rows).fill(-1);
  const done = new Uint8Array(columns * rows);
  const heap = new Heap();
  distance[source] = 0;
  heap.push(0, source);
  while (heap.size) {
    const tile = heap.pop();
    if (tile === target) break;
    if (done[tile]) continue;
    done[tile] = 1;
    const [column, row] = [tile % columns, Math.floor(tile / columns)];
    for (let dy = -1; dy <= 1; dy++) {
      for (let dx = -1; dx <= 1; dx++) {
        const [x, y] = [column + dx, row + dy];
        const next = y * columns + x;
        if (x < 0 || y < 0 || x >= columns || y >= rows || done[next]) continue;
        const factor = occupied[next] ? 1 : DETOUR;
        const length = distance[tile] + factor * Math.sqrt(squaredDistance(pointAt(tile), pointAt(next)));
        if (length < distance[next]) {
          distance[next] = length;
          before[next] = tile;
          heap.push(length, next);
        }
      }
    }
  }
  const route = [to];
  for (let tile = before[target]; tile >= 0 && tile !== source; tile = before[tile]) route.push(centerOf(tile));
  return [...route, from].reverse();
}

/** A binary heap of numbers, smallest key first. */
class Heap {
  #items = [];

  get size() {
    return this.#items.length;
  }

  push(key, value) {
    const items = this.#items;
    let i = items.push([key, value]) - 1;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (items[parent][0] <= items[i][0]) break;
      [items[parent], items[i]] = [items[i], items[parent]];
      i = parent;
    }
  }

  pop() {
    const items = this.#items;
    const [, top] = items[0];
    const last = items.pop();
    if (!items.length) return top;
    items[0] = last;
    for (let i = 0; ; ) {
      const left = 2 * i + 1;
      if (left >= items.length) break;
      const child = left + 1 < items.length && items[left + 1][0] < items[left][0] ? left + 1 : left;
      if (items[i][0] <= items[child][0]) break;
      [items[child], items[i]] = [items[i], items[child]];
      i = child;
    }
    return top;
  }
}

/** Questions about the data: asked of the kernel, or answered in the page with the same names and replies. */
import { geodesic } from './geodesic.js';

const TIMEOUT = 20_000;

/** Python does not answer, so that the page has to do with what it has. */
export class Silence extends Error {}

/** Return `ask(name, details)` for a model of anywidget, and a function that stops listening. */
export function askKernel(model) {
  const waiting = new Map();
  // several views of one model hear all answers
  const own = Math.random().toString(36).slice(2);
  let last = 0;
  const listen = ({ id, error, ...reply }, buffers) => {
    const question = waiting.get(id);
    if (!question) return;
    waiting.delete(id);
    clearTimeout(question.timer);
    if (error) question.reject(new Error(error));
    else question.resolve({ ...reply, buffers });
  };
  model.on('msg:custom', listen);
  const ask = (name, details = {}) =>
    new Promise((resolve, reject) => {
      const id = `${own}:${++last}`;
      const timer = setTimeout(() => {
        waiting.delete(id);
        reject(new Silence('Python did not answer within 20 seconds. Is the kernel busy?'));
      }, TIMEOUT);
      waiting.set(id, { resolve, reject, timer });
      try {
        model.send({ id, ask: name, ...details });
      } catch {
        waiting.delete(id);
        clearTimeout(timer);
        reject(new Silence('Python does not know this view any more: was the kernel restarted? Run the cell again.'));
      }
    });
  const stop = () => {
    model.off('msg:custom', listen);
    for (const { timer } of waiting.values()) clearTimeout(timer);
  };
  return { ask, stop };
}

/** Return `ask(name, details)` that computes in the page from what is stored. */
export function askPage({ decoder, genes, cells, columns, unit, neighbors, nNeighbors }) {
  const answers = {
    geodesic({ from, to }) {
      if (!decoder) throw new Error('This map has no stored decoder, so that a shortest curve needs the kernel.');
      const { points, coordinates, distance, length, straight, through } = geodesic(decoder, cells, from, to);
      const { names, rows } = genes ? genes.along(points) : { names: [], rows: [] };
      const along = new Float32Array(names.length * points.length);
      rows.forEach((row, i) => along.set(row, i * points.length));
      return { length, straight, through, unit: unit.name, genes: names, buffers: [coordinates, along, distance] };
    },
    expression({ gene }) {
      const values = decodeAtCells(genes.decoded(gene, decoder), cells);
      return { color: { name: gene, kind: 'number', dtype: 'float32', source: 'decoded' }, buffers: [values] };
    },
    neighbors({ row }) {
      const start = row * nNeighbors;
      return { buffers: [neighbors ? neighbors.slice(start, start + nNeighbors) : new Uint32Array(0)] };
    },
    names() {
      return { genes: genes && decoder ? genes.names : [], columns };
    },
  };
  // a moment to draw what the user sees while waiting
  return async (name, details = {}) => {
    await new Promise((resolve) => setTimeout(resolve));
    return answers[name](details);
  };
}

// Beyond this number of cells, a decoded gene is read off a grid on the map, between whose nodes it is linear.
const MOST = 20_000;
const NODES = 160;

function decodeAtCells(read, cells) {
  const values = new Float32Array(cells.size);
  if (cells.size <= MOST) {
    for (let i = 0; i < cells.size; i++) values[i] = read(cells.at(i));
    return values;
  }
  const { low, high } = cells.box;
  const width = Math.max(high[0] - low[0], high[1] - low[1]) / (NODES - 1);
  const columns = Math.ceil((high[0] - low[0]) / width) + 2;
  const nodes = new Map();
  const node = (column, row) => {
    const key = row * columns + column;
    if (!nodes.has(key)) nodes.set(key, read([low[0] + column * width, low[1] + row * width]));
    return nodes.get(key);
  };
  for (let i = 0; i < cells.size; i++) {
    const position = cells.at(i);
    const [u, v] = [0, 1].map((k) => (position[k] - low[k]) / width);
    if (u < 0 || v < 0 || position[0] > high[0] || position[1] > high[1]) {
      values[i] = read(position);
      continue;
    }
    const [column, row] = [Math.floor(u), Math.floor(v)];
    const [s, t] = [u - column, v - row];
    const lower = node(column, row) * (1 - s) + node(column + 1, row) * s;
    const upper = node(column, row + 1) * (1 - s) + node(column + 1, row + 1) * s;
    values[i] = lower * (1 - t) + upper * t;
  }
  return values;
}

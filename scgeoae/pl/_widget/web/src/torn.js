/** Neighbors in the data that a view pulls far apart. */

const MOST = 3000;
// Without stored tears, an edge of the neighbor graph counts as torn if it is this many times longer than the median.
const FAR = 5;

export class TornEdges {
  /** @param edges {rows, columns} or null; @param neighbors (n, k) rows, or null, used if there are no edges */
  constructor(edges, neighbors, nNeighbors, cells) {
    this.edges = edges ?? (neighbors ? farNeighbors(neighbors, nNeighbors, cells) : null);
    this.isStored = Boolean(edges);
  }

  /** Return the torn edges [row, row] with an end in a selection, and how many there are in all. */
  of(rows, size) {
    if (!this.edges || !rows.length) return { edges: [], total: 0 };
    const isSelected = new Uint8Array(size);
    for (const row of rows) isSelected[row] = 1;
    const edges = [];
    let total = 0;
    for (let i = 0; i < this.edges.rows.length; i++) {
      const [a, b] = [this.edges.rows[i], this.edges.columns[i]];
      if (!isSelected[a] && !isSelected[b]) continue;
      if (++total <= MOST) edges.push(isSelected[a] ? [a, b] : [b, a]);
    }
    return { edges, total };
  }
}

function farNeighbors(neighbors, nNeighbors, cells) {
  const lengths = new Float32Array(neighbors.length);
  for (let i = 0; i < neighbors.length; i++) {
    if (neighbors[i] >= cells.size) continue;
    const [a, b] = [cells.at(Math.floor(i / nNeighbors)), cells.at(neighbors[i])];
    lengths[i] = Math.hypot(a[0] - b[0], a[1] - b[1]);
  }
  const limit = FAR * lengths.slice().sort()[lengths.length >> 1];
  const [rows, columns] = [[], []];
  for (let i = 0; i < lengths.length; i++) {
    if (lengths[i] <= limit) continue;
    const [row, column] = [Math.floor(i / nNeighbors), neighbors[i]];
    const others = neighbors.subarray(column * nNeighbors, (column + 1) * nNeighbors);
    // two cells that are neighbors of each other are one pair
    if (column < row && others.includes(row)) continue;
    rows.push(row);
    columns.push(column);
  }
  return { rows, columns };
}

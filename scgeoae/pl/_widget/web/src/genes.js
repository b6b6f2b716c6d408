/** Genes, read off points of the representation by a linear function of each. */

export class Genes {
  constructor(names, arrays) {
    this.names = names;
    this.index = new Map(names.map((name, i) => [name, i]));
    this.loadings = arrays('loadings');
    this.columns = arrays('gene_columns');
    this.means = arrays('gene_means');
    this.floor = arrays('gene_floor');
    this.nFeatures = this.loadings && this.loadings.length / names.length;
  }

  /** Return the linear function of gene i of a vector, without its constant. */
  linear(i, vector) {
    if (this.columns) return vector[this.columns[i]];
    let sum = 0;
    for (let j = 0, k = i * this.nFeatures; j < this.nFeatures; j++, k++) sum += this.loadings[k] * vector[j];
    return sum;
  }

  /** Return the expression of gene i at a point of the representation. */
  at(i, point) {
    return Math.max(this.linear(i, point) + (this.means?.[i] ?? 0), this.floor?.[i] ?? -Infinity);
  }

  /** Return a function of positions: the decoded expression of a gene. */
  decoded(gene, decoder) {
    const i = this.index.get(gene);
    const slopes = Float64Array.from({ length: decoder.nFeatures }, (_, j) =>
      this.columns ? +(this.columns[i] === j) : this.loadings[i * this.nFeatures + j],
    );
    const read = decoder.readout(slopes, this.means?.[i] ?? 0);
    const floor = this.floor?.[i] ?? -Infinity;
    return (position) => Math.max(read(position), floor);
  }

  /**
   * Return the genes that rise fastest toward each side, {right, left, up, down: [{name, rate}]}.
   * A rate is the change per unit of length in the data. Each gene is listed only at the side toward which it rises most.
   */
  fastest({ tangents }, [g00, , g11], count = 3) {
    const [right, up] = [1 / Math.sqrt(g00), 1 / Math.sqrt(g11)];
    const sides = { right: [], left: [], up: [], down: [] };
    for (let i = 0; i < this.names.length; i++) {
      const x = this.linear(i, tangents[0]) * right;
      const y = this.linear(i, tangents[1]) * up;
      const isSideways = Math.abs(x) >= Math.abs(y);
      const rate = Math.abs(isSideways ? x : y);
      const side = sides[isSideways ? (x > 0 ? 'right' : 'left') : y > 0 ? 'up' : 'down'];
      if (side.length === count && rate <= side[count - 1].rate) continue;
      const place = side.findIndex((other) => other.rate < rate);
      side.splice(place < 0 ? side.length : place, 0, { name: this.names[i], rate });
      side.length = Math.min(side.length, count);
    }
    return sides;
  }

  /** Return the genes that change most along some points of the representation: names and one row of values for each. */
  along(points, count = 8) {
    const found = [];
    for (let i = 0; i < this.names.length; i++) {
      const values = Float32Array.from(points, (point) => this.at(i, point));
      const change = values.reduce((a, b) => Math.max(a, b)) - values.reduce((a, b) => Math.min(a, b));
      if (found.length < count || change > found.at(-1).change) {
        found.push({ name: this.names[i], change, values });
        found.sort((a, b) => b.change - a.change);
        found.length = Math.min(found.length, count);
      }
    }
    return { names: found.map(({ name }) => name), rows: found.map(({ values }) => values) };
  }
}

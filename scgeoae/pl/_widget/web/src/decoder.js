/** The decoder of a map: positions to points of the representation, with derivatives and the metric. */

// value and slope
const ACTIVATIONS = {
  silu: (p) => {
    const s = 1 / (1 + Math.exp(-p));
    return [p * s, s + p * s * (1 - s)];
  },
  elu: (p) => (p > 0 ? [p, 1] : [Math.expm1(p), Math.exp(p)]),
  tanh: (p) => {
    const t = Math.tanh(p);
    return [t, 1 - t * t];
  },
  softplus: (p) => [Math.max(p, 0) + Math.log1p(Math.exp(-Math.abs(p))), 1 / (1 + Math.exp(-p))],
};

/** Return W h, for a (rows, columns) matrix in C order. */
function multiply(weight, h, rows) {
  const columns = h.length;
  const product = new Float64Array(rows);
  for (let i = 0, k = 0; i < rows; i++) {
    let sum = 0;
    for (let j = 0; j < columns; j++, k++) sum += weight[k] * h[j];
    product[i] = sum;
  }
  return product;
}

export class Decoder {
  constructor({ activation, layers, unit, scale }, arrays) {
    this.activation = ACTIVATIONS[activation];
    this.scale = scale;
    this.unit = unit;
    this.layers = Array.from({ length: layers }, (_, i) => ({
      weight: arrays(`decoder.w${i}`),
      bias: arrays(`decoder.b${i}`),
    }));
    this.axes = arrays('decoder.axes');
    this.center = arrays('decoder.center');
    this.origin = arrays('decoder.origin');
    this.rotation = arrays('decoder.rotation');
    this.nFeatures = this.center.length;
    this.toEuclidean = squareRoot(arrays('decoder.ambient'), this.nFeatures);
  }

  latent([x, y]) {
    const [a, b, c, d] = this.rotation;
    return [(a * x + b * y) / this.unit + this.origin[0], (c * x + d * y) / this.unit + this.origin[1]];
  }

  /** Return the values of the last hidden layer at a latent point. */
  hidden(latent) {
    let h = latent;
    for (const { weight, bias } of this.layers.slice(0, -1)) {
      h = multiply(weight, h, bias.length);
      for (let i = 0; i < h.length; i++) h[i] = this.activation(h[i] + bias[i])[0];
    }
    return h;
  }

  /** Map a position to a point of the representation. */
  decode(position) {
    const latent = this.latent(position);
    const { weight, bias } = this.layers.at(-1);
    const x = multiply(weight, this.hidden(latent), this.nFeatures);
    for (let i = 0; i < x.length; i++) {
      const linear = this.axes[2 * i] * latent[0] + this.axes[2 * i + 1] * latent[1];
      x[i] = (x[i] + bias[i] + linear) * this.scale + this.center[i];
    }
    return x;
  }

  /** Return the point and its derivatives by the two coordinates of the map. */
  jet(position) {
    const latent = this.latent(position);
    const [a, b, c, d] = this.rotation;
    const steps = [
      [a / this.unit, c / this.unit],
      [b / this.unit, d / this.unit],
    ];
    let h = latent;
    let tangents = steps;
    this.layers.forEach(({ weight, bias }, layer) => {
      h = multiply(weight, h, bias.length);
      tangents = tangents.map((tangent) => multiply(weight, tangent, bias.length));
      const isLast = layer === this.layers.length - 1;
      for (let i = 0; i < h.length; i++) {
        const [value, slope] = isLast ? [h[i] + bias[i], 1] : this.activation(h[i] + bias[i]);
        h[i] = value;
        for (const tangent of tangents) tangent[i] *= slope;
      }
    });
    const linear = ([u, v], i) => this.axes[2 * i] * u + this.axes[2 * i + 1] * v;
    return {
      values: h.map((value, i) => (value + linear(latent, i)) * this.scale + this.center[i]),
      tangents: tangents.map((tangent, k) => tangent.map((t, i) => (t + linear(steps[k], i)) * this.scale)),
    };
  }

  /** Return the metric [G00, G01, G11] of a jet. */
  metric({ tangents }) {
    const [a, b] = tangents.map(this.toEuclidean);
    return [dot(a, a), dot(a, b), dot(b, b)];
  }

  /** Return a function of positions: the linear function x ↦ x·slopes + constant of decoded points, without decoding. */
  readout(slopes, constant) {
    const { weight, bias } = this.layers.at(-1);
    const width = weight.length / this.nFeatures;
    const fromHidden = new Float64Array(width);
    let [first, second, start] = [0, 0, constant];
    for (let i = 0; i < this.nFeatures; i++) {
      const slope = slopes[i] * this.scale;
      for (let j = 0; j < width; j++) fromHidden[j] += slope * weight[i * width + j];
      first += slope * this.axes[2 * i];
      second += slope * this.axes[2 * i + 1];
      start += slope * bias[i] + slopes[i] * this.center[i];
    }
    return (position) => {
      const latent = this.latent(position);
      return dot(fromHidden, this.hidden(latent)) + first * latent[0] + second * latent[1] + start;
    };
  }
}

export function dot(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

/** Return a function v ↦ Cv with CᵀC = H, so that Euclidean lengths of Cv are lengths of v by the ambient metric H. */
function squareRoot(ambient, size) {
  if (!ambient) return (v) => v;
  if (ambient.length === size) {
    const root = ambient.map(Math.sqrt);
    return (v) => v.map((value, i) => value * root[i]);
  }
  // Cholesky: H = Cᵀ C with C upper triangular
  const c = new Float64Array(size * size);
  for (let i = 0; i < size; i++) {
    for (let j = i; j < size; j++) {
      let sum = ambient[i * size + j];
      for (let k = 0; k < i; k++) sum -= c[k * size + i] * c[k * size + j];
      c[i * size + j] = j === i ? Math.sqrt(sum) : sum / c[i * size + i];
    }
  }
  return (v) => multiply(c, v, size);
}

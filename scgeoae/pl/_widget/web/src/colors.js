/** Colors of the cells: an index of a palette for each. */

// Matt Zucker's polynomial fit to matplotlib's viridis (CC0), lowest order first
const VIRIDIS = [
  [0.2777, 0.0054, 0.334],
  [0.1051, 1.4046, 1.3846],
  [-0.3309, 0.2149, 0.0951],
  [-4.6342, -5.7991, -19.3324],
  [6.2283, 14.1799, 56.6906],
  [4.7764, -13.7451, -65.353],
  [-5.4355, 4.6459, 26.3124],
];
const LEVELS = 256;
// Enough values for quantiles.
const SAMPLE = 20_000;

export const viridis = Array.from({ length: LEVELS }, (_, i) => {
  const t = i / (LEVELS - 1);
  return toHex([0, 1, 2].map((c) => VIRIDIS.reduceRight((sum, term) => sum * t + term[c], 0)));
});

function toHex(rgb) {
  return `#${rgb.map((v) => Math.round(Math.min(Math.max(v, 0), 1) * 255).toString(16).padStart(2, '0')).join('')}`;
}

/**
 * Return what a column looks like: {codes, palette, order}, where a code indexes the palette, whose last color is that of
 * missing values, and `order` draws higher numbers on top. Categories have their `counts`, and numbers their `range` and the
 * number of cells where they are `missing`.
 */
export function encode({ kind, values, categories, palette, range }, missing) {
  return kind === 'category' ? encodeCategories(values, categories, palette, missing) : encodeNumbers(values, range, missing);
}

function encodeCategories(values, categories, palette, missing) {
  const codes = new Uint16Array(values.length);
  const counts = new Uint32Array(categories.length + 1);
  for (let i = 0; i < values.length; i++) {
    codes[i] = Math.min(values[i], categories.length);
    counts[codes[i]]++;
  }
  return { codes, counts, palette: [...palette.slice(0, categories.length), missing], order: null };
}

function encodeNumbers(values, range, missing) {
  const [low, high] = range ?? quantiles(values);
  const codes = new Uint16Array(values.length);
  const counts = new Uint32Array(LEVELS + 2);
  for (let i = 0; i < values.length; i++) {
    const level = Math.round(((values[i] - low) / (high - low || 1)) * (LEVELS - 1));
    codes[i] = Number.isNaN(values[i]) ? LEVELS : Math.min(Math.max(level, 0), LEVELS - 1);
    // missing values come first, so that they lie below
    counts[((codes[i] + 1) % (LEVELS + 1)) + 1]++;
  }
  for (let level = 1; level < counts.length; level++) counts[level] += counts[level - 1];
  const order = new Array(values.length);
  for (let i = 0; i < values.length; i++) order[counts[(codes[i] + 1) % (LEVELS + 1)]++] = i;
  return { codes, palette: [...viridis, missing], order, range: [low, high], missing: codes.reduce((sum, code) => sum + (code === LEVELS), 0) };
}

/** Return the 1% and 99% quantiles, or the extremes where these are equal. */
function quantiles(values) {
  const step = Math.ceil(values.length / SAMPLE);
  const known = values.filter((value, i) => i % step === 0 && !Number.isNaN(value)).sort();
  const at = (share) => known[Math.round(share * (known.length - 1))] ?? 0;
  return at(0.01) < at(0.99) ? [at(0.01), at(0.99)] : [at(0), at(1)];
}

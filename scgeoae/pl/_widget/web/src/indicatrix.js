/** Tissot's indicatrix: what a small circle of the data becomes on the map. */

/**
 * Return the semi-axes of the ellipse vᵀGv = 1, longest first: [{length, x, y}], with (x, y) of length 1.
 * Their length is the length on the map of one unit in the data along each axis.
 */
export function indicatrixAxes([a, b, c]) {
  const middle = (a + c) / 2;
  const radius = Math.hypot((a - c) / 2, b);
  const largest = middle + radius;
  // a collapsed direction would be infinitely long
  const smallest = Math.max(middle - radius, largest * 1e-12);
  // the direction in which a step on the map is longest in the data
  const angle = Math.atan2(2 * b, a - c) / 2;
  const [x, y] = [Math.cos(angle), Math.sin(angle)];
  return [
    { length: smallest ** -0.5, x: -y, y: x },
    { length: largest ** -0.5, x, y },
  ];
}

/** Return the largest of 1, 2 or 5 times a power of ten that is not longer than `length`. */
export function roundLength(length) {
  const power = 10 ** Math.floor(Math.log10(length));
  return [5, 2, 1].find((step) => step * power <= length * (1 + 1e-9)) * power;
}

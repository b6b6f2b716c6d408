/** Typed arrays from one manifest and one binary buffer. */

const TYPES = {
  float32: Float32Array,
  float16: Uint16Array,
  uint8: Uint8Array,
  uint16: Uint16Array,
  uint32: Uint32Array,
  int32: Int32Array,
};

/** Return an ArrayBuffer, or a view of one, as bytes at an address that any typed array can start from. */
export function toBytes(buffer) {
  const bytes = ArrayBuffer.isView(buffer)
    ? new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength)
    : new Uint8Array(buffer);
  return bytes.byteOffset % 4 ? bytes.slice() : bytes;
}

/** Return little-endian bytes as numbers; float16 becomes float32. */
export function toNumbers(buffer, dtype = 'float32') {
  const bytes = toBytes(buffer);
  const Type = TYPES[dtype];
  const values = new Type(bytes.buffer, bytes.byteOffset, bytes.byteLength / Type.BYTES_PER_ELEMENT);
  return dtype === 'float16' ? fromFloat16(values) : values;
}

/** Return a function that gives the array of a name, or null if there is none. */
export function readArrays(manifest, buffer) {
  const bytes = toBytes(buffer);
  return (name) => {
    const entry = manifest.arrays[name];
    if (!entry) return null;
    const { dtype, shape, offset } = entry;
    const size = shape.reduce((a, b) => a * b, 1) * TYPES[dtype].BYTES_PER_ELEMENT;
    return toNumbers(bytes.subarray(offset, offset + size), dtype);
  };
}

function fromFloat16(halves) {
  const values = new Float32Array(halves.length);
  for (let i = 0; i < halves.length; i++) {
    const h = halves[i];
    const exponent = (h >> 10) & 31;
    const fraction = h & 1023;
    const sign = h & 0x8000 ? -1 : 1;
    if (exponent === 31) values[i] = fraction ? NaN : sign * Infinity;
    else if (exponent === 0) values[i] = sign * fraction * 2 ** -24;
    else values[i] = sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  }
  return values;
}

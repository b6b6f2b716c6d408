/** Elements of HTML and SVG in one call. */

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, '');
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

export function html(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS('http://www.w3.org/2000/svg', tag), attributes, children);
}

const whole = new Intl.NumberFormat('en-US');

/** Return a number with a few significant digits. */
export function number(value, digits = 3) {
  if (Math.abs(value) >= 1e6 || (value && Math.abs(value) < 1e-3)) return value.toPrecision(digits);
  return new Intl.NumberFormat('en-US', { maximumSignificantDigits: digits }).format(value);
}

/** Return a value of a cell: a whole number with all its digits. */
export const exact = (value) => (Number.isInteger(value) && Math.abs(value) < 1e15 ? count(value) : number(value));

/** Return a whole number with commas. */
export const count = (value) => whole.format(value);

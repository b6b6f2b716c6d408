/** The views and the legend as one image. */
import { viridis } from './colors.js';
import { count, exact } from './dom.js';
import overlayStyles from './overlay.css';

const [NARROWEST, WIDEST] = [150, 320];
const CAPTION = 22;
const LINE = 18;
const MARGIN = 14;

export async function exportPng(view) {
  // the mouse has left the views, and what was under it goes with the next frame
  await new Promise(requestAnimationFrame);
  await new Promise(requestAnimationFrame);
  const ratio = window.devicePixelRatio || 1;
  const scatters = view.views.map(({ scatter }) => scatter);
  const style = getComputedStyle(view.root);
  const canvas = document.createElement('canvas');
  const legend = legendOf(view, canvas.getContext('2d'), style.fontFamily);
  const caption = scatters.length > 1 ? CAPTION : 0;
  const width = scatters.reduce((sum, scatter) => sum + scatter.width + MARGIN, MARGIN) + legend.width;
  const height = scatters[0].height + caption + 2 * MARGIN;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  const context = canvas.getContext('2d');
  context.scale(ratio, ratio);
  // what the page makes of its colors, which an image cannot look up
  const colors = { '--background': style.backgroundColor, '--text': style.color, '--accent': style.getPropertyValue('--accent') };
  context.fillStyle = style.backgroundColor;
  context.fillRect(0, 0, width, height);
  let left = MARGIN;
  for (const scatter of scatters) {
    const top = MARGIN + caption;
    if (caption) {
      context.fillStyle = style.color;
      context.font = `600 13px ${style.fontFamily}`;
      context.fillText(scatter.name, left, MARGIN + 10, scatter.width);
    }
    context.drawImage(scatter.canvas, left, top, scatter.width, scatter.height);
    context.drawImage(await picture(scatter, colors), left, top, scatter.width, scatter.height);
    left += scatter.width + MARGIN;
  }
  drawLegend(context, view, left, { ...legend, text: style.color, font: style.fontFamily, height });
  return new Promise((resolve) => canvas.toBlob(resolve, 'image/png'));
}

/** Return the layer over a view as an image, with the colors that its style takes from the page. */
async function picture(scatter, colors) {
  const copy = scatter.overlay.cloneNode(true);
  copy.setAttribute('width', scatter.width);
  copy.setAttribute('height', scatter.height);
  const style = document.createElementNS('http://www.w3.org/2000/svg', 'style');
  style.textContent = overlayStyles.replace(/var\((--[a-z]+)\)/g, (_, name) => colors[name]);
  copy.prepend(style);
  const image = new Image();
  image.src = `data:image/svg+xml,${encodeURIComponent(new XMLSerializer().serializeToString(copy))}`;
  await image.decode();
  return image;
}

/** Return the entries of the legend, {label, color}, and the width that it takes. */
function legendOf({ column, coding, hidden }, context, font) {
  if (column.kind === 'none') return { entries: [], width: 0 };
  const labels = column.kind === 'category' ? [...column.categories, 'missing'] : [];
  const entries = labels.map((label, i) => ({ label, color: coding.palette[i], isShown: coding.counts[i] && !hidden.has(i) })).filter(({ isShown }) => isShown);
  context.font = `600 13px ${font}`;
  const widths = [column.name, ...entries.map(({ label }) => label)].map((text) => context.measureText(text).width + 16);
  const width = widths.reduce((a, b) => Math.max(a, b), NARROWEST);
  return { entries, width: Math.min(width, WIDEST) + MARGIN };
}

function drawLegend(context, { column, coding }, left, { entries, width, text, font, height }) {
  if (column.kind === 'none') return;
  const room = width - MARGIN;
  const write = (words, x, y, most) => context.fillText(shortened(context, words, most), x, y);
  context.fillStyle = text;
  context.font = `600 13px ${font}`;
  context.textBaseline = 'middle';
  const top = MARGIN + LINE / 2;
  write(column.name, left, top, room);
  context.font = `12px ${font}`;
  if (column.kind === 'number') {
    viridis.forEach((color, i) => {
      context.fillStyle = color;
      context.fillRect(left + (i * NARROWEST) / viridis.length, top + LINE, 1, 10);
    });
    context.fillStyle = text;
    if (column.source === 'decoded') write('decoded', left, top + 3.2 * LINE, room);
    if (coding.missing === coding.codes.length) return;
    context.fillText(exact(coding.range[0]), left, top + 2.2 * LINE);
    context.textAlign = 'right';
    context.fillText(exact(coding.range[1]), left + NARROWEST, top + 2.2 * LINE);
    return;
  }
  // as many as fit, the last line for how many do not
  const fit = Math.floor((height - MARGIN - top) / LINE) - 1;
  const drawn = entries.length > fit ? entries.slice(0, fit - 1) : entries;
  drawn.forEach(({ label, color }, i) => {
    const y = top + (i + 1) * LINE;
    context.fillStyle = color;
    context.beginPath();
    context.arc(left + 5, y, 5, 0, 2 * Math.PI);
    context.fill();
    context.fillStyle = text;
    write(label, left + 16, y, room - 16);
  });
  if (drawn.length < entries.length) write(`and ${count(entries.length - drawn.length)} more`, left + 16, top + fit * LINE, room);
}

/** Return as many of the letters as there is room for. */
function shortened(context, text, room) {
  if (context.measureText(text).width <= room) return text;
  let size = text.length;
  while (size > 1 && context.measureText(`${text.slice(0, size)}…`).width > room) size--;
  return `${text.slice(0, size)}…`;
}

/** The views and the legend as one image. */
import { viridis } from './colors.js';
import { number } from './dom.js';
import overlayStyles from './overlay.css';

const LEGEND = 190;
const LINE = 18;
const MARGIN = 14;

export async function exportPng(view) {
  // the mouse has left the views, and what was under it goes with the next frame
  await new Promise(requestAnimationFrame);
  await new Promise(requestAnimationFrame);
  const ratio = window.devicePixelRatio || 1;
  const scatters = view.views.map(({ scatter }) => scatter);
  const width = scatters.reduce((sum, scatter) => sum + scatter.width + MARGIN, 0) + LEGEND;
  const height = scatters[0].height + 2 * MARGIN;
  const canvas = document.createElement('canvas');
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  const context = canvas.getContext('2d');
  context.scale(ratio, ratio);
  const style = getComputedStyle(view.root);
  const variable = (name) => style.getPropertyValue(name).trim();
  context.fillStyle = style.backgroundColor;
  context.fillRect(0, 0, width, height);
  let left = MARGIN;
  for (const scatter of scatters) {
    context.drawImage(scatter.canvas, left, MARGIN, scatter.width, scatter.height);
    context.drawImage(await picture(scatter, variable), left, MARGIN, scatter.width, scatter.height);
    left += scatter.width + MARGIN;
  }
  drawLegend(context, view, left, { text: style.color, font: style.fontFamily, height });
  return new Promise((resolve) => canvas.toBlob(resolve, 'image/png'));
}

/** Return the layer over a view as an image, with the colors that its style takes from the page. */
async function picture(scatter, variable) {
  const copy = scatter.overlay.cloneNode(true);
  copy.setAttribute('width', scatter.width);
  copy.setAttribute('height', scatter.height);
  const style = document.createElementNS('http://www.w3.org/2000/svg', 'style');
  style.textContent = overlayStyles.replace(/var\((--[a-z]+)\)/g, (_, name) => variable(name));
  copy.prepend(style);
  const image = new Image();
  image.src = `data:image/svg+xml,${encodeURIComponent(new XMLSerializer().serializeToString(copy))}`;
  await image.decode();
  return image;
}

function drawLegend(context, { column, coding, hidden }, left, { text, font, height }) {
  if (column.kind === 'none') return;
  context.fillStyle = text;
  context.font = `600 13px ${font}`;
  context.textBaseline = 'middle';
  let top = MARGIN + LINE / 2;
  context.fillText(column.name, left, top, LEGEND - MARGIN);
  context.font = `12px ${font}`;
  if (column.kind === 'number') {
    viridis.forEach((color, i) => {
      context.fillStyle = color;
      context.fillRect(left + (i * 150) / viridis.length, top + LINE, 1, 10);
    });
    context.fillStyle = text;
    context.fillText(number(coding.range[0]), left, top + 2.2 * LINE);
    context.textAlign = 'right';
    context.fillText(number(coding.range[1]), left + 150, top + 2.2 * LINE);
    return;
  }
  [...column.categories, 'missing'].forEach((label, i) => {
    if (!coding.counts[i] || hidden.has(i) || top > height - 2 * LINE) return;
    top += LINE;
    context.fillStyle = coding.palette[i];
    context.beginPath();
    context.arc(left + 5, top, 5, 0, 2 * Math.PI);
    context.fill();
    context.fillStyle = text;
    context.fillText(label, left + 16, top, LEGEND - MARGIN - 16);
  });
}

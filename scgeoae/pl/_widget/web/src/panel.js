/** The panel beside the views: legend, what is under the mouse, the selection, and the path. */
import { viridis } from './colors.js';
import { count, exact, html, number, svg } from './dom.js';

export function section(title, ...children) {
  return html('section', {}, html('h2', {}, title), ...children);
}

function swatch(color) {
  return svg('svg', { viewBox: '0 0 10 10', class: 'swatch', 'aria-hidden': 'true' }, svg('circle', { cx: 5, cy: 5, r: 5, fill: color }));
}

/** Categories as buttons that hide and show their cells. */
export function categoryLegend({ categories, palette, counts }, toggle) {
  const labels = [...categories, 'missing'];
  const shown = labels.map((label, i) => i).filter((i) => counts[i] > 0);
  const isGray = categories.length > 1 && new Set(palette.slice(0, categories.length)).size === 1;
  const buttons = html(
    'div',
    { class: 'categories', role: 'group', 'aria-label': 'Categories' },
    ...shown.map((i) =>
      html(
        'button',
        {
          type: 'button',
          'data-code': i,
          title: `${labels[i]}: click to hide or show; double-click to show only this one`,
          onclick: (event) => toggle(i, event.detail > 1),
        },
        swatch(palette[i]),
        html('span', { class: 'label' }, labels[i]),
        html('small', {}, count(counts[i])),
      ),
    ),
  );
  return [isGray ? html('p', { class: 'note' }, `${count(categories.length)} groups are too many for a color each.`) : null, buttons];
}

export function numberLegend({ range, note, palette, missing, isEmpty }) {
  const stops = Array.from({ length: 12 }, (_, i) =>
    svg('stop', { offset: i / 11, 'stop-color': viridis[Math.round((i / 11) * (viridis.length - 1))] }),
  );
  const id = `scgeoae-ramp-${Math.random().toString(36).slice(2)}`;
  return html(
    'div',
    { class: 'ramp' },
    svg(
      'svg',
      { viewBox: '0 0 100 8', preserveAspectRatio: 'none', 'aria-hidden': 'true' },
      svg('linearGradient', { id }, ...stops),
      svg('rect', { width: 100, height: 8, rx: 2, fill: `url(#${id})` }),
    ),
    html('div', { class: 'ends' }, ...(isEmpty ? [] : range.map((end) => html('span', {}, exact(end))))),
    missing
      ? html('div', { class: 'missing' }, swatch(palette.at(-1)), html('span', { class: 'label' }, 'missing'), html('small', {}, count(missing)))
      : null,
    note ? html('p', { class: 'note' }, note) : null,
  );
}

/** The genes that rise fastest toward each side. */
export function compass(sides, length, choose) {
  const list = (side, arrow) =>
    html(
      'ul',
      { class: side, 'data-arrow': arrow[0], 'aria-label': `Genes that rise fastest toward ${arrow[1]}` },
      ...sides[side].map(({ name, rate }) =>
        html('li', {}, gene(name, choose), html('small', {}, `+${number(rate * length, 2)}`)),
      ),
    );
  return html(
    'div',
    { class: 'compass' },
    list('up', ['↑', 'the top']),
    list('left', ['←', 'the left']),
    list('right', ['→', 'the right']),
    list('down', ['↓', 'the bottom']),
  );
}

function gene(name, choose) {
  return html('button', { type: 'button', class: 'gene', title: `Color by ${name}`, onclick: () => choose(name) }, name);
}

/** The commonest categories among some cells. */
export function composition(rows, { codes, categories, palette }) {
  const counts = new Map();
  for (const row of rows) counts.set(codes[row], (counts.get(codes[row]) ?? 0) + 1);
  const most = [...counts].sort((a, b) => b[1] - a[1]).slice(0, 4);
  return html(
    'div',
    { class: 'composition' },
    ...most.map(([code, size]) =>
      html(
        'div',
        {},
        swatch(palette[code]),
        html('span', { class: 'label' }, categories[code] ?? 'missing'),
        html('small', {}, `${Math.round((100 * size) / rows.length)}%`),
      ),
    ),
  );
}

const SHOWN = 6;
const [WIDTH, HEIGHT] = [200, 84];

/** Genes along a path, each from its lowest to its highest value. */
export function genesAlong({ genes, along, distance, length }, choose) {
  const size = distance.length;
  const lines = genes.slice(0, SHOWN).map((name, g) => {
    const values = along.subarray(g * size, (g + 1) * size);
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const at = (i) => [
      (WIDTH * distance[i]) / (length || 1),
      HEIGHT - 3 - ((HEIGHT - 6) * (values[i] - low)) / (high - low || 1),
    ];
    const d = `M${Array.from(values, (_, i) => at(i).map((v) => v.toFixed(1)).join()).join('L')}`;
    return { name, low, high, d, class: `line g${g}` };
  });
  return html(
    'div',
    { class: 'along' },
    svg(
      'svg',
      { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: 'img', 'aria-label': `Decoded genes along the path: ${genes.slice(0, SHOWN).join(', ')}` },
      svg('path', { class: 'axis', d: `M0 ${HEIGHT}H${WIDTH}` }),
      ...lines.map((line) => svg('path', { class: line.class, d: line.d })),
    ),
    html('div', { class: 'ends' }, html('span', {}, 'A'), html('span', {}, 'B')),
    html(
      'ul',
      {},
      ...lines.map((line) =>
        html(
          'li',
          {},
          svg('svg', { viewBox: '0 0 12 10', class: 'swatch', 'aria-hidden': 'true' }, svg('path', { class: line.class, d: 'M0 5H12' })),
          gene(line.name, choose),
          html('small', {}, `${number(line.low, 2)} to ${number(line.high, 2)}`),
        ),
      ),
    ),
    html('p', { class: 'note' }, 'Decoded expression, each gene from its lowest to its highest value'),
  );
}

/** What is drawn over the cells: indicatrix and ruler, neighbors, torn edges, and the geodesic. */
import { count, svg } from './dom.js';

const CORNER = 14;
const LINE = 15;
const NAMES = 'AB';

/**
 * Draw the layer of one view.
 *
 * @param scatter the view
 * @param shown {ruler: {lines, right, up}, ellipse: {position, axes, diameter}, row, neighbors, torn, ends, curve}: lengths in
 *   units of the view; each part may be missing
 */
export function drawOverlay(scatter, shown) {
  scatter.layer?.remove();
  const layer = svg('g');
  const { torn, row, neighbors, curve, ends, ellipse, ruler } = shown;
  if (torn?.length) layer.append(svg('path', { class: 'torn', d: torn.map((edge) => segment(scatter, ...edge)).join('') }));
  if (row >= 0) layer.append(...nearestInData(scatter, row, neighbors ?? []));
  if (curve) {
    const d = `M${curve.map((position) => scatter.toScreen(position).map(round).join()).join('L')}`;
    layer.append(svg('path', { class: 'halo', d }), svg('path', { class: 'curve', d }));
  }
  ends?.forEach((end, i) => layer.append(marker(scatter.toScreen(end.position), NAMES[i], end.rows.length)));
  if (ellipse) layer.append(...indicatrix(scatter, ellipse));
  if (ruler) layer.append(corner(scatter, ruler));
  if (!scatter.isMoved && scatter.outside) {
    const words = scatter.outside === 1 ? '1 cell lies outside' : `${count(scatter.outside)} cells lie outside`;
    layer.append(svg('text', { class: 'outside', x: scatter.width - CORNER, y: 2 * CORNER }, words));
  }
  scatter.overlay.prepend(layer);
  scatter.layer = layer;
}

const round = (value) => Math.round(value * 10) / 10;

function segment(scatter, from, to) {
  const ends = [from, to].map((row) => scatter.toScreen(scatter.cells.at(row)).map(round).join());
  return `M${ends.join('L')}`;
}

function nearestInData(scatter, row, neighbors) {
  const at = (cell) => scatter.toScreen(scatter.cells.at(cell));
  return [
    svg('path', { class: 'link', d: neighbors.map((cell) => segment(scatter, row, cell)).join('') }),
    ...neighbors.map((cell) => svg('circle', { class: 'neighbor', cx: at(cell)[0], cy: at(cell)[1], r: 3 })),
    svg('circle', { class: 'hovered', cx: at(row)[0], cy: at(row)[1], r: 5.5 }),
  ];
}

function indicatrix(scatter, { position, axes, diameter }) {
  const [x, y] = scatter.toScreen(position);
  const pixels = (diameter / 2) * scatter.pixelsPerUnit;
  const angle = (-Math.atan2(axes[0].y, axes[0].x) * 180) / Math.PI;
  const [rx, ry] = axes.map(({ length }) => length * pixels);
  const shape = { rx, ry, transform: `translate(${x} ${y}) rotate(${angle})` };
  const bars = [
    [rx, 0],
    [0, ry],
  ].map(([dx, dy]) => `M${-dx} ${-dy}L${dx} ${dy}`);
  return [
    svg('ellipse', { class: 'halo', ...shape }),
    svg('path', { class: 'bars', d: bars.join(''), transform: shape.transform }),
    svg('ellipse', { class: 'indicatrix', ...shape }),
  ];
}

/** A bar along each axis of the map, both of the same length in the data. */
function corner(scatter, { lines, right, up }) {
  const [width, height] = [right, up].map((length) => length * scatter.pixelsPerUnit);
  const [x, y] = [CORNER, scatter.height - CORNER];
  return svg(
    'g',
    { class: 'ruler' },
    svg('path', { class: 'halo', d: `M${x} ${y - height}V${y}H${x + width}` }),
    svg('path', { class: 'bar', d: `M${x - 3} ${y - height}H${x + 3}M${x} ${y - height}V${y}H${x + width}M${x + width} ${y - 3}V${y + 3}` }),
    ...lines.map((line, i) => svg('text', { x: x + 8, y: y - 8 - LINE * (lines.length - 1 - i) }, line)),
  );
}

function marker([x, y], name, size) {
  return svg(
    'g',
    { class: 'end', transform: `translate(${x} ${y})` },
    svg('circle', { r: 9 }),
    svg('text', { class: 'letter', y: 3.5 }, name),
    size > 1 ? svg('text', { class: 'size', x: 13, y: 4 }, `${count(size)} cells`) : null,
  );
}

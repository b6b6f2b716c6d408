/** The whole: linked views of the cells, and the panel beside them. */
import { createRenderer } from 'regl-scatterplot';
import { readArrays, toNumbers } from './arrays.js';
import { encode } from './colors.js';
import { Decoder } from './decoder.js';
import { count, exact, html, number } from './dom.js';
import { exportPng } from './export.js';
import { Genes } from './genes.js';
import { indicatrixAxes, roundLength } from './indicatrix.js';
import { askPage, Silence } from './kernel.js';
import { drawOverlay } from './overlay.js';
import { categoryLegend, compass, composition, genesAlong, numberLegend, section } from './panel.js';
import { Picker } from './picker.js';
import { Scatter } from './scatter.js';
import overlayStyles from './overlay.css';
import styles from './style.css';
import { isDark, onThemeChange } from './theme.js';
import { TornEdges } from './torn.js';

const MODES = {
  move: ['Move', 'Drag to move, scroll to zoom'],
  lasso: ['Lasso', 'Draw around cells; Shift adds, Alt removes'],
  path: ['Path', 'Click two cells or draw around two groups'],
};
const MISSING = { light: '#c8ccd1', dark: '#4b5058' };
const PLAIN = { light: '#7d8793', dark: '#98a2ae' };
// Pixels from the mouse within which there must be a cell, for the decoder to be asked about the place.
const NEAR = 40;
// Milliseconds that the mouse rests on a cell before the kernel is asked for its neighbors.
const REST = 150;
// Longest ruler in pixels, and how long one may be drawn that shows the same length in the data as that of the map.
const LONGEST = 90;
const [SHORTEST_SHARED, LONGEST_SHARED] = [8, 160];
// Up to this quotient of its axes, an ellipse is called a circle, and of its size, as large as others.
const ROUND = 1.05;
const NOBODY = 0xffffffff;

/**
 * Build the view in an element and return it.
 *
 * @param ask a function that asks the kernel, or null where there is none
 */
export function mount(element, manifest, buffer, ask = null) {
  return new View(element, manifest, buffer, ask);
}

class View {
  constructor(element, manifest, buffer, ask) {
    this.manifest = manifest;
    this.arrays = readArrays(manifest, buffer);
    this.size = manifest.n_cells;
    this.onSelect = () => {};
    this.selection = new Uint32Array(0);
    this.hidden = new Set();
    this.ends = [];
    this.#build(element);
    this.views = [];
    try {
      this.renderer = createRenderer();
    } catch (error) {
      this.#fail(`This view needs WebGL, which is not available here. (${error.message})`);
      return;
    }
    this.renderer.canvas.addEventListener('webglcontextlost', () => {
      if (!this.isDestroyed) this.#fail('The browser has stopped drawing this view, as it does when many are open. Show it anew.');
    });
    this.views = manifest.views.map((view) => this.#createScatter(view));
    this.map = this.views[0];
    this.viewsElement.append(...this.views.map(({ figure }) => figure));
    this.decoder = manifest.decoder && new Decoder(manifest.decoder, this.arrays);
    this.genes = manifest.genes?.length ? new Genes(manifest.genes, this.arrays) : null;
    this.metric = this.arrays('metric');
    this.neighbors = this.arrays('neighbors');
    this.nNeighbors = manifest.arrays.neighbors?.shape[1];
    this.page = askPage({
      decoder: this.decoder,
      genes: this.genes,
      cells: this.map.scatter.cells,
      columns: manifest.colors.filter(({ source }) => source !== 'gene').map(({ name }) => name),
      unit: manifest.unit,
      neighbors: this.neighbors,
      nNeighbors: this.nNeighbors,
    });
    this.ask = ask ?? this.page;
    this.hasKernel = Boolean(ask);
    this.#measureTears();
    this.observer = new ResizeObserver(() => {
      this.#resize();
      // it may have come into the document just now
      this.#applyTheme();
    });
    this.observer.observe(this.viewsElement);
    this.stopTheme = onThemeChange(() => this.#applyTheme());
    this.onKey = (event) => event.key === 'Escape' && this.isActive && this.clear();
    document.addEventListener('keydown', this.onKey);
    this.setMode('move');
    this.#resize();
    this.ready = this.#applyTheme();
  }

  get isActive() {
    return this.root.matches(':hover') || this.root.contains(document.activeElement);
  }

  #fail(words) {
    // after the style
    this.root.replaceChildren(this.root.firstChild, html('p', { class: 'failure' }, words));
  }

  #build(element) {
    const { title, height } = this.manifest;
    this.picker = new Picker((show) => this.#names(show), (kind, name) => this.colorBy(name, kind));
    this.modeButtons = Object.entries(MODES).map(([mode, [label, hint]]) =>
      html('button', { type: 'button', title: hint, 'data-mode': mode, onclick: () => this.setMode(mode) }, label),
    );
    this.hint = html('span', { class: 'hint' });
    this.status = html('span', { class: 'status', role: 'status' });
    this.viewsElement = html('div', { class: 'views' });
    this.sections = Object.fromEntries(['legend', 'selected', 'path', 'here'].map((name) => [name, html('div', { class: name })]));
    this.root = html(
      'div',
      { class: 'scgeoae', tabindex: '0', role: 'group', 'aria-label': title ?? 'Map of cells' },
      html('style', {}, styles, `.scgeoae .view > svg { ${overlayStyles} }`),
      html(
        'header',
        {},
        this.picker.element,
        html('div', { class: 'modes', role: 'group', 'aria-label': 'What the mouse does' }, ...this.modeButtons),
        this.hint,
        this.status,
        html('button', { type: 'button', class: 'plain', title: 'See all cells', onclick: () => this.fit() }, 'Reset view'),
        html('button', { type: 'button', class: 'plain', title: 'Save the view as an image', onclick: () => this.savePng() }, 'Save PNG'),
      ),
      html('div', { class: 'body' }, this.viewsElement, html('aside', { 'aria-label': 'Readings' }, ...Object.values(this.sections))),
    );
    if (height) this.root.style.setProperty('--height', `${height}px`);
    element.append(this.root);
    element.scgeoae = this;
  }

  #createScatter(view) {
    const scatter = new Scatter({
      name: view.name,
      positions: this.arrays(view.array),
      renderer: this.renderer,
      handlers: {
        hover: (...what) => this.#hover(...what),
        leave: () => this.#hover(null),
        click: (...what) => this.#click(...what),
        lasso: (...what) => this.#lasso(...what),
        view: () => this.#drawSoon(),
      },
    });
    const figure = html('figure', {}, this.manifest.views.length > 1 ? html('figcaption', {}, view.name) : null, scatter.element);
    return { ...view, scatter, figure, tensors: view.metric && this.arrays(view.metric) };
  }

  #measureTears() {
    this.views.forEach((view, i) => {
      const edges = view.torn && { rows: this.arrays(view.torn.row), columns: this.arrays(view.torn.col) };
      // the map itself is not brushed, unless its tears are stored
      view.torn = new TornEdges(edges, i > 0 ? this.neighbors : null, this.nNeighbors, view.scatter.cells);
    });
  }

  #resize() {
    for (const { scatter } of this.views) scatter.resize();
    this.#drawSoon();
  }

  // ---- colors

  async #applyTheme() {
    const dark = isDark(this.root);
    if (dark === this.dark) return;
    this.dark = dark;
    this.root.classList.toggle('dark', dark);
    if (this.column) await this.#paint(this.column);
    else if (this.manifest.colors.length) await this.#paint(this.#handedOver(this.manifest.colors[0]));
    else await this.#paint({ kind: 'none' });
  }

  #names(show) {
    const { colors, measured = [], genes = [] } = this.manifest;
    const handed = (isGene) => colors.filter(({ source }) => (source === 'gene') === isGene).map(({ name }) => name);
    const unique = (...lists) => [...new Set(lists.flat())];
    const merge = (known) =>
      show({ columns: unique(handed(false), known.columns), genes: unique(handed(true), known.genes, measured, this.decoder ? genes : []) });
    merge({ columns: [], genes: [] });
    // those at hand stay if there is no answer
    this.ask('names').then(merge, () => {});
  }

  /** Color the cells by a column or a gene; `kind` is "column", "gene", or unset for whichever has the name. */
  async colorBy(name, kind) {
    const asked = (this.asked = Symbol(name));
    this.say(`Loading ${name}…`);
    try {
      const column = await this.#column(name, kind);
      if (asked !== this.asked) return;
      this.hidden.clear();
      await this.#paint(column);
      this.say(column.warning ?? '');
    } catch (error) {
      if (asked === this.asked) this.say(error.message);
    }
  }

  #handedOver(entry) {
    return { ...entry, values: this.arrays(entry.array) };
  }

  /** Return a column as Python has it now. Without Python, return it as it was when the view was made. */
  async #column(name, kind) {
    const isGene = (source) => source === 'gene';
    const entry = this.manifest.colors.find((color) => color.name === name && (!kind || isGene(color.source) === (kind === 'gene')));
    const isColumn = (kind ?? (entry && !isGene(entry.source) ? 'column' : 'gene')) === 'column';
    const measured = isColumn ? null : this.arrays(`gene:${name}`);
    const canDecode = !isColumn && this.decoder && this.genes?.index.has(name);
    let warning;
    if (this.hasKernel) {
      try {
        return fromReply(await this.ask(...(isColumn ? ['obs', { column: name }] : ['expression', { gene: name }])));
      } catch (error) {
        const isSilent = error instanceof Silence;
        if (!(isSilent && entry) && !canDecode) throw error;
        if (isSilent) warning = error.message;
      }
    }
    // what Python refuses is not there any more
    const isCurrent = !this.hasKernel || warning;
    if (entry && isCurrent) return { ...this.#handedOver(entry), warning };
    if (measured) return { name, kind: 'number', values: measured, source: 'gene' };
    if (!canDecode) throw new Error(`There is no gene or column ${name} here.`);
    return { ...fromReply(await this.page('expression', { gene: name })), warning };
  }

  async #paint(column) {
    const theme = this.dark ? 'dark' : 'light';
    const isCounted = this.column?.name !== column.name || this.column?.kind !== column.kind;
    this.column = column;
    this.coding =
      column.kind === 'none'
        ? { codes: new Uint8Array(this.size), palette: [PLAIN[theme], MISSING[theme]], order: null }
        : encode(column, MISSING[theme]);
    if (isCounted) this.picker.value = column.name ?? '';
    this.#drawLegend();
    this.#drawSelection();
    await Promise.all(this.views.map(({ scatter }) => scatter.color(this.coding)));
    await this.#filter();
  }

  #drawLegend() {
    const { kind, categories, source, name } = this.column;
    if (kind === 'none') {
      this.sections.legend.replaceChildren();
      return;
    }
    const note = { gene: 'Measured expression', decoded: 'Decoded expression: what the map predicts at each place' }[source];
    const legend =
      kind === 'category'
        ? categoryLegend({ ...this.coding, categories }, (code, only) => this.#toggle(code, only))
        : [numberLegend({ ...this.coding, note, isEmpty: this.coding.missing === this.size })];
    this.showAll = html('button', { type: 'button', class: 'action', onclick: () => this.#showAll() }, 'Show all');
    this.sections.legend.replaceChildren(section(name, ...legend, this.showAll));
    this.#markHidden();
  }

  // the legend stays as it is scrolled
  #markHidden() {
    for (const button of this.sections.legend.querySelectorAll('[data-code]')) {
      button.setAttribute('aria-pressed', String(!this.hidden.has(Number(button.dataset.code))));
    }
    this.showAll.hidden = !this.hidden.size;
  }

  #toggle(code, only) {
    if (only) this.hidden = new Set([...this.coding.counts.keys()].filter((other) => other !== code));
    else if (!this.hidden.delete(code)) this.hidden.add(code);
    this.#markHidden();
    return this.#filter();
  }

  #showAll() {
    this.hidden.clear();
    this.#markHidden();
    return this.#filter();
  }

  async #filter() {
    const { codes } = this.coding;
    const isShown = this.hidden.size ? (row) => !this.hidden.has(codes[row]) : () => true;
    let rows = null;
    if (this.hidden.size) {
      rows = [];
      for (let row = 0; row < this.size; row++) if (isShown(row)) rows.push(row);
    }
    if (!rows && !this.isFiltered) return;
    this.isFiltered = Boolean(rows);
    await Promise.all(this.views.map(({ scatter }) => scatter.show(rows, isShown)));
  }

  // ---- the mouse

  setMode(mode) {
    this.mode = mode;
    for (const button of this.modeButtons) button.setAttribute('aria-pressed', String(button.dataset.mode === mode));
    for (const { scatter } of this.views) scatter.setMode(mode);
    this.hint.textContent = MODES[mode][1];
  }

  #hover(scatter, place, row) {
    const isOnMap = scatter === this.map.scatter;
    const known = scatter && { scatter, row, place };
    if (known && isOnMap) {
      const position = scatter.toMap(place);
      const isNear = row >= 0 || scatter.cells.nearest(position, NEAR / scatter.pixelsPerUnit, scatter.isShown) >= 0;
      known.position = isNear ? position : null;
    } else if (known && row >= 0) {
      known.position = this.map.scatter.cells.at(row);
    }
    if (known?.row !== this.hovered?.row) this.#findNeighbors(known?.row ?? -1);
    this.hovered = known;
    this.#drawSoon();
  }

  async #findNeighbors(row) {
    this.nearest = [];
    clearTimeout(this.resting);
    if (row < 0) return;
    if (this.neighbors) {
      this.nearest = cellsOf(this.neighbors.subarray(row * this.nNeighbors, (row + 1) * this.nNeighbors));
    } else if (this.hasKernel) {
      this.resting = setTimeout(async () => {
        const reply = await this.ask('neighbors', { row }).catch((error) => this.say(error.message));
        if (!reply || this.hovered?.row !== row) return;
        this.nearest = cellsOf(toNumbers(reply.buffers[0], 'uint32'));
        this.#drawSoon();
      }, REST);
    }
  }

  #click(scatter, position, row, event) {
    if (this.mode === 'path') {
      if (row >= 0) this.#addEnd([row]);
    } else if (row < 0) this.select([]);
    else this.select([row], event);
  }

  #lasso(scatter, polygon, event) {
    const rows = scatter.cells.inside(polygon, scatter.isShown);
    if (this.mode === 'path') {
      if (rows.length) this.#addEnd(rows);
    } else this.select(rows, event);
  }

  // ---- selection

  /** Select cells by their rows. */
  select(rows, { shiftKey = false, altKey = false, isOwn = true } = {}) {
    let chosen = rows;
    if (shiftKey) chosen = new Set([...this.selection, ...rows]);
    else if (altKey) {
      const removed = new Set(rows);
      chosen = this.selection.filter((row) => !removed.has(row));
    }
    this.selection = Uint32Array.from(chosen).sort();
    for (const view of this.views) {
      view.scatter.select(this.selection);
      view.brushed = view.torn.of(this.selection, this.size);
    }
    this.#drawSelection();
    this.#drawSoon();
    if (isOwn) this.onSelect(this.selection);
  }

  #drawSelection() {
    const { selection } = this;
    if (!selection.length) {
      this.sections.selected.replaceChildren();
      return;
    }
    const tears = this.views
      .filter(({ brushed }) => brushed?.total)
      .map(({ name, brushed, torn }) =>
        html(
          'p',
          { class: 'note' },
          torn.isStored
            ? `${name} tears ${count(brushed.total)} pairs of nearest neighbors apart here (red lines).`
            : `${name} puts ${count(brushed.total)} pairs of nearest neighbors far apart here (red lines).`,
        ),
      );
    const [title, single] = selection.length === 1 ? [`Cell ${selection[0]}`, true] : [`${count(selection.length)} cells selected`, false];
    this.sections.selected.replaceChildren(
      section(
        title,
        this.column.kind === 'category' && !single ? composition(selection, { ...this.coding, categories: this.column.categories }) : null,
        ...tears,
        html('button', { type: 'button', class: 'action', onclick: () => this.select([]) }, 'Clear selection'),
      ),
    );
  }

  // ---- path

  #addEnd(rows) {
    if (this.ends.length === 2) this.#clearPath();
    this.ends = [...this.ends, { rows, position: this.map.scatter.cells.median(rows) }];
    this.#drawSoon();
    if (this.ends.length === 2) return this.#findPath();
    this.sections.path.replaceChildren(section('Path from A', html('p', { class: 'note' }, 'Now the other end: click a cell, or draw around a group.')));
    return null;
  }

  async #findPath() {
    const { ends } = this;
    this.say('Finding the shortest path…');
    const [from, to] = ends.map(({ position }) => position);
    try {
      const reply = await this.ask('geodesic', { from, to }).catch((error) => {
        if (error instanceof Silence && this.decoder) return this.page('geodesic', { from, to });
        throw error;
      });
      if (this.ends !== ends) return;
      const [coordinates, along, distance] = reply.buffers.map((values) => toNumbers(values));
      this.path = { ...reply, along, distance, curve: Array.from({ length: coordinates.length / 2 }, (_, i) => [coordinates[2 * i], coordinates[2 * i + 1]]) };
      this.say('');
      this.#drawPath();
    } catch (error) {
      if (this.ends !== ends) return;
      this.#clearPath();
      this.say(error.message);
    }
    this.#drawSoon();
  }

  #drawPath() {
    const { length, straight, through, unit, genes } = this.path;
    if (!length) {
      this.sections.path.replaceChildren(section('Path from A to B', html('p', { class: 'note' }, 'Both ends are at the same place.')));
      return;
    }
    const rows = [
      ['Shortest path', length.toPrecision(3)],
      ['Straight line on the map', straight.toPrecision(3)],
      ['Straight through the data', through.toPrecision(3)],
    ];
    this.sections.path.replaceChildren(
      section(
        'Path from A to B',
        html('dl', {}, ...rows.flatMap(([term, value]) => [html('dt', {}, term), html('dd', {}, value)])),
        html(
          'p',
          { class: 'note' },
          `In ${unit}. The first two run along the surface of the map. The ruler estimates the third.`,
        ),
        genes.length ? genesAlong(this.path, (name) => this.colorBy(name, 'gene')) : null,
        html('button', { type: 'button', class: 'action', onclick: () => this.#clearPath() }, 'Clear path'),
      ),
    );
  }

  #clearPath() {
    this.ends = [];
    this.path = null;
    this.sections.path.replaceChildren();
    this.#drawSoon();
  }

  /** Clear the selection and the path. */
  clear() {
    this.#clearPath();
    if (this.selection.length) this.select([]);
    this.say('');
  }

  // ---- what is drawn over the cells

  #drawSoon() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      if (!this.isDestroyed) this.#draw();
    });
  }

  #draw() {
    const { scatter } = this.map;
    if (!scatter.width) return;
    const { unit } = this.manifest;
    const length = rulerLength(scatter, unit);
    this.here = this.#measureHere();
    for (const view of this.views) {
      const isMap = view === this.map;
      const own = isMap ? unit : view.unit;
      const metric = isMap ? this.here?.metric : scaled(this.#storedMetric(view.tensors, this.hovered?.row), own);
      const position = isMap ? this.hovered?.position : this.hovered?.row >= 0 && view.scatter.cells.at(this.hovered.row);
      const axes = metric && indicatrixAxes(metric);
      const pixels = own && (length / own.per_length) * view.scatter.pixelsPerUnit;
      // a view may be zoomed in farther than the map
      const isShared = isMap || (pixels > SHORTEST_SHARED && pixels < LONGEST_SHARED);
      const shown = own && !isShared ? rulerLength(view.scatter, own) : length;
      drawOverlay(view.scatter, {
        ruler: own && {
          label: rulerLabel(shown, own, Boolean(metric)),
          right: shown / (metric ? Math.sqrt(metric[0]) : own.per_length),
          up: shown / (metric ? Math.sqrt(metric[2]) : own.per_length),
        },
        ellipse: axes && { position, axes, diameter: shown },
        row: this.hovered?.row ?? -1,
        neighbors: this.nearest,
        torn: view.brushed?.edges,
        ends: this.ends.map((end) => ({ ...end, position: isMap ? end.position : view.scatter.cells.median(end.rows) })),
        curve: isMap ? this.path?.curve : null,
      });
    }
    this.#drawHere(length);
  }

  /** Return the metric at the mouse on the scale of the ruler, and the jet of the decoder if there is one. */
  #measureHere() {
    const { hovered } = this;
    if (!hovered?.position) return null;
    if (!this.decoder) {
      const metric = scaled(this.#storedMetric(this.metric, hovered.row), this.manifest.unit);
      return metric && { metric };
    }
    const jet = this.decoder.jet(hovered.position);
    return { jet, metric: scaled(this.decoder.metric(jet), this.manifest.unit) };
  }

  #storedMetric(tensors, row) {
    return tensors && row >= 0 ? Array.from(tensors.subarray(3 * row, 3 * row + 3)) : null;
  }

  #drawHere(length) {
    const { here, hovered } = this;
    const { unit, notes = [] } = this.manifest;
    if (!here) {
      // what was read stays, so that its genes can be clicked
      if (this.isRead) return;
      const hint = 'Point at the map to see what a circle of the data becomes there.';
      this.sections.here.replaceChildren(section('Under the mouse', ...[hint, ...notes].map((note) => html('p', { class: 'note' }, note))));
      return;
    }
    this.isRead = true;
    const [long, wide] = indicatrixAxes(here.metric).map((axis) => axis.length);
    const words = [
      `A circle ${number(length)} ${unit.name} across`,
      long / wide < ROUND ? 'stays a circle here' : `becomes an ellipse of ${(long / wide).toFixed(2)} : 1 here`,
    ].join(' ');
    const size = Math.sqrt(long * wide) * unit.per_length;
    const usual = Math.max(size, 1 / size) < ROUND ? ', as large as usual' : `, ${size.toFixed(2)} × its usual size`;
    const sides = here.jet && this.genes?.fastest(here.jet, here.metric);
    this.sections.here.replaceChildren(
      section(
        hovered.row >= 0 ? `Cell ${hovered.row}${this.#valueAt(hovered.row)}` : 'Under the mouse',
        html('p', {}, `${words}${unit.local ? usual : ''}.`),
        sides ? html('h3', {}, `Genes that rise fastest (decoded), over ${number(length)} ${unit.name}`) : null,
        sides ? compass(sides, length, (name) => this.colorBy(name, 'gene')) : null,
        ...notes.map((note) => html('p', { class: 'note' }, note)),
      ),
    );
  }

  #valueAt(row) {
    const { kind, values, categories } = this.column ?? {};
    if (kind === 'category') return `: ${categories[values[row]] ?? 'missing'}`;
    return kind === 'number' ? `: ${Number.isNaN(values[row]) ? 'missing' : exact(values[row])}` : '';
  }

  // ---- the rest

  say(words) {
    this.status.textContent = words;
  }

  fit() {
    for (const { scatter } of this.views) scatter.fit();
  }

  /** Return the views and the legend as a PNG image. */
  toPng() {
    return exportPng(this);
  }

  async savePng() {
    const url = URL.createObjectURL(await this.toPng());
    html('a', { href: url, download: `${this.manifest.key}.png` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  }

  destroy() {
    this.isDestroyed = true;
    this.observer?.disconnect();
    this.stopTheme?.();
    document.removeEventListener('keydown', this.onKey);
    cancelAnimationFrame(this.frame);
    clearTimeout(this.resting);
    for (const { scatter } of this.views) scatter.destroy();
    this.renderer?.destroy();
    this.root.remove();
  }
}

function cellsOf(rows) {
  return Array.from(rows).filter((row) => row !== NOBODY);
}

function fromReply({ color, buffers }) {
  return { ...color, values: toNumbers(buffers[0], color.dtype) };
}

/** Return a round length in the data that makes a short ruler. */
function rulerLength({ width, height, pixelsPerUnit }, { per_length: perLength }) {
  return roundLength((Math.min(width / 5, height / 4, LONGEST) / pixelsPerUnit) * perLength);
}

/**
 * Return a metric on the scale of the ruler.
 * A metric measures small steps along the surface. The ruler measures straight distances, which are shorter where the
 * surface bends. So that it does not jump when the mouse comes, only how a place differs from the others counts.
 */
function scaled(metric, unit) {
  return unit?.local && metric ? metric.map((value) => value * (unit.per_length / unit.local) ** 2) : metric;
}

function rulerLabel(length, { name, spread, range }, isHere) {
  if (isHere) return `≈ ${number(length)} ${name}, here`;
  // one length is not honest where the scale varies
  if (range) return `≈ ${number(length * range[0], 2)} to ${number(length * range[1], 2)} ${name}, by place`;
  return spread == null ? `≈ ${number(length)} ${name}` : `≈ ${number(length)} ${name}, ± ${Math.round(100 * spread)}%`;
}

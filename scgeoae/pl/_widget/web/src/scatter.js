/** One view of the cells: WebGL points by regl-scatterplot, equal axes, and an SVG layer on top. */
import createScatterplot from 'regl-scatterplot';
import { Cells } from './cells.js';
import { svg } from './dom.js';

// A press that moves less than this many pixels is a click.
const CLICK = 4;
// Pixels around the mouse in which the nearest cell counts as under it.
const REACH = 12;
const MARGIN = 1.06;
// How much larger and smaller than the whole map fits may it be drawn.
const [CLOSEST, FARTHEST] = [1000, 0.2];
// Indices of the opacities: of cells that are not selected while others are, and of all others.
const [FADED, FULL] = [0, 1];

export class Scatter {
  /**
   * @param handlers {hover(scatter, position, row), click(scatter, position, row, event), lasso(scatter, polygon, event), leave(), view()}
   */
  constructor({ name, positions, renderer, handlers }) {
    this.name = name;
    this.cells = new Cells(positions);
    this.handlers = handlers;
    this.isShown = () => true;
    this.mode = 'move';
    this.order = null;
    this.isMoved = false;
    this.canvas = document.createElement('canvas');
    this.overlay = svg('svg', { role: 'img', 'aria-label': `Map ${name}: ${this.cells.size} cells` });
    this.element = document.createElement('div');
    this.element.className = 'view';
    this.element.append(this.canvas, this.overlay);
    this.points = Array.from({ length: this.cells.size }, (_, i) => [...this.cells.toPlot(this.cells.at(i)), 0, FULL]);
    this.plot = createScatterplot({
      renderer,
      canvas: this.canvas,
      width: 100,
      height: 100,
      colorBy: 'valueZ',
      opacityBy: 'valueW',
      // keys, clicks and the lasso are ours
      actionKeyMap: {},
      lassoMinDist: 0,
      deselectOnDblClick: false,
      deselectOnEscape: false,
      spatialIndexUseWorker: false,
      syncEvents: true,
    });
    this.plot.subscribe('view', () => handlers.view());
    this.#listen();
  }

  /** Color the cells: `codes` (n) are indices of `palette`, and `order` (n rows), if any, says which lie on top. */
  color({ codes, palette, order }) {
    for (let i = 0; i < codes.length; i++) this.points[i][2] = codes[i];
    return this.#draw(() => {
      this.plot.set({ pointColor: palette, pointColorActive: palette, pointColorHover: palette });
      // to set it takes a second for a million cells
      if (order !== this.order) this.plot.set({ pointOrder: order });
      this.order = order;
    });
  }

  /** Let all cells fade but some; none to end that. */
  select(rows) {
    for (const point of this.points) point[3] = rows.length ? FADED : FULL;
    for (const row of rows) this.points[row][3] = FULL;
    return this.#draw();
  }

  #draw(prepare = () => {}) {
    return this.#queue(() => {
      prepare();
      return this.plot.draw(this.points, {
        spatialIndex: this.cells.index.data,
        preventFilterReset: true,
        zDataType: 'categorical',
        wDataType: 'categorical',
      });
    });
  }

  /** Show only some cells, or all for null. */
  show(rows, isShown) {
    this.isShown = isShown;
    return this.#queue(() => (rows ? this.plot.filter(rows) : this.plot.unfilter()));
  }

  /** The library allows one drawing at a time. */
  #queue(task) {
    this.queued = (this.queued ?? Promise.resolve()).then(() => (this.isDestroyed ? null : task()));
    return this.queued;
  }

  resize() {
    const { width, height } = this.element.getBoundingClientRect();
    if (!width || !height) return;
    this.width = Math.round(width);
    this.height = Math.round(height);
    this.overlay.setAttribute('viewBox', `0 0 ${this.width} ${this.height}`);
    this.plot.set({ width: this.width, height: this.height, ...pointStyle(this) });
    if (!this.isMoved) this.fit();
  }

  /** Show the whole map, without cells far from the rest. */
  fit() {
    const { box, half } = this.cells;
    const [width, height] = [0, 1].map((k) => ((box.high[k] - box.low[k]) / half) * MARGIN);
    // cells at one place would otherwise fill it
    const visible = Math.max(height, (width * this.height) / this.width) || 2;
    // at scale 1, the view is 2 high
    const scale = 2 / visible;
    this.fitted = scale;
    this.plot.view(new Float32Array([scale, 0, 0, 0, 0, scale, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]), { preventEvent: true });
    this.isMoved = false;
    const [x, y] = [(scale * this.height) / this.width, scale].map((zoom) => 1 / zoom);
    this.outside = this.cells.size - this.cells.index.range(-x, -y, x, y).length;
    this.handlers.view();
  }

  /** Length in pixels of one unit of the map. */
  get pixelsPerUnit() {
    return (this.plot.get('cameraView')[5] * this.height) / 2 / this.cells.half;
  }

  toScreen(position) {
    const view = this.plot.get('cameraView');
    const [x, y] = this.cells.toPlot(position);
    return [
      this.width / 2 + ((view[0] * x + view[12]) * this.height) / 2,
      this.height / 2 - ((view[5] * y + view[13]) * this.height) / 2,
    ];
  }

  toMap([x, y]) {
    const view = this.plot.get('cameraView');
    return this.cells.fromPlot([
      (((x - this.width / 2) * 2) / this.height - view[12]) / view[0],
      (((this.height / 2 - y) * 2) / this.height - view[13]) / view[5],
    ]);
  }

  setMode(mode) {
    this.mode = mode;
    this.element.dataset.mode = mode;
  }

  #listen() {
    const element = this.element;
    const at = (event) => {
      const { left, top } = element.getBoundingClientRect();
      return [event.clientX - left, event.clientY - top];
    };
    const rowAt = (place) => this.cells.nearest(this.toMap(place), REACH / this.pixelsPerUnit, this.isShown);
    let pressed = null;
    // the canvas itself gets no events, so that the library neither selects nor highlights
    element.addEventListener('mousedown', (event) => {
      if (this.mode === 'move') forward(event, this.canvas);
    });
    element.addEventListener(
      'wheel',
      (event) => {
        event.preventDefault();
        const zoom = this.plot.get('cameraView')[5] / this.fitted;
        if (event.deltaY < 0 ? zoom > CLOSEST : zoom < FARTHEST) return;
        this.isMoved = true;
        forward(event, this.canvas);
      },
      { passive: false },
    );
    element.addEventListener('dblclick', () => this.mode === 'move' && this.fit());
    element.addEventListener('pointerdown', (event) => {
      if (event.button !== 0) return;
      pressed = { places: [at(event)], isClick: true };
      if (this.mode !== 'move') {
        element.setPointerCapture(event.pointerId);
        event.preventDefault();
      }
    });
    element.addEventListener('pointermove', (event) => {
      const place = at(event);
      if (pressed) {
        const [start] = pressed.places;
        if (Math.hypot(place[0] - start[0], place[1] - start[1]) > CLICK) pressed.isClick = false;
        if (this.mode === 'move') this.isMoved ||= !pressed.isClick;
        else {
          pressed.places.push(place);
          if (!pressed.isClick) this.drawLasso(pressed.places);
        }
        return;
      }
      this.handlers.hover(this, place, rowAt(place));
    });
    const release = (event) => {
      const { places, isClick } = pressed ?? {};
      pressed = null;
      this.drawLasso([]);
      if (!places || event.type === 'pointercancel') return;
      if (isClick) this.handlers.click(this, this.toMap(places[0]), rowAt(places[0]), event);
      else if (this.mode !== 'move') this.handlers.lasso(this, places.map((place) => this.toMap(place)), event);
    };
    element.addEventListener('pointerup', release);
    element.addEventListener('pointercancel', release);
    element.addEventListener('pointerleave', () => this.handlers.leave());
  }

  drawLasso(places) {
    this.lasso ??= this.overlay.appendChild(svg('path', { class: 'lasso' }));
    this.lasso.setAttribute('d', places.length ? `M${places.map((place) => place.join()).join('L')}Z` : '');
  }

  destroy() {
    this.isDestroyed = true;
    this.plot.destroy();
    this.element.remove();
  }
}

/** Repeat an event of the mouse on an element below; its fields are accessors, which a spread would not copy. */
function forward(event, element) {
  const { clientX, clientY, button, buttons, deltaX, deltaY, deltaMode } = event;
  element.dispatchEvent(
    new event.constructor(event.type, { clientX, clientY, button, buttons, deltaX, deltaY, deltaMode, cancelable: true }),
  );
}

/** Return the size and opacity that suit the number of cells and the size of the view. */
function pointStyle({ width, height, cells }) {
  const size = Math.min(Math.max(Math.sqrt((width * height) / cells.size) * 0.42, 1.6), 7);
  const opacity = Math.min(Math.max(0.95 - 0.16 * Math.max(Math.log10(cells.size) - 3.2, 0), 0.4), 0.9);
  return { pointSize: size, opacity: [0.12 * opacity, opacity] };
}

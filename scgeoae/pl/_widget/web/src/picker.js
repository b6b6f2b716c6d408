/** A field with search: columns and genes to color by. */
import { html } from './dom.js';

const MOST = 40;
let pickers = 0;

export class Picker {
  /** @param names (show) => void, which calls show({columns, genes}) each time that it knows more; @param choose (kind, name) => void */
  constructor(names, choose) {
    this.names = names;
    this.choose = choose;
    this.id = `scgeoae-colors-${++pickers}`;
    this.input = html('input', {
      type: 'text',
      role: 'combobox',
      'aria-label': 'Color by a column or a gene',
      'aria-expanded': 'false',
      'aria-controls': this.id,
      'aria-autocomplete': 'list',
      autocomplete: 'off',
      spellcheck: 'false',
      placeholder: 'Color by…',
      onfocus: () => this.#open(),
      oninput: () => this.#search(),
      onkeydown: (event) => this.#press(event),
      onblur: () => this.#close(),
    });
    this.list = html('ul', { role: 'listbox', id: this.id, 'aria-label': 'Columns and genes', hidden: true });
    this.element = html('div', { class: 'picker' }, this.input, this.list);
  }

  set value(name) {
    this.shown = name;
    this.input.value = name;
  }

  /** Show all names, those at hand at once, and Python's when they are there. */
  #open() {
    this.input.select();
    this.isOpen = true;
    this.list.hidden = false;
    this.input.setAttribute('aria-expanded', 'true');
    this.names((names) => {
      this.known = names;
      if (this.isOpen) this.#search();
    });
  }

  #search() {
    // what is in the field at first is the present color
    const search = this.input.value === this.shown ? '' : this.input.value;
    const { columns, genes } = this.known;
    const found = [...matching(columns, search, 'column'), ...matching(genes, search, 'gene')].slice(0, MOST);
    this.options = found.map(({ kind, name }) =>
      html(
        'li',
        {
          role: 'option',
          'aria-selected': 'false',
          // before the field loses the focus
          onmousedown: (event) => {
            event.preventDefault();
            this.#take(kind, name);
          },
        },
        html('span', {}, name),
        html('small', {}, kind),
      ),
    );
    this.found = found;
    this.active = -1;
    this.list.replaceChildren(...(found.length ? this.options : [html('li', { class: 'none' }, 'Nothing of this name')]));
  }

  #close() {
    this.isOpen = false;
    this.list.hidden = true;
    this.input.setAttribute('aria-expanded', 'false');
    this.input.value = this.shown ?? '';
  }

  #take(kind, name) {
    this.shown = name;
    this.input.blur();
    this.choose(kind, name);
  }

  #press(event) {
    const { key } = event;
    if (key === 'Escape') {
      event.stopPropagation();
      this.input.blur();
    } else if (key === 'Enter' && this.found?.length) {
      const { kind, name } = this.found[Math.max(this.active, 0)];
      this.#take(kind, name);
    } else if ((key === 'ArrowDown' || key === 'ArrowUp') && this.options?.length) {
      event.preventDefault();
      this.options[this.active]?.setAttribute('aria-selected', 'false');
      const step = key === 'ArrowDown' ? 1 : -1;
      this.active = (this.active + step + this.options.length) % this.options.length;
      this.options[this.active].setAttribute('aria-selected', 'true');
      this.options[this.active].scrollIntoView({ block: 'nearest' });
    }
  }
}

/** Return names that start with what is searched, then those that contain it. */
function matching(names, search, kind) {
  const wanted = search.toLowerCase();
  const hits = [[], []];
  for (const name of names) {
    const place = name.toLowerCase().indexOf(wanted);
    if (place >= 0 && hits[+(place > 0)].length < MOST) hits[+(place > 0)].push({ kind, name });
  }
  return hits.flat();
}

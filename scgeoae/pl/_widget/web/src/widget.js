/** The widget of a notebook, as anywidget calls it; a page without a kernel calls `mount`. */
import { toNumbers } from './arrays.js';
import { askKernel } from './kernel.js';
import { mount } from './view.js';

export { mount };

export default {
  render({ model, el }) {
    const { ask, stop } = askKernel(model);
    const view = mount(el, model.get('_manifest'), model.get('_buffer'), ask);
    view.onSelect = (rows) => {
      model.set('selection', new DataView(rows.slice().buffer));
      model.save_changes();
    };
    const selectFromPython = () => {
      const rows = toNumbers(model.get('selection'), 'uint32');
      if (rows.length !== view.selection.length || rows.some((row, i) => row !== view.selection[i])) view.select(rows, { isOwn: false });
    };
    // nothing is ready without WebGL
    view.ready?.then(() => {
      selectFromPython();
      model.on('change:selection', selectFromPython);
    });
    return () => {
      model.off('change:selection', selectFromPython);
      stop();
      view.destroy();
    };
  },
};

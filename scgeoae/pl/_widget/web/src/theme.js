/** The colors of the surroundings, for what CSS cannot reach. */

/** Return whether an element lies on a dark background. */
export function isDark(element) {
  const [r, g, b] = (getComputedStyle(element).backgroundColor.match(/[\d.]+/g) ?? [255, 255, 255]).map(Number);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b < 128;
}

/** Call a function when the colors of the page may have changed; return how to stop. */
export function onThemeChange(change) {
  const media = matchMedia('(prefers-color-scheme: dark)');
  media.addEventListener('change', change);
  const observer = new MutationObserver(change);
  for (const element of [document.documentElement, document.body]) {
    observer.observe(element, { attributes: true, attributeFilter: ['class', 'data-jp-theme-light', 'data-theme', 'data-vscode-theme-kind'] });
  }
  return () => {
    media.removeEventListener('change', change);
    observer.disconnect();
  };
}

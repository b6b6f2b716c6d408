// Bundles src/ into ../static/interactive.js, with the licenses of the libraries in it as a comment.
import { readFileSync, readdirSync } from 'node:fs';
import { build } from 'esbuild';

const outfile = process.argv[2] ?? '../static/interactive.js';

const options = {
  entryPoints: ['src/widget.js'],
  bundle: true,
  minify: true,
  format: 'esm',
  target: 'es2022',
  charset: 'utf8',
  loader: { '.css': 'text' },
  legalComments: 'none',
  metafile: true,
};

function license(folder) {
  const { name, version } = JSON.parse(readFileSync(`${folder}/package.json`, 'utf8'));
  const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
  return `${name} ${version}\n\n${readFileSync(`${folder}/${file}`, 'utf8').trim()}`;
}

const { metafile } = await build({ ...options, write: false, outfile });
const used = Object.keys(metafile.inputs).flatMap((path) => path.match(/^node_modules\/(@[^/]+\/)?[^/]+/)?.[0] ?? []);
// regl-scatterplot brings these in its own bundle
const within = ['@flekschas/utils', 'camera-2d-simple', 'dom-2d-camera', 'earcut', 'gl-matrix', 'regl-line'];
const folders = [...new Set([...used, ...within.map((name) => `node_modules/${name}`)])].sort();
const notice = folders.map(license).join('\n\n---\n\n').replaceAll('*/', '* /');
await build({ ...options, outfile, banner: { js: `/*!\nThis file contains the following libraries.\n\n${notice}\n*/` } });

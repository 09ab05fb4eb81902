// Builds the page into dist/ (what the binary serves) and, with `--test`, the tests' own page into dist-test/.
// The SDK is bundled as it comes from the registry; the two options are what its browser half needs.
import { cp, mkdir, rm } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import * as esbuild from 'esbuild';

const at = path => fileURLToPath(new URL(path, import.meta.url));

async function bundle(folder, statics, entry) {
  await rm(at(folder), { recursive: true, force: true });
  await mkdir(at(folder), { recursive: true });
  await cp(at(statics), at(folder), { recursive: true, filter: path => !path.endsWith('.js') });
  await esbuild.build({
    entryPoints: [at(entry)],
    outfile: at(`${folder}/app.js`),
    bundle: true,
    minify: folder === 'dist',
    format: 'iife',
    target: 'es2022',
    mainFields: ['browser', 'module', 'main'],
    define: { global: 'window' },
    legalComments: 'none',
    logLevel: 'warning',
  });
}

if (process.argv.includes('--test')) await bundle('dist-test', 'test/page', 'test/page/page.js');
else await bundle('dist', 'public', 'src/main.ts');

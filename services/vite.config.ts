import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vite';

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/**
 * The program as it ships: few files, each loaded when a command needs it. A hundred files of zod, of which a part is
 * used, and those of yaml took half the time in which a command starts; other packages stay where npm has put them.
 */
export default defineConfig({
  root: here('.'),
  publicDir: false,
  ssr: { noExternal: ['cli-table3', 'commander', 'node-cron', 'picocolors', 'string-width', 'yaml', 'zod'] },
  build: {
    ssr: true,
    outDir: here('../dist'),
    emptyOutDir: true,
    target: 'node20',
    minify: false,
    rolldownOptions: {
      input: { cli: here('cli.ts'), 'reading-thread': here('detector/reading-thread.ts') },
      // A command that is loaded anyway is loaded once.
      checks: { ineffectiveDynamicImport: false },
      output: { entryFileNames: 'services/[name].js', chunkFileNames: 'services/[name].js' },
    },
  },
});

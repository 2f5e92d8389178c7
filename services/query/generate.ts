/** Run by `npm run generate`: the document of the API, and the cookbook for the dashboard. A test fails when they differ. */
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { apiRoutes } from './api/api.js';
import { openApiDocument } from './api/openapi.js';

/** docs/openapi.json. The routes are only looked at, so they need nothing to work with. */
export function openApiText(): string {
  const routes = apiRoutes({ rules: undefined, version: '' } as never);
  return `${JSON.stringify(openApiDocument(routes), null, 2)}\n`;
}

/** The questions of docs/cookbook.md, in its order; an image is built without docs/. */
export function cookbookText(page: string): string {
  const questions = page.split(/^## /m).slice(1);
  const entries = questions.map((each) => {
    const [, title, sql] = /^\d+\. (.*?)\n[\s\S]*?```sql\n([\s\S]*?)\n```/.exec(each) ?? [];
    return { title, sql };
  });
  return `${JSON.stringify(entries, null, 2)}\n`;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const here = dirname(fileURLToPath(import.meta.url));
  const docs = join(here, '..', '..', 'docs');
  writeFileSync(join(docs, 'openapi.json'), openApiText());
  console.log('wrote docs/openapi.json');
  writeFileSync(
    join(here, 'dashboard', 'cookbook.json'),
    cookbookText(readFileSync(join(docs, 'cookbook.md'), 'utf8')),
  );
  console.log('wrote services/query/dashboard/cookbook.json');
}

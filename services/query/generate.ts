/** Run by `npm run generate`: the document of the API. A test fails when it differs. */
import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { apiRoutes } from './api/api.js';
import { openApiDocument } from './api/openapi.js';

/** docs/openapi.json. The routes are only looked at, so they need nothing to work with. */
export function openApiText(): string {
  const routes = apiRoutes({ rules: undefined, version: '' } as never);
  return `${JSON.stringify(openApiDocument(routes), null, 2)}\n`;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const path = join(dirname(fileURLToPath(import.meta.url)), '..', '..', 'docs', 'openapi.json');
  writeFileSync(path, openApiText());
  console.log('wrote docs/openapi.json');
}

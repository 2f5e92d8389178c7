/** Run by `npm run generate`: the files that follow from the rule language. A test fails when one differs. */
import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { packPage } from './pack-page.js';
import { ruleJsonSchema, rulesReference } from './reference.js';

export const generatedRuleFiles: ReadonlyMap<string, () => string> = new Map([
  ['schemas/rule.schema.json', () => `${JSON.stringify(ruleJsonSchema(), null, 2)}\n`],
  ['docs/rules-reference.md', rulesReference],
  ['docs/rules-shipped.md', packPage],
]);

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
  for (const [path, text] of generatedRuleFiles) {
    writeFileSync(join(root, path), text());
    console.log(`wrote ${path}`);
  }
}

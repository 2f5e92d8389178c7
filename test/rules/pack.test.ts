/** The rules that ship: each says what it means and what to do, and its own tests hold. */
import { describe, expect, test } from 'vitest';
import { loadRules } from '../../services/detector/load.js';
import { verifyRule } from '../../services/detector/verify.js';

const { set, problems, warnings } = loadRules({ pack: true, paths: [] });

test('the pack has no mistakes', () => {
  expect(problems).toEqual([]);
  expect(warnings).toEqual([]);
  expect(set.rules.length).toBeGreaterThan(25);
});

describe.each(set.rules.map((rule) => [rule.id, rule] as const))('%s', (_, rule) => {
  test('says what it means, how bad it is, where it is written of and what to do', () => {
    expect(rule.title).not.toBe(rule.id);
    expect(rule.description.length).toBeGreaterThan(60);
    expect(rule.runbook.length).toBeGreaterThan(60);
    expect(rule.tags.length).toBeGreaterThan(0);
    // MITRE ATT&CK and ATLAS technique, OWASP Top 10 for LLM applications (2025) or for MCP (2025).
    for (const tag of rule.tags)
      expect(tag).toMatch(/^(attack\.t\d{4}(\.\d{3})?|atlas\.aml\.t\d{4}(\.\d{3})?|owasp\.(llm|mcp)(0[1-9]|10))$/);
  });

  test('has tests for when it fires and for when it does not, and they hold', () => {
    const expectations = rule.tests.map(({ expect: { length } }) => length);
    expect(expectations.some((count) => count > 0)).toBe(true);
    expect(expectations.includes(0) || rule.tests.length > 2).toBe(true);
    const failures = verifyRule(rule, set).flatMap((outcome) =>
      outcome.failures.map(({ message, place }) => `${rule.file}:${place.line} ${outcome.test.name}: ${message}`),
    );
    expect(failures).toEqual([]);
  });
});

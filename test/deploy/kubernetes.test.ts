import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { parseConfiguration } from '../../schemas/configuration-sources.js';
import { chooseRoles, requirePorts, roles } from '../../services/app/roles.js';
import { root } from './compose.js';
import { files, folder, objects, roleOf, workloads } from './manifests.js';

const require = createRequire(import.meta.url);

test('every object is one that the API knows, field by field', { timeout: 120_000 }, () => {
  for (const object of objects) {
    const module = require(`kubernetes-models/${object.apiVersion}/${object.kind}`) as Record<
      string,
      new (
        data: object,
      ) => { validate(): void }
    >;
    expect(() => new module[object.kind]!(object).validate(), `${object.kind} ${object.metadata.name}`).not.toThrow();
  }
  // The validator lets unknown fields pass, as the API does; the compiler does not.
  const temporary = mkdtempSync(join(root, 'test', '.docs-'));
  try {
    const lines = objects.map(
      (object, index) =>
        `import type { I${object.kind} as T${index} } from 'kubernetes-models/${object.apiVersion}/${object.kind}';\nexport const o${index}: T${index} = ${JSON.stringify(object)};`,
    );
    writeFileSync(join(temporary, 'objects.ts'), lines.join('\n'));
    const options = {
      noEmit: true,
      module: 'NodeNext',
      moduleResolution: 'NodeNext',
      strict: true,
      skipLibCheck: true,
    };
    writeFileSync(
      join(temporary, 'tsconfig.json'),
      JSON.stringify({ compilerOptions: options, include: ['objects.ts'] }),
    );
    const tsc = join(root, 'node_modules', '.bin', 'tsc');
    expect(execFileSync(tsc, ['-p', temporary], { encoding: 'utf8' })).toBe('');
    writeFileSync(join(temporary, 'objects.ts'), lines.join('\n').replace('"replicas"', '"replica"'));
    expect(() => execFileSync(tsc, ['-p', temporary], { encoding: 'utf8', stdio: 'pipe' })).toThrow();
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
});

test('kustomization.yaml names every file, and all objects are in the one namespace', () => {
  const { resources } = parse(readFileSync(join(folder, 'kustomization.yaml'), 'utf8')) as { resources: string[] };
  expect([...resources].sort()).toEqual([...files].sort());
  for (const { kind, metadata } of objects)
    if (kind !== 'Namespace') expect(metadata.namespace, metadata.name).toBe('mcp-auditd');
});

test('every role has a workload', () => {
  const found = workloads.map(({ spec }) => roleOf(spec.template.spec.containers[0].args)).filter(Boolean);
  expect(found.sort()).toEqual(roles.map(({ name }) => name).sort());
});

describe.each(workloads.map((object) => [object.metadata.name, object.spec.template.spec] as const))(
  '%s',
  (name, pod) => {
    const [container] = pod.containers;
    const role = roles.find((each) => each.name === roleOf(container.args));

    test('runs without rights, within a limit of memory, and is asked how it is', () => {
      expect(pod).toMatchObject({
        automountServiceAccountToken: false,
        securityContext: { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } },
      });
      expect(container.securityContext).toEqual({
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ['ALL'] },
      });
      expect(container.resources.limits.memory).toMatch(/^\d+(Mi|Gi)$/);
      if (role === undefined) return;
      expect(container.livenessProbe?.httpGet.path).toBe('/healthz');
      expect(container.readinessProbe?.httpGet.path).toBe('/readyz');
    });

    test('its configuration is one, its secrets are its own, and the role may run alone on it', () => {
      const environment = Object.fromEntries(container.env.map((each) => [each.name, each.value]));
      const text = objects.find(({ kind, metadata }) => kind === 'ConfigMap' && metadata.name === 'mcp-auditd')!.data[
        'config.yaml'
      ]!;
      const mounts = container.volumeMounts.map(({ mountPath }) => mountPath);
      const configuration = parseConfiguration({
        file: { path: environment.MCP_AUDITD_CONFIG!, text },
        environment,
        readFile: (path) => {
          expect(
            mounts.some((mount) => path.startsWith(`${mount}/`)),
            path,
          ).toBe(true);
          return path.endsWith('.pub') ? '-----BEGIN PUBLIC KEY-----' : '-----BEGIN CERTIFICATE-----';
        },
      });
      for (const { value } of container.env)
        if (value.startsWith('/'))
          expect(
            mounts.some((mount) => value.startsWith(mount)),
            value,
          ).toBe(true);
      const secret = pod.volumes.find((volume) => volume.name === 'secrets')?.secret?.secretName;
      expect(secret).toBe(`mcp-auditd-${name}`);
      expect(configuration.stream.kafka?.ssl?.enabled).toBe(true);
      if (role === undefined) return;
      expect(() => requirePorts(chooseRoles([role.name]), configuration)).not.toThrow();
      expect((pod.terminationGracePeriodSeconds ?? 0) * 1000).toBeGreaterThan(configuration.stop_timeout_ms + 5_000);
    });

    test('the network lets it reach what it needs', () => {
      const policy = objects.find(({ kind, metadata }) => kind === 'NetworkPolicy' && metadata.name === name)!.spec;
      const namespaces = (policy.egress ?? []).flatMap(({ to }) =>
        to.map((peer) => peer.namespaceSelector?.matchLabels['kubernetes.io/metadata.name'] ?? 'outside'),
      );
      const store = role?.usesStore === true || role?.name === 'notifier';
      expect(namespaces.sort()).toEqual(
        ['kafka', ...(store ? ['clickhouse'] : []), ...(role?.name === 'notifier' ? ['outside'] : [])].sort(),
      );
      expect(policy.policyTypes).toEqual(['Ingress', 'Egress']);
      expect(policy.podSelector.matchLabels?.['app.kubernetes.io/component']).toBe(name);
    });
  },
);

test('what no policy names is refused', () => {
  const all = objects.find(({ kind, metadata }) => kind === 'NetworkPolicy' && metadata.name === 'nothing-else');
  expect(all?.spec).toEqual({ podSelector: {}, policyTypes: ['Ingress', 'Egress'] });
});

/** The objects of deploy/kubernetes, as the API would read them. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import { roles } from '../../services/app/roles.js';
import { root } from './compose.js';

export const folder = join(root, 'deploy', 'kubernetes');
export const files = readdirSync(folder).filter((file) => file !== 'kustomization.yaml');

interface Volume {
  readonly name: string;
  readonly secret?: { readonly secretName: string };
  readonly configMap?: { readonly name: string; readonly optional?: boolean };
  readonly emptyDir?: object;
}
interface Container {
  readonly name: string;
  readonly args: readonly string[];
  readonly env: readonly { readonly name: string; readonly value: string }[];
  readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string; readonly readOnly?: boolean }[];
  readonly securityContext: object;
  readonly resources: { readonly limits: { readonly memory: string } };
  readonly livenessProbe?: { readonly httpGet: { readonly path: string } };
  readonly readinessProbe?: { readonly httpGet: { readonly path: string } };
}
export interface PodSpec {
  readonly automountServiceAccountToken: boolean;
  readonly securityContext: object;
  readonly terminationGracePeriodSeconds?: number;
  readonly containers: readonly [Container];
  readonly volumes: readonly Volume[];
}
interface Peer {
  readonly namespaceSelector?: { readonly matchLabels: Readonly<Record<string, string>> };
  readonly ipBlock?: { readonly cidr: string };
}
interface Policy {
  readonly podSelector: { readonly matchLabels?: Readonly<Record<string, string>> };
  readonly policyTypes: readonly string[];
  readonly ingress?: readonly { readonly from: readonly Peer[] }[];
  readonly egress?: readonly { readonly to: readonly Peer[] }[];
}
interface KubernetesObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly spec: Policy & { readonly template: { readonly spec: PodSpec } };
  readonly data: Readonly<Record<string, string>>;
}

// kubectl reads YAML 1.1, where 0440 is octal.
export const objects = files.flatMap((file) =>
  parseAllDocuments(readFileSync(join(folder, file), 'utf8'), { version: '1.1', schema: 'yaml-1.1' }).map(
    (document) => document.toJS() as KubernetesObject,
  ),
);
export const workloads = objects.filter(({ kind }) => ['Deployment', 'StatefulSet', 'Job'].includes(kind));
/** The role that a container's words start. */
export const roleOf = (words: readonly string[]) =>
  words[0] === 'up' ? words[2] : roles.find(({ command }) => command === words[0])?.name;

/** The OpenAPI document, from the list of routes. docs/openapi.json is what this makes; a test fails when it differs. */
import { z } from 'zod';
import * as contract from './contract.js';
import type { Route } from './routes.js';

const names = new Map<unknown, string>(
  Object.entries(contract)
    .filter(([, each]) => each instanceof z.ZodType)
    .map(([name, each]) => [each, `${name[0]!.toUpperCase()}${name.slice(1)}`]),
);

function schemaOf(schema: z.ZodType, io: 'input' | 'output'): Record<string, unknown> {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io, unrepresentable: 'any', target: 'draft-2020-12' });
  return rest;
}

interface ObjectSchema {
  readonly properties?: Readonly<Record<string, { readonly description?: string; readonly default?: unknown }>>;
  readonly required?: readonly string[];
}

function parametersOf(route: Route): object[] {
  const inPath = [...route.path.matchAll(/:(\w+)/g)].map(([, name]) => ({
    name,
    in: 'path',
    required: true,
    schema: { type: 'string' },
  }));
  const { properties = {}, required = [] } = schemaOf(route.query, 'input') as ObjectSchema;
  const inQuery = Object.entries(properties).map(([name, { description, ...schema }]) => ({
    name,
    in: 'query',
    ...(description === undefined ? {} : { description }),
    required: required.includes(name),
    schema,
  }));
  return [...inPath, ...inQuery];
}

/** OpenAPI 3.1. */
export function openApiDocument(routes: readonly Route[]): Record<string, unknown> {
  const schemas: Record<string, unknown> = {};
  const reference = (schema: z.ZodType, io: 'input' | 'output'): object => {
    const name = names.get(schema);
    if (name === undefined) return schemaOf(schema, io);
    schemas[name] = schemaOf(schema, io);
    return { $ref: `#/components/schemas/${name}` };
  };
  const paths: Record<string, Record<string, unknown>> = {};
  for (const route of routes) {
    const path = route.path.replaceAll(/:(\w+)/g, '{$1}');
    const operation = `${route.method.toLowerCase()}${path.replaceAll(/[^a-z]+(\w)?/gi, (_, letter: string | undefined) => (letter ?? '').toUpperCase())}`;
    const parameters = parametersOf(route);
    const content =
      route.answer !== undefined
        ? { 'application/json': { schema: reference(route.answer, 'output') } }
        : route.media !== undefined
          ? { [route.media]: { schema: { type: 'string' } } }
          : undefined;
    paths[path] ??= {};
    paths[path][route.method.toLowerCase()] = {
      operationId: operation,
      summary: route.summary,
      ...(parameters.length === 0 ? {} : { parameters }),
      ...(route.body instanceof z.ZodUnknown
        ? {}
        : {
            requestBody: {
              required: true,
              content: { 'application/json': { schema: reference(route.body, 'input') } },
            },
          }),
      responses: {
        [route.status]: { description: 'Done.', ...(content === undefined ? {} : { content }) },
        default: {
          description: 'What went wrong, and how to mend it.',
          content: { 'application/json': { schema: reference(contract.problem, 'output') } },
        },
      },
      ...(route.role === 'anyone' ? { security: [] } : {}),
    };
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'mcp-auditd',
      version: '1',
      description:
        'Calls, alerts, throttles, rules and SQL of mcp-auditd. A key with the role read looks on, one with the role respond decides (POST /responses), one with the role admin does both and manages keys (/keys).',
    },
    servers: [{ url: '/api/v1' }],
    security: [{ key: [] }, { session: [] }],
    paths,
    components: {
      securitySchemes: {
        key: { type: 'http', scheme: 'bearer' },
        session: { type: 'apiKey', in: 'cookie', name: 'mcp_auditd_PORT' },
      },
      schemas: Object.fromEntries(Object.entries(schemas).sort(([a], [b]) => (a < b ? -1 : 1))),
    },
  };
}

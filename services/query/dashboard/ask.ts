/** Requests to the API, and what a view knows while it waits. */
import { keepPreviousData, QueryClient, useQuery } from '@tanstack/react-query';

/** What the server told, with the way to mend it. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly mend: string,
  ) {
    super(message);
  }
}

type Values = Readonly<Record<string, string | number | boolean | readonly string[] | undefined>>;

function pathWith(path: string, values: Values = {}): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    if (value === undefined) continue;
    for (const each of Array.isArray(value) ? value : [value]) search.append(name, String(each));
  }
  const text = search.toString();
  return `/api/v1${path}${text === '' ? '' : `?${text}`}`;
}

export async function send(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<Response> {
  const response = await fetch(path.startsWith('/api') ? path : pathWith(path), {
    method,
    signal: signal ?? null,
    ...(body === undefined ? {} : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
  }).catch((error: Error) => {
    if (error.name === 'AbortError') throw error;
    throw new Problem(
      0,
      'unreachable',
      'The daemon does not answer.',
      'Start it with mcp-auditd up; this page goes on by itself.',
    );
  });
  if (response.ok) return response;
  let told: { code?: string; message?: string; mend?: string } = {};
  try {
    told = ((await response.json()) as { error?: typeof told }).error ?? {};
  } catch {
    // No answer of ours.
  }
  throw new Problem(
    response.status,
    told.code ?? 'internal',
    told.message ?? `The daemon answered ${response.status}.`,
    told.mend ?? 'Its log says why.',
  );
}

export async function get<T>(path: string, values?: Values, signal?: AbortSignal): Promise<T> {
  return (await (await send('GET', pathWith(path, values), undefined, signal)).json()) as T;
}

export async function post<T>(path: string, body: unknown, signal?: AbortSignal): Promise<T> {
  return (await (await send('POST', path, body, signal)).json()) as T;
}

export const queries = new QueryClient({
  defaultOptions: {
    queries: {
      retry: (count, error) => count < 2 && error instanceof Problem && error.status === 503,
      refetchOnWindowFocus: false,
    },
  },
});

/** An answer of the API; asked again every `everyMs`. The old one stays until the new one is there. Without a path nothing is asked. */
export function useAnswer<T>(path: string | undefined, values?: Values, everyMs?: number, freshMs = 5_000) {
  return useQuery({
    queryKey: [path, values],
    queryFn: ({ signal }) => get<T>(path!, values, signal),
    enabled: path !== undefined,
    placeholderData: keepPreviousData,
    refetchInterval: everyMs ?? false,
    staleTime: freshMs,
  });
}

/** The address of a server-sent stream. */
export function streamPath(path: string, values: Values): string {
  return pathWith(path, values);
}

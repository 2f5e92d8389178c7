/** ClickHouse's own clients against the endpoint, as readers: what works there, and what must not. */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gunzipSync } from 'node:zlib';
import { ClickHouseLogLevel, createClient } from '@clickhouse/client';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openClickHouseStore } from '../../services/store/clickhouse.js';
import { type ClickHouseServer, namedClickHouse, readKey, startClickHouse } from '../contract/clickhouse-server.js';
import { batchOfCalls } from '../contract/store.js';
import { pythonWithClickHouse } from './python.js';

const log = { level: ClickHouseLogLevel.OFF };

/** The whole of what comes before the connection breaks; `fetch` would throw part of it away. */
async function broughtBy(url: string, query: string) {
  const headers = { 'x-clickhouse-key': readKey, 'accept-encoding': 'gzip' };
  const asked = request(url, { method: 'POST', headers }).end(query);
  const [response] = (await once(asked, 'response')) as [IncomingMessage];
  const chunks: Buffer[] = [];
  response.on('data', (chunk: Buffer) => chunks.push(chunk));
  const broken = await new Promise<string>((resolve) => {
    response.once('end', () => resolve('')).once('error', ({ message }) => resolve(message));
  });
  return { headers: response.headers, body: Buffer.concat(chunks), broken };
}

describe.skipIf(namedClickHouse !== undefined)(
  'the ClickHouse endpoint (skipped with CLICKHOUSE_URL: it is ours)',
  () => {
    let server: ClickHouseServer;
    let url: string;
    beforeAll(async () => {
      server = await startClickHouse();
      url = server.connection.url;
      const store = await openClickHouseStore(server.connection);
      await store.migrate();
      await store.insert(batchOfCalls(0, 0, 1000));
      await store.close();
    });
    afterAll(() => server.stop());

    const ask = (query: string, init: RequestInit & { parameters?: string } = {}) =>
      fetch(`${url}/?${init.parameters ?? ''}`, {
        method: 'POST',
        body: query,
        headers: { 'x-clickhouse-user': 'anyone', 'x-clickhouse-key': readKey },
        ...init,
      });

    test('the client for Node asks with parameters, streams and reads errors', async () => {
      const client = createClient({ url, username: 'anyone', password: readKey, log });
      expect(await client.ping()).toEqual({ success: true });
      const json = await client.query({
        query: 'SELECT count() AS calls FROM calls WHERE stream_offset < {end: UInt64}',
        query_params: { end: 100 },
      });
      expect((await json.json<{ calls: string }>()).data).toEqual([{ calls: expect.anything() }]);
      const rows = await client.query({ query: 'SELECT stream_offset FROM calls', format: 'JSONEachRow' });
      let count = 0;
      for await (const chunk of rows.stream<{ stream_offset: string }>()) count += chunk.length;
      expect(count).toBe(1000);
      await expect(client.query({ query: 'SELECT nothing FROM calls' })).rejects.toMatchObject({
        code: '47',
        type: 'UNKNOWN_IDENTIFIER',
      });
      await expect(client.command({ query: 'DROP TABLE calls' })).rejects.toMatchObject({
        code: '164',
        type: 'READONLY',
      });
      await expect(
        client.insert({ table: 'calls', values: [{ method: 'x' }], format: 'JSONEachRow' }),
      ).rejects.toMatchObject({ code: '164' });
      await client.close();
      const stranger = createClient({ url, username: 'anyone', password: 'wrong', log });
      await expect(stranger.query({ query: 'SELECT 1' })).rejects.toMatchObject({
        code: '516',
        type: 'AUTHENTICATION_FAILED',
      });
      await stranger.close();
    });

    /** Rows at once, more than the engine and the connection hold back together, and then an error. */
    const late = "SELECT throwIf(number = 500000, 'too late') FROM numbers(600000)";

    test('an error after the first rows is told at the end of the body, and the response never ends as whole', async () => {
      const client = createClient({ url, username: 'anyone', password: readKey, log });
      const rows = client.query({ query: late, format: 'JSONEachRow' }).then((answer) => answer.json());
      const seen = expect(rows).rejects.toMatchObject({ code: '395', message: expect.stringContaining('too late') });
      const asked = ['', 'enable_http_compression=1'].map((parameters) =>
        broughtBy(`${url}/?${parameters}`, `${late} FORMAT TSV`),
      );
      for (const { headers, body, broken } of await Promise.all(asked)) {
        expect(broken).toBe('aborted');
        const tag = headers['x-clickhouse-exception-tag'];
        const text = (headers['content-encoding'] === 'gzip' ? gunzipSync(body) : body).subarray(-2000).toString();
        const block = /\r\n__exception__\r\n([a-z]+)\r\n(.+\n)(\d+) \1\r\n__exception__\r\n$/s.exec(text);
        const [, found, message, bytes] = block ?? expect.fail(text.slice(-500));
        expect(found).toBe(tag);
        expect(message).toMatch(/^Code: 395\. DB::Exception: .*too late.*\(version .+\)\n$/);
        expect(Buffer.byteLength(message!)).toBe(Number(bytes));
      }
      // Its client takes a value's own CR LF for the block where it knows a tag.
      const csv = await ask('SELECT 1 FORMAT CSV');
      expect(csv.headers.has('x-clickhouse-exception-tag')).toBe(false);
      await seen;
      await client.close();
    });

    test.each([
      'CSVWithNames',
      'CSVWithNamesAndTypes',
      'TSVWithNames',
      'TabSeparatedWithNamesAndTypes',
      'JSONCompactEachRowWithNames',
      'JSONCompactStringsEachRowWithNamesAndTypes',
      'RowBinaryWithNames',
      'RowBinaryWithNamesAndTypes',
      'JSONLines',
      'MsgPack',
    ])('%s is streamed as the one document that it would be whole', async (format) => {
      const query = 'SELECT number AS `a\n"b,\tc`, toString(number) AS d FROM numbers';
      const bytesOf = async (range: string) =>
        Buffer.from(await (await ask(`${query}${range} FORMAT ${format}`)).arrayBuffer());
      const ranges = ['(100000)', '(0)', '(60000)', '(60000, 40000)'];
      const [long, header, start, end] = await Promise.all(ranges.map(bytesOf));
      expect(long!.equals(Buffer.concat([start!, end!.subarray(header!.length)]))).toBe(true);
    });

    test.each([false, true])(
      'parameters of each type come back through the client for Node, compression %s',
      async (response) => {
        const client = createClient({ url, username: 'anyone', password: readKey, log, compression: { response } });
        const values: readonly (readonly [type: string, value: unknown, seen?: unknown])[] = [
          ['String', "it's \\ a\t'text'\n é"],
          ['LowCardinality(String)', 'x'],
          ['UInt8', 255],
          ['UInt64', 18446744073709551615n, '18446744073709551615'],
          ['Int64', -9007199254740993n, '-9007199254740993'],
          ['Float64', 0.5],
          ['Bool', true],
          ['Nullable(String)', null],
          ['Decimal(18, 4)', '1.25', 1.25],
          ['UUID', '019ab3f0-8c1b-7001-9f3e-5d2c8a417be6'],
          ['Date', '2026-01-02'],
          ["DateTime64(6, 'UTC')", '2026-01-02 03:04:05.123456'],
          ['Array(String)', ["it's", '']],
          ['Map(String, String)', { "a'b": 'c\\d' }],
        ];
        const columns = values.map(([type], at) => `{p${at}: ${type}} AS p${at}, toTypeName(p${at}) AS t${at}`);
        const answer = await client.query({
          query: `SELECT ${columns.join(', ')}`,
          query_params: Object.fromEntries(values.map(([, value], at) => [`p${at}`, value])),
          clickhouse_settings: { output_format_json_quote_64bit_integers: 1 },
          format: 'JSONEachRow',
        });
        expect(answer.response_headers['content-encoding']).toBe(response ? 'gzip' : undefined);
        const [row] = await answer.json<Record<string, unknown>>();
        for (const [at, [type, value, seen = value]] of values.entries())
          expect([row![`t${at}`], row![`p${at}`]]).toEqual([type, seen]);
        await client.close();
      },
    );

    test('a client that aborts, or closes its result, is rid of the question', async () => {
      const client = createClient({ url, username: 'anyone', password: readKey, log });
      const leaving = new AbortController();
      const query = 'SELECT sum(cityHash64(number)) FROM numbers(100000000000)';
      const asked = client.query({ query, abort_signal: leaving.signal });
      leaving.abort();
      await expect(asked).rejects.toThrow('abort');
      const rows = await client.query({ query: 'SELECT number FROM numbers(9000000)', format: 'JSONEachRow' });
      rows.close();
      const after = await client.query({ query: 'SELECT 1 AS a', format: 'JSONEachRow' });
      expect(await after.json()).toEqual([{ a: 1 }]);
      await client.close();
    });

    test('the summary tells what was read, and the client for Node reads it', async () => {
      const client = createClient({ url, username: 'anyone', password: readKey, log });
      const sql = 'SELECT sum(stream_offset) AS s FROM calls WHERE stream_offset > 10';
      for (const format of ['JSONEachRow', 'JSON', 'CSVWithNames'] as const) {
        const { stream, summary } = await client.exec({ query: `${sql} FORMAT ${format}` });
        stream.destroy();
        expect([format, summary]).toMatchObject([
          format,
          {
            read_rows: '1000',
            result_rows: '1',
            total_rows_to_read: '1000',
            read_bytes: expect.stringMatching(/^\d{4}/),
          },
        ]);
        expect(Number(summary!.elapsed_ns)).toBeGreaterThan(0);
      }
      await client.close();
    });

    test('lines of progress come within the head while the first rows are waited for', async () => {
      const heavy = 'SELECT sum(sipHash64(toString(number))) AS s, count() FROM numbers(30000000)';
      const parameters = 'send_progress_in_http_headers=1&http_headers_progress_interval_ms=20&buffer_size=1';
      const client = createClient({ url, username: 'anyone', password: readKey, log });
      const whole = await (await ask(`${heavy} FORMAT TSV`)).text();
      const answer = await client.query({
        query: heavy,
        format: 'JSONCompactEachRow',
        clickhouse_settings: { send_progress_in_http_headers: 1, http_headers_progress_interval_ms: '20' },
      });
      const lines = JSON.parse(`[${answer.response_headers['x-clickhouse-progress']}]`) as Record<string, string>[];
      const rows = lines.map(({ read_rows }) => Number(read_rows));
      expect(rows).toEqual(rows.toSorted((a, b) => a - b));
      expect(rows.at(-1)).toBeGreaterThan(0);
      expect(lines[0]!.total_rows_to_read).toMatch(/^\d+$/);
      expect(JSON.parse(answer.response_headers['x-clickhouse-summary'] as string)).toMatchObject({
        read_rows: '30000000',
      });
      expect(await answer.text()).toBe(`[${whole.trim().replace('\t', ', ')}]\n`);
      // An error when the status is out already, before and after the first rows.
      const failing = heavy.replace('count()', "throwIf(sum(number) > 0, 'too late')");
      await expect(
        client.query({ query: failing, clickhouse_settings: { send_progress_in_http_headers: 1 } }),
      ).rejects.toMatchObject({ code: '395', message: expect.stringContaining('too late') });
      const rowsFirst = `SELECT number, throwIf(number = 900000, 'too late') FROM (${heavy}) AS h, numbers(1000000) AS n`;
      const broken = await broughtBy(`${url}/?${parameters}`, `${rowsFirst} FORMAT TSV`);
      expect(broken.headers['x-clickhouse-progress']).toContain('read_rows');
      expect([broken.broken, broken.body.subarray(-2000).toString()]).toEqual([
        'aborted',
        expect.stringContaining('__exception__'),
      ]);
      await client.close();
    });

    test('totals come at the end of rows with names', async () => {
      const query = 'SELECT number AS a, count() AS c FROM numbers(100000) GROUP BY a WITH TOTALS ORDER BY a';
      const text = await (await ask(`${query} FORMAT CSVWithNames`)).text();
      expect(text.split('\n')).toHaveLength(100_004);
      expect(text.slice(0, 12)).toBe('"a","c"\n0,1\n');
      expect(text.slice(-18)).toBe('99999,1\n\n0,100000\n');
    });

    test('wait_end_of_query waits for an error, so that it comes with its status', async () => {
      for (const wait of ['wait_end_of_query=1', 'buffer_size=10000000']) {
        const answer = await ask(`${late} FORMAT TSV`, { parameters: wait });
        expect([answer.status, answer.headers.get('x-clickhouse-exception-code')]).toEqual([400, '395']);
      }
    });

    test('the client for Python asks in Native, with parameters, and may not change anything', async () => {
      const { hostname, port } = new URL(url);
      const script = join(import.meta.dirname, 'reader.py');
      const { stdout } = await promisify(execFile)(await pythonWithClickHouse(), [script, hostname, port, readKey]);
      expect(JSON.parse(stdout)).toMatchObject({
        calls: 1000,
        columns: ['tool_name', 'calls', 'last'],
        rows: 3,
        year: 2026,
        attributes: [{ a: 'b' }, [1, 2], null, 'x'],
        drop: expect.stringContaining('Code: 164'),
        late: expect.stringContaining('too late'),
        different: [],
      });
    }, 120_000);

    test('curl as ClickHouse documents it: GET and POST, key in header, Basic, Bearer or URL', async () => {
      const query = encodeURIComponent('SELECT 1 + 1');
      const basic = Buffer.from(`anyone:${readKey}`).toString('base64');
      for (const [where, headers] of [
        [`${url}/?query=${query}&password=${readKey}`, {}],
        [`${url}/?query=${query}`, { authorization: `Basic ${basic}` }],
        [`${url}/?query=${query}`, { authorization: `Bearer ${readKey}` }],
      ] as const)
        expect(await (await fetch(where, { headers })).text()).toBe('2\n');
      expect(await (await fetch(`${url}/ping`)).text()).toBe('Ok.\n');
      expect(await (await fetch(url)).text()).toBe('Ok.\n');
      const split = await ask('FROM calls', { parameters: `query=${encodeURIComponent('SELECT count()')}` });
      expect(await split.text()).toBe('1000\n');
      const refused = await fetch(`${url}/?query=${query}`);
      expect(refused.status).toBe(401);
      expect(refused.headers.get('www-authenticate')).toContain('Basic');
    });

    test('the format comes from the statement, the header or the URL; else TabSeparated', async () => {
      const text = async (query: string, init = {}) => (await ask(query, init)).text();
      expect(await text("SELECT 1 AS a, 'x' AS b")).toBe('1\tx\n');
      expect(await text('SELECT 1 AS a FORMAT JSONEachRow;')).toBe('{"a":1}\n');
      expect(await text('SELECT 1 AS a', { parameters: 'default_format=CSVWithNames' })).toBe('"a"\n1\n');
      const headers = { 'x-clickhouse-key': readKey, 'x-clickhouse-format': 'JSONCompactEachRow' };
      expect(await text('SELECT 1 AS a', { headers })).toBe('[1]\n');
      expect(await text("SELECT 'x FORMAT y'")).toBe('x FORMAT y\n');
    });

    test('limits may be made tighter, never wider; output settings are taken, others are refused by name', async () => {
      const tighter = await ask('SELECT number FROM numbers(100)', { parameters: 'max_result_rows=10' });
      expect(tighter.status).toBe(400);
      expect(await tighter.text()).toMatch(/^Code: 396\./);
      const quoted = await ask('SELECT toUInt64(1) AS a FORMAT JSONEachRow', {
        parameters: 'output_format_json_quote_64bit_integers=1',
      });
      expect(await quoted.text()).toBe('{"a":"1"}\n');
      const refused = await ask('SELECT 1', { parameters: 'max_network_bandwidth=1' });
      expect(refused.status).toBe(403);
      expect(refused.headers.get('x-clickhouse-exception-code')).toBe('164');
      expect(await refused.text()).toContain("'max_network_bandwidth'");
    });

    test.each([
      'INSERT INTO calls (method) VALUES (1)',
      'SELECT 1; DROP TABLE calls',
      "SELECT file('/etc/passwd')",
      'SELECT 1 SETTINGS readonly = 0',
      "SELECT 1 INTO OUTFILE 'out.txt'",
      'KILL QUERY WHERE 1 SYNC',
      "SELECT * FROM url('http://127.0.0.1:1/', 'CSV', 'a String')",
      'SYSTEM SHUTDOWN',
    ])('a reader cannot %s', async (query) => {
      const answer = await ask(query);
      expect(answer.status).toBeGreaterThanOrEqual(400);
      expect(await answer.text()).toMatch(/^Code: \d+\. DB::Exception: /);
      expect(await (await ask('SELECT count() FROM calls')).text()).toBe('1000\n');
    });

    test('an answer is compressed when the client asks for it, and a statement may come compressed or as a form', async () => {
      const answer = await ask('SELECT number FROM numbers(10000)', {
        parameters: 'enable_http_compression=1',
        headers: { 'x-clickhouse-key': readKey, 'accept-encoding': 'gzip' },
      });
      expect(answer.headers.get('content-encoding')).toBe('gzip');
      expect((await answer.text()).trimEnd().split('\n')).toHaveLength(10_000);
      const form = new FormData();
      form.set('query', 'SELECT {a:String}');
      form.set('param_a', 'it is é');
      const posted = await fetch(url, { method: 'POST', body: form, headers: { 'x-clickhouse-key': readKey } });
      expect(await posted.text()).toBe('it is é\n');
      const bad = await ask('SELECT 1', { headers: { 'x-clickhouse-key': readKey, 'content-encoding': 'br' } });
      expect(bad.status).toBe(400);
    });

    test('values of placeholders are escaped as the protocol has it, and each query has its own', async () => {
      const values = { t: 'a\\tb\\\\c', n: '\\N', l: "['it\\'s']", q: "it's" };
      const parameters = Object.entries(values).map(([name, value]) => `param_${name}=${encodeURIComponent(value)}`);
      const query = 'SELECT {t:String}, {n:Nullable(String)}, {l:Array(String)}, {q:String} FORMAT JSONCompactEachRow';
      const answer = await ask(query, { parameters: parameters.join('&') });
      expect(await answer.json()).toEqual(['a\tb\\c', null, ["it's"], "it's"]);
      const own = (n: number) => ask('SELECT {n:UInt32}', { parameters: `param_n=${n}` }).then((one) => one.text());
      const numbers = Array.from({ length: 30 }, (_, n) => n);
      expect(await Promise.all(numbers.map(own))).toEqual(numbers.map((n) => `${n}\n`));
      const hostile = await ask('SELECT 1', { parameters: `${encodeURIComponent('param_a = 1, readonly')}=0` });
      expect(await hostile.text()).toMatch(/^Code: 164\./);
    });

    test('a statement longer than its limit is refused, and the connection goes on', async () => {
      const answer = await ask(`SELECT '${'x'.repeat(2 * 1024 * 1024)}'`);
      expect(answer.status).toBe(413);
      expect(await (await ask('SELECT 1')).text()).toBe('1\n');
    });
  },
);

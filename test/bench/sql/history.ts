import type { Engine } from '../disk.js';

/** Days that the history of a benchmark spans. */
export const days = 30;

export const bareColumns = 'event_id, actor_id, session_id, server_name, tool_name, outcome, duration_ms';
const columns = `${bareColumns}, method, client_name, producer_id, producer_sequence, arguments, result`;

/**
 * Events of one day, made in the engine itself: hashes of the number give tools, actors and words with a long tail.
 * `first` is the SQL of the history's first moment.
 */
function generated(first: string, day: number, rows: number): string {
  const random = (salt: number) => `(cityHash64(number, ${day}, ${salt}) % 1000000007) / 1000000007`;
  const word = (salt: number) => `lower(hex(toUInt32(pow(20000, ${random(salt)}))))`;
  const time = `${first} + toIntervalDay(${day}) + toIntervalMicrosecond(toInt64(number * ${Math.floor(86_399_000_000 / rows)} + 900 * ${random(1)}))`;
  const milliseconds = 'toUnixTimestamp64Milli(at)';
  const texts = (...salts: number[]) => salts.map(word).join(", ' ', ");
  return `SELECT
      ${time} AS at,
      toUUID(concat(substring(leftPad(hex(${milliseconds}), 12, '0'), 1, 8), '-', substring(leftPad(hex(${milliseconds}), 12, '0'), 9, 4), '-7', right(leftPad(hex(number % 4096), 4, '0'), 3), '-9f3e-5d2c8a417be6')) AS event_id,
      concat('actor', toString(toUInt32(pow(5000, ${random(2)})))) AS actor_id,
      concat('session', toString(cityHash64(actor_id, intDiv(number, 20000)) % 100000)) AS session_id,
      concat('server', toString(toUInt32(pow(8, ${random(3)})))) AS server_name,
      number % 5003 = 11 AS lists,
      if(lists, '', concat(server_name, '_tool', toString(toUInt32(pow(25, ${random(4)}))))) AS tool_name,
      if(${random(5)} < 0.04, 'tool_error', 'success') AS outcome,
      toDecimal64(exp(1 + 4 * ${random(6)}), 3) AS duration_ms,
      if(lists, 'tools/list', 'tools/call') AS method,
      concat('client', toString(toUInt32(pow(9, ${random(15)})))) AS client_name,
      server_name AS producer_id,
      number + 1 AS producer_sequence,
      concat('{"path":"/srv/', ${word(7)}, '/', ${word(8)}, '","query":"', ${texts(9, 10)}, if(number % 300007 = 17, ' rareneedle', ''), '"}') AS arguments,
      if(lists,
         concat('{"tools":[', arrayStringConcat(arrayMap(n -> concat('{"name":"', server_name, '_tool', toString(n), '","inputSchema":{"type":"object"}}'), range(26)), ','), ']}'),
         concat('{"content":[{"type":"text","text":"', ${texts(11, 12, 13, 14)}, '"}]}')) AS result
    FROM numbers(${rows})`;
}

/** Fills `calls` with so many events of `days` days, a day in one block and each day one part in the end. */
export async function fillCalls(
  store: Engine,
  events: number,
  first: string,
  afterDay: (day: number, settings: string) => Promise<void> = async () => {},
): Promise<void> {
  const rows = Math.floor(events / days);
  const settings = `SETTINGS max_threads = 1, max_insert_threads = 1, min_insert_block_size_rows = ${rows}, max_block_size = ${rows}`;
  for (let day = 0; day < days; day++) {
    await store.execute(
      `INSERT INTO calls (occurred_at, recorded_at, tenant, stream_offset, ${columns}) SELECT at, at, 'default', ${day * rows} + rowNumberInAllBlocks(), ${columns} FROM (${generated(first, day, rows)}) ${settings}`,
    );
    await afterDay(day, settings);
    if (process.stderr.isTTY) process.stderr.write(`\rloaded day ${day + 1} of ${days}`);
  }
  await store.execute('OPTIMIZE TABLE calls FINAL SETTINGS optimize_skip_merged_partitions = 1');
  if (process.stderr.isTTY) process.stderr.write('\r\u001b[K');
}

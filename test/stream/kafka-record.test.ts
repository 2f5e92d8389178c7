import type { KafkaMessage } from 'kafkajs';
import { expect, test } from 'vitest';
import { KafkaRecordDecoder } from '../../services/stream/kafka-record.js';

/** A message as kafkajs makes it: views of the memory of its batch. */
function message(key: string | null, value: string | null, headers?: KafkaMessage['headers']): KafkaMessage {
  const memory = Buffer.from(`..${key ?? ''}|${value ?? ''}..`);
  const keyBytes = Buffer.byteLength(key ?? '');
  return {
    key: key === null ? null : memory.subarray(2, 2 + keyBytes),
    value: value === null ? null : memory.subarray(3 + keyBytes, memory.length - 2),
    timestamp: '1',
    attributes: 0,
    offset: '17',
    ...(headers === undefined ? {} : { headers }),
  } as KafkaMessage;
}

test('a record has the key, value, headers and offset of its message', () => {
  const record = new KafkaRecordDecoder().recordOf(
    message('schlüssel', '{"a":"ü"}', { tenant: Buffer.from('eins') }),
    5,
  );
  const { key, value, headers, offset, timestamp } = record;
  expect({ key, value: value.toString(), headers, offset, timestamp }).toEqual({
    key: 'schlüssel',
    value: '{"a":"ü"}',
    headers: { tenant: 'eins' },
    offset: 17,
    timestamp: 5,
  });
});

test.each([
  ['no key', null, 'v'],
  ['an empty key', '', 'v'],
  ['a tombstone', 'k', null],
  ['neither', null, null],
])('%s is empty text or no bytes', (_name, key, value) => {
  const record = new KafkaRecordDecoder().recordOf(message(key, value), 5);
  expect([record.key, record.value.toString(), record.headers]).toEqual([key ?? '', value ?? '', {}]);
});

test('key and value in different memory are taken too', () => {
  const apart = { ...message('k', 'v'), key: Buffer.from(new Uint8Array([107]).buffer) };
  const record = new KafkaRecordDecoder().recordOf(apart, 5);
  expect([record.key, record.value.toString()]).toEqual(['k', 'v']);
});

test('equal headers that follow one another are one object, and others are never taken for them', () => {
  const decoder = new KafkaRecordDecoder();
  const of = (headers?: KafkaMessage['headers']) => decoder.recordOf(message('k', 'v', headers), 5).headers;
  const eins = of({ tenant: Buffer.from('eins'), producer_key: Buffer.from('') });
  expect(of({ tenant: Buffer.from('eins'), producer_key: Buffer.from('') })).toBe(eins);
  expect(of({ tenant: Buffer.from('zwei'), producer_key: Buffer.from('') })).toEqual({
    tenant: 'zwei',
    producer_key: '',
  });
  expect(of({ tenant: Buffer.from('zwei') })).toEqual({ tenant: 'zwei' });
  expect(of({ tenant: Buffer.from('zwei'), other: Buffer.from('x') })).toEqual({ tenant: 'zwei', other: 'x' });
  expect(of({ other: Buffer.from('x'), tenant: Buffer.from('zwei') })).toEqual({ tenant: 'zwei', other: 'x' });
  expect(of({})).toEqual({});
  expect(of()).toEqual({});
  // The last of several counts, and they are compared anew each time.
  expect(of({ tenant: [Buffer.from('a'), Buffer.from('b')] })).toEqual({ tenant: 'b' });
  expect(of({ tenant: [Buffer.from('a'), Buffer.from('c')] })).toEqual({ tenant: 'c' });
  expect(of({ tenant: 'text' as unknown as Buffer })).toEqual({ tenant: 'text' });
});

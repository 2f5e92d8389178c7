import { promisify } from 'node:util';
import { gunzip, gzip } from 'node:zlib';
import { Decoder, Encoder } from '@toondepauw/node-zstd';
import kafkajs from 'kafkajs';

const { CompressionCodecs, CompressionTypes } = kafkajs;

export type KafkaCompression = 'none' | 'gzip' | 'zstd';

export const compressionTypes: Readonly<Record<KafkaCompression, number>> = {
  none: CompressionTypes.None,
  gzip: CompressionTypes.GZIP,
  zstd: CompressionTypes.ZSTD,
};

/** A producer's batch is below 1 MiB raw or one record; 64 MiB is far above both and far below the heap. */
const maxBatchBytes = 64 * 1024 * 1024;
/** zstd's default level, the best of size for speed in the measurement of test/bench/kafka-disk.ts. */
const zstdLevel = 3;

/**
 * Smaller ones take below 0.2 ms, less than it takes to come back from a thread that does it; a signal goes through six
 * of them.
 */
const atOnceBytes = 32 * 1024;

/** Registers the codecs with kafkajs, whose consumer crashes for good on a batch in a codec it does not know. */
export function registerCodecs(): void {
  const encoder = new Encoder(zstdLevel);
  const decoder = new Decoder();
  CompressionCodecs[CompressionTypes.ZSTD] = () => ({
    compress: async ({ buffer }: { buffer: Buffer }) =>
      buffer.length <= atOnceBytes ? encoder.encodeSync(buffer) : encoder.encode(buffer),
    decompress: async (buffer: Buffer) =>
      buffer.length <= atOnceBytes ? decoder.decodeSync(buffer) : decoder.decode(buffer),
  });
  CompressionCodecs[CompressionTypes.GZIP] = () => ({
    compress: ({ buffer }: { buffer: Buffer }) => promisify(gzip)(buffer),
    decompress: (buffer: Buffer) =>
      promisify<Buffer, object, Buffer>(gunzip)(buffer, { maxOutputLength: maxBatchBytes }),
  });
}

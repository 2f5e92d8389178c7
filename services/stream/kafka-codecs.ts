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

/** Registers the codecs with kafkajs, whose consumer crashes for good on a batch in a codec it does not know. */
export function registerCodecs(): void {
  const encoder = new Encoder(zstdLevel);
  const decoder = new Decoder();
  CompressionCodecs[CompressionTypes.ZSTD] = () => ({
    compress: ({ buffer }: { buffer: Buffer }) => encoder.encode(buffer),
    decompress: (buffer: Buffer) => decoder.decode(buffer),
  });
  CompressionCodecs[CompressionTypes.GZIP] = () => ({
    compress: ({ buffer }: { buffer: Buffer }) => promisify(gzip)(buffer),
    decompress: (buffer: Buffer) =>
      promisify<Buffer, object, Buffer>(gunzip)(buffer, { maxOutputLength: maxBatchBytes }),
  });
}

/**
 * Murmur2 as Kafka's default partitioner computes it, so that a key stays with its neighbours when a stream moves to
 * Kafka (apache/kafka, clients/src/main/java/org/apache/kafka/common/utils/Utils.java). Signed 32 bits.
 */
export function murmur2(bytes: Uint8Array): number {
  const multiplier = 0x5bd1e995;
  const length = bytes.length;
  let hash = 0x9747b28c ^ length;
  const whole = length - (length % 4);
  for (let at = 0; at < whole; at += 4) {
    let word = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
    word = Math.imul(word, multiplier);
    word ^= word >>> 24;
    hash = Math.imul(hash, multiplier) ^ Math.imul(word, multiplier);
  }
  if (whole < length) {
    for (let at = length - 1; at >= whole; at--) hash ^= bytes[at]! << (8 * (at - whole));
    hash = Math.imul(hash, multiplier);
  }
  hash ^= hash >>> 13;
  hash = Math.imul(hash, multiplier);
  return hash ^ (hash >>> 15);
}

/** The partition of a key that is not empty. */
export function partitionOfKey(key: string, partitions: number): number {
  return partitions === 1 ? 0 : (murmur2(Buffer.from(key, 'utf8')) & 0x7fffffff) % partitions;
}

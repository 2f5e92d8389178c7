/**
 * CityHash128 as of version 1.0.2, the checksum of ClickHouse's compressed blocks: https://github.com/google/cityhash.
 * Later versions answer otherwise.
 */
const k0 = 0xc3a5c85c97cb3127n;
const k1 = 0xb492b66fbe98f273n;
const k2 = 0x9ae16a3b2f90404fn;
const k3 = 0xc949d7c7509e6557n;
const factor = 0x9ddfea08eb382d69n;

const u64 = (value: bigint): bigint => BigInt.asUintN(64, value);
const rotated = (value: bigint, by: bigint): bigint => (by === 0n ? value : u64((value >> by) | (value << (64n - by))));
const mixed = (value: bigint): bigint => value ^ (value >> 47n);

function join(u: bigint, v: bigint): bigint {
  const a = mixed(u64((u ^ v) * factor));
  return u64(mixed(u64((v ^ a) * factor)) * factor);
}

type Pair = [low: bigint, high: bigint];

/** The hash of the bytes, written as two little-endian numbers, the low one first, at `at` in `into`. */
export function writeCityHash128(bytes: Uint8Array, into: DataView, at: number): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const { length } = bytes;
  const word = (offset: number) => view.getBigUint64(offset, true);
  let hash: Pair;
  if (length >= 16) hash = hashFrom(view, 16, [word(0) ^ k3, word(8)]);
  else if (length >= 8) hash = hashFrom(view, length, [word(0) ^ u64(BigInt(length) * k0), word(length - 8) ^ k1]);
  else hash = hashFrom(view, 0, [k0, k1]);
  into.setBigUint64(at, hash[0], true);
  into.setBigUint64(at + 8, hash[1], true);
}

/** The hash of what begins at `start`. */
function hashFrom(view: DataView, start: number, seed: Pair): Pair {
  const length = view.byteLength - start;
  return length < 128 ? hashShort(view, start, length, seed) : hashLong(view, start, length, seed);
}

function hashShort(view: DataView, start: number, length: number, [first, second]: Pair): Pair {
  const word = (offset: number) => view.getBigUint64(offset, true);
  let a = first;
  let b = second;
  let c: bigint;
  let d: bigint;
  if (length <= 16) {
    a = u64(mixed(u64(a * k1)) * k1);
    c = u64(b * k1 + hashTiny(view, start, length));
    d = mixed(u64(a + (length >= 8 ? word(start) : c)));
  } else {
    const end = start + length;
    c = join(u64(word(end - 8) + k1), a);
    d = join(u64(b + BigInt(length)), u64(c + word(end - 16)));
    a = u64(a + d);
    for (let at = start; at < end - 16; at += 16) {
      a = u64((a ^ u64(mixed(u64(word(at) * k1)) * k1)) * k1);
      b ^= a;
      c = u64((c ^ u64(mixed(u64(word(at + 8) * k1)) * k1)) * k1);
      d ^= c;
    }
  }
  a = join(a, c);
  b = join(d, b);
  return [a ^ b, join(b, a)];
}

function hashTiny(view: DataView, start: number, length: number): bigint {
  const size = BigInt(length);
  const end = start + length;
  if (length > 8) {
    const last = view.getBigUint64(end - 8, true);
    return join(view.getBigUint64(start, true), rotated(u64(last + size), size)) ^ last;
  }
  if (length >= 4) {
    const first = BigInt(view.getUint32(start, true));
    return join(size + (first << 3n), BigInt(view.getUint32(end - 4, true)));
  }
  if (length === 0) return k2;
  const y = BigInt(view.getUint8(start) + (view.getUint8(start + (length >> 1)) << 8));
  const z = BigInt(length + (view.getUint8(end - 1) << 2));
  return u64(mixed(u64(y * k2) ^ u64(z * k3)) * k2);
}

/** Of 32 bytes, with two seeds. */
function weak(view: DataView, at: number, first: bigint, second: bigint): Pair {
  const word = (offset: number) => view.getBigUint64(at + offset, true);
  const begun = u64(first + word(0));
  const last = word(24);
  const sum = u64(begun + word(8) + word(16));
  const b = u64(rotated(u64(second + begun + last), 21n) + rotated(sum, 44n));
  return [u64(sum + last), u64(b + begun)];
}

function hashLong(view: DataView, start: number, length: number, seed: Pair): Pair {
  const word = (offset: number) => view.getBigUint64(offset, true);
  let [x, y] = seed;
  let z = u64(BigInt(length) * k1);
  let v: Pair = [u64(rotated(y ^ k1, 49n) * k1 + word(start)), 0n];
  v[1] = u64(rotated(v[0], 42n) * k1 + word(start + 8));
  let w: Pair = [u64(rotated(u64(y + z), 35n) * k1 + x), u64(rotated(u64(x + word(start + 88)), 53n) * k1)];
  let at = start;
  let left = length;
  for (; left >= 128; left -= 128) {
    for (let half = 0; half < 2; half++, at += 64) {
      x = u64(rotated(u64(x + y + v[0] + word(at + 16)), 37n) * k1) ^ w[1];
      y = u64(rotated(u64(y + v[1] + word(at + 48)), 42n) * k1) ^ v[0];
      z = rotated(z ^ w[0], 33n);
      v = weak(view, at, u64(v[1] * k1), u64(x + w[0]));
      w = weak(view, at + 32, u64(z + w[1]), y);
      [z, x] = [x, z];
    }
  }
  y = u64(y + rotated(w[0], 37n) * k0 + z);
  x = u64(x + rotated(u64(v[0] + z), 49n) * k0);
  // The tail is read from its end in pieces of 32 bytes, the last of which may reach back before it.
  for (let done = 32; done < left + 32; done += 32) {
    const piece = at + left - done;
    y = u64(rotated(u64(y - x), 42n) * k0 + v[1]);
    w = [u64(w[0] + word(piece + 16)), w[1]];
    x = u64(rotated(x, 49n) * k0 + w[0]);
    w = [u64(w[0] + v[0]), w[1]];
    v = weak(view, piece, v[0], v[1]);
  }
  x = join(x, v[0]);
  y = join(y, w[0]);
  return [u64(join(u64(x + v[1]), w[1]) + y), join(u64(x + w[1]), u64(y + v[1]))];
}

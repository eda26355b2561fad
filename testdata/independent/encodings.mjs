// Chapters 2, 3 and 5 of the specification: records, contexts, framed files, padding.
import { fileURLToPath } from "node:url";
import path from "node:path";
import protobuf from "protobufjs";
import { Mismatch, concat, demand, hash, integer, text } from "./primitives.mjs";

// 2. Records

const schemas = fileURLToPath(new URL("../../proto", import.meta.url));
const root = new protobuf.Root();
root.resolvePath = (_, target) => path.join(schemas, target);
root.loadSync(["entry", "home", "secret", "slot"].map((name) => `zeropass/record/v1/${name}.proto`));
root.resolveAll();

/** Reads a record strictly. Integers are numbers, absent messages null. */
export function read(name, bytes, what) {
  const type = root.lookupType(`zeropass.record.v1.${name}`);
  try {
    check(type, bytes);
  } catch (error) {
    throw error instanceof Mismatch ? new Mismatch(`${what}: ${error.message}`) : error;
  }
  return type.toObject(type.decode(bytes), { longs: Number, defaults: true, arrays: true, oneofs: true });
}

/** The JSON form of a record, as protobuf defines it. */
export function json(name, bytes) {
  const type = root.lookupType(`zeropass.record.v1.${name}`);
  return type.toObject(type.decode(bytes), { longs: String, enums: String, bytes: String, json: true });
}

const varintTypes = new Set(["bool", "int64", "uint64", "uint32", "int32"]);

/** Refuses what is not the one admitted encoding of the message. */
function check(type, bytes) {
  const at = { bytes, position: 0 };
  const members = new Set();
  let last = 0;
  while (at.position < bytes.length) {
    const tag = varint(at);
    const id = Number(tag >> 3n);
    const field = type.fieldsById[id];
    demand(field, `${type.name} has an unknown field ${id}: a newer program wrote it`);
    const where = `${type.name}.${field.name}`;
    demand(id > last || (id === last && field.repeated), `${where} is out of order or stands twice`);
    last = id;
    if (field.partOf) {
      demand(!members.has(field.partOf), `${where} is a second member of a oneof`);
      members.add(field.partOf);
    }
    checkField(field, Number(tag & 7n), at, where);
  }
}

function checkField(field, wireType, at, where) {
  const isEnum = field.resolvedType instanceof protobuf.Enum;
  if (isEnum || varintTypes.has(field.type)) {
    demand(!field.repeated && wireType === 0, `${where} has a wrong wire type`);
    const value = varint(at);
    demand(value !== 0n || field.partOf, `${where} is a default that is written out`);
    if (isEnum) demand(field.resolvedType.valuesById[Number(value)] !== undefined, `${where} has an unknown value: a newer program wrote it`);
    if (field.type === "bool") demand(value === 1n, `${where} is no bool`);
    return;
  }
  demand(wireType === 2, `${where} has a wrong wire type`);
  const length = Number(varint(at));
  demand(length <= at.bytes.length - at.position, `${where} ends too early`);
  const value = at.bytes.subarray(at.position, at.position + length);
  at.position += length;
  if (field.resolvedType) return check(field.resolvedType, value);
  demand(length > 0 || field.repeated || field.partOf, `${where} is a default that is written out`);
  if (field.type === "string") demand(Buffer.from(Buffer.from(value).toString("utf8")).equals(value), `${where} is not UTF-8`);
}

/** Reads a varint, which must be as short as possible. */
function varint(at) {
  let value = 0n;
  for (let shift = 0n; ; shift += 7n) {
    demand(at.position < at.bytes.length && shift < 70n, "a varint ends too early or too late");
    const byte = at.bytes[at.position++];
    value |= BigInt(byte & 0x7f) << shift;
    if (byte >= 0x80) continue;
    demand((byte > 0 || shift === 0n) && value < 1n << 64n, "a varint is not the shortest");
    return value;
  }
}

// 2. Contexts

/** A context. Parts are integers, texts and bytes. */
export function context(kind, ...parts) {
  const encoded = parts.map((part) => {
    const bytes = typeof part === "number" ? integer(part, 8) : typeof part === "string" ? text(part) : part;
    return concat(integer(bytes.length, 4), bytes);
  });
  return concat(text(`zeropass/v1/${kind}`), integer(0, 1), ...encoded);
}

/** The hash of a kind. */
export const contextHash = (kind, ...parts) => hash(context(kind, ...parts));

// 3.2 Ciphertexts

/** The context of a ciphertext; what is left out is 0 or empty. */
export function place(kind, { account = "", epoch = 0, object = "", version = 0, role, sender = "", recipient = "" }) {
  return context(kind, 1, account, epoch, object, version, role, sender, recipient);
}

// 5. Padding

/** The record in padded bytes. */
export function unpad(padded, what) {
  let end = padded.length;
  while (end > 0 && padded[end - 1] === 0) end--;
  demand(end > 0 && padded[end - 1] === 0x80 && padded.length === paddedSize(end - 1), `${what} is padded wrongly`);
  return padded.subarray(0, end - 1);
}

/** Padmé of the length and one more, at least 64. */
function paddedSize(length) {
  const l = length + 1;
  if (l <= 64) return 64;
  const e = Math.floor(Math.log2(l));
  const s = Math.floor(Math.log2(e)) + 1;
  const step = 2 ** (e - s);
  return Math.ceil(l / step) * step;
}

// 2. Framed files

const castagnoli = Array.from({ length: 256 }, (_, n) => {
  for (let bit = 0; bit < 8; bit++) n = n & 1 ? (n >>> 1) ^ 0x82f63b78 : n >>> 1;
  return n >>> 0;
});

function checksum(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = castagnoli[(crc ^ byte) & 0xff] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

/** The payloads of a framed file. What is no frame at its end was cut short. */
export function frames(name, bytes) {
  const magic = `zeropass/v1/${name}\n`;
  demand(bytes.subarray(0, magic.length).equals(Buffer.from(magic)), `the file ${name} does not start as it must`);
  const payloads = [];
  for (let at = magic.length; at < bytes.length; ) {
    const payload = frameAt(bytes, at);
    if (!payload) {
      for (let next = at + 1; next < bytes.length; next++) {
        demand(!frameAt(bytes, next), `the file ${name} is damaged at byte ${at}`);
      }
      break;
    }
    payloads.push(payload);
    at += 8 + payload.length;
  }
  return payloads;
}

function frameAt(bytes, at) {
  if (bytes.length - at < 8) return null;
  const length = bytes.readUInt32BE(at);
  if (length === 0 || length > 2 ** 26 || length > bytes.length - at - 8) return null;
  const payload = bytes.subarray(at + 8, at + 8 + length);
  return checksum(payload) === bytes.readUInt32BE(at + 4) ? payload : null;
}

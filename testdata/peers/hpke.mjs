// HPKE (RFC 9180), base mode, single-shot, with DHKEM(secp256k1, HKDF-SHA256)
// 0x0016, HKDF-SHA256 0x0001 and AES-256-GCM 0x0002, for the tests of package
// hpke. It is written from the RFC alone, on the curve, hash and cipher of the
// @noble packages.
//
// stdin:  {"derive": [ikm, ...],
//          "seal":   [{"to", "ikm", "info", "aad", "plaintext"}, ...],
//          "open":   [{"key", "info", "aad", "sealed"}, ...]}
// stdout: {"derive": [{"key", "public"}, ...],
//          "seal":   [sealed, ...],
//          "open":   [plaintext, or null if it does not open, ...]}
//
// Bytes are hexadecimal; public keys are compressed, as records hold them; ikm of
// a seal is the ephemeral key's.
import { readFileSync } from "node:fs";
import { gcm } from "@noble/ciphers/aes.js";
import { secp256k1 } from "@noble/curves/secp256k1.js";
import { expand, extract } from "@noble/hashes/hkdf.js";
import { sha256 } from "@noble/hashes/sha2.js";

const fromHex = (s) => new Uint8Array(Buffer.from(s, "hex"));
const toHex = (b) => Buffer.from(b).toString("hex");
const text = (s) => new TextEncoder().encode(s);
const concat = (...parts) => new Uint8Array(Buffer.concat(parts));
const uint16 = (n) => new Uint8Array([n >> 8, n & 0xff]);
const empty = new Uint8Array(0);

const Nsk = 32, Nsecret = 32, Npk = 65, Nk = 32, Nn = 12;
const order = secp256k1.Point.Fn.ORDER;
const kemSuite = concat(text("KEM"), uint16(0x0016));
const hpkeSuite = concat(text("HPKE"), uint16(0x0016), uint16(0x0001), uint16(0x0002));

// RFC 9180 section 4
const labeledExtract = (suite, salt, label, ikm) =>
  extract(sha256, concat(text("HPKE-v1"), suite, text(label), ikm), salt);
const labeledExpand = (suite, prk, label, info, length) =>
  expand(sha256, prk, concat(uint16(length), text("HPKE-v1"), suite, text(label), info), length);

// Section 7.1.3
function deriveKeyPair(ikm) {
  const prk = labeledExtract(kemSuite, empty, "dkp_prk", ikm);
  for (let counter = 0; counter < 256; counter++) {
    const key = labeledExpand(kemSuite, prk, "candidate", new Uint8Array([counter]), Nsk);
    const scalar = BigInt("0x" + toHex(key));
    if (scalar > 0n && scalar < order) return { key, public: serialize(key) };
  }
  throw new Error("DeriveKeyPairError");
}

const serialize = (key) => secp256k1.getPublicKey(key, false);
const uncompressed = (point) => secp256k1.Point.fromBytes(point).toBytes(false);
const dh = (key, point) => secp256k1.getSharedSecret(key, point, true).slice(1);

// Section 4.1
function extractAndExpand(shared, kemContext) {
  const prk = labeledExtract(kemSuite, empty, "eae_prk", shared);
  return labeledExpand(kemSuite, prk, "shared_secret", kemContext, Nsecret);
}

// Section 5.1, with empty psk and psk_id
function keySchedule(sharedSecret, info) {
  const context = concat(
    new Uint8Array([0x00]),
    labeledExtract(hpkeSuite, empty, "psk_id_hash", empty),
    labeledExtract(hpkeSuite, empty, "info_hash", info),
  );
  const secret = labeledExtract(hpkeSuite, sharedSecret, "secret", empty);
  return {
    key: labeledExpand(hpkeSuite, secret, "key", context, Nk),
    nonce: labeledExpand(hpkeSuite, secret, "base_nonce", context, Nn),
  };
}

function seal({ to, ikm, info, aad, plaintext }) {
  const ephemeral = deriveKeyPair(fromHex(ikm));
  const recipient = uncompressed(fromHex(to));
  const enc = ephemeral.public;
  const shared = extractAndExpand(dh(ephemeral.key, recipient), concat(enc, recipient));
  const { key, nonce } = keySchedule(shared, fromHex(info));
  return toHex(concat(enc, gcm(key, nonce, fromHex(aad)).encrypt(fromHex(plaintext))));
}

function open({ key: recipient, info, aad, sealed }) {
  const bytes = fromHex(sealed);
  const enc = bytes.slice(0, Npk);
  try {
    const shared = extractAndExpand(dh(fromHex(recipient), enc), concat(enc, serialize(fromHex(recipient))));
    const { key, nonce } = keySchedule(shared, fromHex(info));
    return toHex(gcm(key, nonce, fromHex(aad)).decrypt(bytes.slice(Npk)));
  } catch {
    return null;
  }
}

const request = JSON.parse(readFileSync(0, "utf8"));
process.stdout.write(JSON.stringify({
  derive: request.derive.map((ikm) => {
    const pair = deriveKeyPair(fromHex(ikm));
    return { key: toHex(pair.key), public: toHex(secp256k1.getPublicKey(pair.key, true)) };
  }),
  seal: request.seal.map(seal),
  open: request.open.map(open),
}));

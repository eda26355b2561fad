// Chapter 1 of the specification: primitives. The curve, hashes and ciphers are
// those of the @noble packages; HPKE, Shamir's combination and BIP32 are
// written here, on top of them.
import { gcm } from "@noble/ciphers/aes.js";
import { secp256k1 } from "@noble/curves/secp256k1.js";
import { expand, extract, hkdf } from "@noble/hashes/hkdf.js";
import { hmac } from "@noble/hashes/hmac.js";
import { sha256, sha512 } from "@noble/hashes/sha2.js";

/** Something is not as the specification says. The message says what. */
export class Mismatch extends Error {}

export function demand(condition, message) {
  if (!condition) throw new Mismatch(message);
}

export const concat = (...parts) => new Uint8Array(Buffer.concat(parts));
export const text = (s) => new TextEncoder().encode(s);
export const hex = (bytes) => Buffer.from(bytes).toString("hex");
export const same = (a, b) => Buffer.compare(a, b) === 0;
export const hash = sha256;

/** An integer, big-endian, in so many bytes. */
export const integer = (n, size) => new Uint8Array(Buffer.from(n.toString(16).padStart(2 * size, "0"), "hex"));

const none = new Uint8Array(0);
const order = secp256k1.Point.Fn.ORDER;
const number = (bytes) => BigInt("0x" + hex(bytes));

export const publicKey = (privateKey) => secp256k1.getPublicKey(privateKey, true);

/** Whether the key signed the context. */
export function verifies(key, context, signature) {
  if (signature.length !== 64) return false;
  return secp256k1.verify(signature, sha256(context), key, { prehash: false, lowS: true, format: "compact" });
}

export const mac = (key, ...parts) => hmac(sha256, key, concat(...parts));

/** Key derivation: 32 bytes. */
export const derive = (secret, info) => hkdf(sha256, secret, undefined, info, 32);

/** A derived signing key: the first result that is a private key. */
export function deriveSigningKey(secret, context) {
  for (let counter = 0; counter < 256; counter++) {
    const key = derive(secret, concat(context, integer(counter, 1)));
    if (number(key) > 0n && number(key) < order) return key;
  }
  throw new Mismatch("no signing key can be derived");
}

/** Opens nonce ‖ ciphertext ‖ tag. */
export function openSymmetric(key, context, sealed, what) {
  try {
    return gcm(key, sealed.subarray(0, 12), context).decrypt(sealed.subarray(12));
  } catch {
    throw new Mismatch(`${what} does not open`);
  }
}

// RFC 9180, section 4: labels. KEM 0x0016, KDF 0x0001, AEAD 0x0002.
const kem = concat(text("KEM"), integer(0x0016, 2));
const suite = concat(text("HPKE"), integer(0x0016, 2), integer(0x0001, 2), integer(0x0002, 2));
const labeledExtract = (id, salt, label, ikm) => extract(sha256, concat(text("HPKE-v1"), id, text(label), ikm), salt);
const labeledExpand = (id, key, label, info, length) =>
  expand(sha256, key, concat(integer(length, 2), text("HPKE-v1"), id, text(label), info), length);

/** Opens enc ‖ ciphertext ‖ tag: RFC 9180, section 6.1, OpenBase. */
export function openSealed(privateKey, context, sealed, what) {
  try {
    const enc = sealed.subarray(0, 65);
    // Section 4.1, Decap; draft-wahby: the shared point is its x coordinate.
    const point = secp256k1.getSharedSecret(privateKey, enc, true).slice(1);
    const both = concat(enc, secp256k1.getPublicKey(privateKey, false));
    const shared = labeledExpand(kem, labeledExtract(kem, none, "eae_prk", point), "shared_secret", both, 32);
    // Section 5.1, KeySchedule in mode 0, without psk.
    const schedule = concat(
      integer(0, 1),
      labeledExtract(suite, none, "psk_id_hash", none),
      labeledExtract(suite, none, "info_hash", context),
    );
    const secret = labeledExtract(suite, shared, "secret", none);
    const key = labeledExpand(suite, secret, "key", schedule, 32);
    const nonce = labeledExpand(suite, secret, "base_nonce", schedule, 12);
    return gcm(key, nonce).decrypt(sealed.subarray(65));
  } catch {
    throw new Mismatch(`${what} does not open`);
  }
}

/** Multiplication in GF(2^8) modulo 0x11b. */
function multiply(a, b) {
  let product = 0;
  for (; b > 0; b >>= 1) {
    if (b & 1) product ^= a;
    a = (a << 1) ^ (a & 0x80 ? 0x11b : 0);
  }
  return product;
}

/** What Shamir's shares at x = 1 and x = 3, y ‖ x, give at x = 0. */
export function combine(device, backup) {
  demand(device.length === backup.length && device.at(-1) === 1 && backup.at(-1) === 3, "two shares do not belong together");
  // The coefficients of Lagrange are 3/(1+3) and 1/(1+3).
  return device.subarray(0, -1).map((y, i) => multiply(0x8c, y) ^ multiply(0x8d, backup[i]));
}

/** An extended private key of BIP32. */
export class ExtendedKey {
  constructor(privateKey, chainCode) {
    demand(number(privateKey) > 0n && number(privateKey) < order, "the seed has no keys");
    this.privateKey = privateKey;
    this.chainCode = chainCode;
  }

  static fromSeed(seed) {
    const bytes = sha512(seed);
    return new ExtendedKey(bytes.subarray(0, 32), bytes.subarray(32));
  }

  get publicKey() {
    return publicKey(this.privateKey);
  }

  /** CKDpriv. Hardened indices start at 2^31. */
  child(index) {
    const parent = index >= 2 ** 31 ? concat(integer(0, 1), this.privateKey) : this.publicKey;
    const bytes = hmac(sha512, this.chainCode, concat(parent, integer(index, 4)));
    const tweak = number(bytes.subarray(0, 32));
    demand(tweak < order, `there is no child ${index}`);
    return new ExtendedKey(integer((tweak + number(this.privateKey)) % order, 32), bytes.subarray(32));
  }
}

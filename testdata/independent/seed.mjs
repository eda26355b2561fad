// Chapter 4 of the specification: shares of the seed, and its keys.
import slip39 from "slip39";
import { WORD_LIST } from "slip39/src/slip39_helper.js";
import { ExtendedKey, Mismatch, demand, deriveSigningKey, openSealed, publicKey, same } from "./primitives.mjs";
import { context, place } from "./encodings.mjs";

const hardened = 2 ** 31;
const shareWords = 59;

/** A SLIP-39 share of a seed. */
export class Share {
  constructor(words) {
    demand(words.length === shareWords, `a share has ${shareWords} words, not ${words.length}`);
    words.forEach((word, i) => demand(WORD_LIST.includes(word), `word ${i + 1} of a share is not in SLIP-39's list`));
    this.mnemonic = words.join(" ");
    demand(slip39.validateMnemonic(this.mnemonic), "a word of a share is wrong: its checksum does not fit");
    let bits = BigInt("0b" + words.map((word) => WORD_LIST.indexOf(word).toString(2).padStart(10, "0")).join(""));
    const take = (n) => {
      const value = bits & ((1n << BigInt(n)) - 1n);
      bits >>= BigInt(n);
      return value;
    };
    take(30); // checksum, which the library compared
    this.value = Buffer.from(take(512).toString(16).padStart(128, "0"), "hex");
    const padding = take(8);
    const rest = [4, 4, 4, 4, 4, 4, 1, 15].map((n) => Number(take(n)));
    [this.memberThreshold, this.member, this.groupCount, this.groupThreshold, this.group] = rest;
    [this.exponent, this.extendable, this.identifier] = rest.slice(5);
    this.memberThreshold++, this.groupCount++, this.groupThreshold++;
    demand(padding === 0n && this.extendable === 1 && this.exponent === 0 && this.groupThreshold === 2, "a share is not of a seed of ours");
  }

  /** Reads words as people type them. */
  static parse(typed) {
    const words = typed.split(/\s+/).map((word) => word.replace(/^[^\p{L}]+|[^\p{L}]+$/gu, "").toLowerCase());
    return new Share(words.filter((word) => word !== ""));
  }

  /** Reads a binary share: the words' bits, filled to whole bytes. */
  static fromBinary(bytes) {
    demand(bytes.length === 74 && (bytes[73] & 3) === 0, "a binary share of a seed has 74 bytes and ends with two zero bits");
    const bits = [...bytes].map((byte) => byte.toString(2).padStart(8, "0")).join("");
    return new Share(Array.from({ length: shareWords }, (_, i) => WORD_LIST[parseInt(bits.slice(10 * i, 10 * i + 10), 2)]));
  }

  /** The public share key of a contact's share in an epoch. */
  shareKey(account, epoch) {
    return publicKey(deriveSigningKey(this.value, context("share-key", account, epoch, this.member + 1)));
  }
}

/** The private keys of an epoch. */
export class Keys {
  constructor(seed) {
    const master = ExtendedKey.fromSeed(seed);
    this.root = master.child(hardened + 0);
    this.branch = master.child(hardened + 1);
    this.devices = new Map();
  }

  /** Combines exactly enough shares, and compares with the root key. */
  static combine(shares, rootKey) {
    let seed;
    try {
      seed = new Uint8Array(slip39.recoverSecret(shares.map((share) => share.mnemonic), ""));
    } catch (error) {
      throw new Mismatch(`the shares do not make a seed: ${error.message}`);
    }
    const keys = new Keys(seed);
    demand(same(keys.root.publicKey, rootKey), "the shares make another seed than the epoch's: one of them is wrong");
    return keys;
  }

  /** The slot key m/1'/device/counter, or m/1'/0/generation. */
  slotKey(device, counter) {
    if (!this.devices.has(device)) this.devices.set(device, this.branch.child(device));
    return this.devices.get(device).child(counter);
  }

  /** A generation's metadata key, from its backup. */
  metadataKey(account, epoch, { generation, publicKey, sealed, author }) {
    const what = `the metadata key of generation ${generation}`;
    const key = this.slotKey(0, generation);
    demand(same(key.publicKey, publicKey), `${what} is backed up to another key than m/1'/0/${generation}`);
    return openSealed(key.privateKey, place("metadata-key", {
      account,
      epoch,
      object: `generation/${generation}`,
      role: "backup",
      sender: `device/${author}`,
      recipient: `slot/0/${generation}`,
    }), sealed, what);
  }
}

// Chapter 9 of the specification: a device's directory.
import { existsSync, readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { Decrypter } from "age-encryption";
import { Mismatch, demand, derive, openSymmetric, publicKey } from "./primitives.mjs";
import { context, frames, json, read } from "./encodings.mjs";

export class Home {
  /** Opens a directory with its passphrase. It changes nothing there. */
  static async open(directory, passphrase) {
    const home = new Home();
    home.directory = directory;
    const age = new Decrypter();
    age.addPassphrase(passphrase);
    try {
      home.secret = await age.decrypt(new Uint8Array(home.file("passphrase.age")));
    } catch (error) {
      throw new Mismatch(`wrong passphrase: ${error.message}`);
    }
    demand(home.secret.length === 32, "the device secret has not 32 bytes");
    const keys = read("HomeKeys", home.sealed("keys"), "keys");
    home.sealKey = keys.sealKey;
    home.publicSealKey = publicKey(keys.sealKey);
    home.account = keys.account;
    return home;
  }

  file(name) {
    const at = path.join(this.directory, name);
    demand(existsSync(at), `the file ${name} is missing`);
    return readFileSync(at);
  }

  /** The content of a sealed file. */
  sealed(name) {
    const place = context("home", name);
    return openSymmetric(derive(this.secret, place), place, this.file(name), `the file ${name}`);
  }

  ledger() {
    return frames("ledger", this.file("ledger"));
  }

  /** Secrets that the server has not accepted. */
  pending() {
    const directory = path.join(this.directory, "pending");
    const names = existsSync(directory) ? readdirSync(directory).filter((name) => name.startsWith("s-") && !name.endsWith(".new")) : [];
    return names.sort().flatMap((name) => JSON.parse(Buffer.from(this.sealed(`pending/${name}`)).toString()).map((write) => {
      const [slot, metadata, secret] = [write.Slot, write.Metadata, write.Secret].map((b) => Buffer.from(b, "base64"));
      demand(slot.length === 16, `pending/${name} names no slot`);
      read("SlotMetadata", metadata, `pending/${name}`);
      read("Secret", secret, `pending/${name}`);
      return { slot: slot.toString("hex"), base: write.Base, metadata: json("SlotMetadata", metadata), secret: json("Secret", secret) };
    }));
  }
}

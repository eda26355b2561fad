// Speaks SLIP-39 as the npm package "slip39" does, for tests to interchange with.
//
// Reads one JSON object from standard input and writes one to standard output:
//
//   {"split":   [{"secret": hex, "passphrase": text, "extendable": bool,
//                 "exponent": number, "threshold": number,
//                 "groups": [[threshold, count], ...]}, ...],
//    "combine": [{"mnemonics": [text, ...], "passphrase": text}, ...]}
//
//   {"split":   [{"groups": [[mnemonic, ...], ...]}, ...],
//    "combine": [{"secret": hex} or {"error": text}, ...]}
import { readFileSync } from "node:fs";
import slip39 from "slip39";

function split(request) {
  const secret = [...Buffer.from(request.secret, "hex")];
  const slip = slip39.fromArray(secret, {
    passphrase: request.passphrase,
    threshold: request.threshold,
    groups: request.groups,
    iterationExponent: request.exponent,
    extendableBackupFlag: request.extendable ? 1 : 0,
  });
  return { groups: request.groups.map((_, g) => slip.fromPath(`r/${g}`).mnemonics) };
}

function combine(request) {
  try {
    const secret = slip39.recoverSecret(request.mnemonics, request.passphrase);
    return { secret: Buffer.from(secret).toString("hex") };
  } catch (error) {
    return { error: error.message };
  }
}

const requests = JSON.parse(readFileSync(0, "utf8"));
process.stdout.write(JSON.stringify({
  split: (requests.split ?? []).map(split),
  combine: (requests.combine ?? []).map(combine),
}));

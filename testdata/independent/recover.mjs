// Recovers an account without ZeroPass's programs and without its server, as
// chapter 10 of docs/specification.md says, from a device's directory, its
// passphrase and the words of a quorum of contacts, or of the printed sheet.
// It was written from the specification alone, on public libraries.
//
//   npm ci
//   node recover.mjs --home DIR --passphrase-file F --words FILE... [--output FILE]
//
// It writes JSON: the live slots in the order of their ids, with their metadata
// and secrets, the secrets that the server never accepted, and who holds shares. Anything that is not
// as the specification says ends it with status 1 and nothing written.
import { readFileSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { Home } from "./home.mjs";
import { Ledger } from "./ledger.mjs";
import { Mismatch, demand, hash, hex, openSealed, same } from "./primitives.mjs";
import { Keys, Share } from "./seed.mjs";
import { openNames } from "./contacts.mjs";
import { openSlot } from "./slots.mjs";
import { place } from "./encodings.mjs";

const groupContacts = 2, groupSheet = 3;

async function recover({ home: directory, passphrase, words }) {
  // Steps 1 and 2: device secret and keys.
  const home = await Home.open(directory, passphrase);

  // Step 3: ledger.
  const ledger = new Ledger(home.ledger());
  demand(home.account.length === 0 || same(home.account, ledger.account), "the ledger is another account's");
  const device = [...ledger.devices.values()].find(({ keys }) => same(keys.sealKey, home.publicSealKey));
  demand(device, "the ledger has no device with the directory's keys");

  // Step 4: contacts' shares.
  const shares = words.map((typed) => Share.parse(typed));
  const epoch = [...ledger.epochs.values()].reverse().find((e) => shares.every((share) => belongs(share, e, ledger.account)));
  demand(shares.length > 0 && epoch, "the words are not all of one epoch of this account");
  const enough = choose(shares, epoch.record.quorum);

  // Steps 5 and 6: device's share, seed.
  const keys = Keys.combine([deviceShare(home, ledger, epoch, device.number), ...enough], epoch.record.rootKey);

  // Steps 7 and 8: keys of the generations.
  const metadataKeys = new Map(ledger.backups.filter((b) => b.epoch === epoch.number)
    .map((backup) => [backup.generation, keys.metadataKey(ledger.account, epoch.number, backup)]));
  const deviceShareKeys = new Map(ledger.deviceShareKeys.filter((k) => k.device === device.number)
    .map((sealed) => [sealed.generation, deviceShareKey(home, ledger.account, sealed)]));

  // Steps 9 to 11: slots, secrets on the way, names of contacts.
  return {
    account: hex(ledger.account),
    epoch: epoch.number,
    slots: ledger.liveSlots().map((slot) => openSlot(ledger, slot, epoch.number, keys, metadataKeys, deviceShareKeys)),
    pending: home.pending(),
    contacts: openNames(ledger.account, epoch, metadataKeys),
  };
}

/** Whether a share is one of an epoch. A sheet's is proved by the seed alone. */
function belongs(share, { record, number }, account) {
  const groups = record.sheetKey.length > 0 ? 4 : 3;
  if (share.identifier !== record.identifier || share.groupCount !== groups) return false;
  if (share.group === groupSheet) return groups === 4 && share.member === 0 && share.memberThreshold === 1;
  const member = record.members[share.member];
  return share.group === groupContacts && share.memberThreshold === record.quorum && member !== undefined &&
    same(share.shareKey(account, number), member.shareKey);
}

/** Just enough shares: the sheet's, or those of a quorum of different contacts. */
function choose(shares, quorum) {
  const sheet = shares.find((share) => share.group === groupSheet);
  if (sheet) return [sheet];
  const members = [...new Map(shares.map((share) => [share.member, share])).values()];
  demand(members.length >= quorum, `the words of ${members.length} contacts are here, and ${quorum} are needed`);
  return members.slice(0, quorum);
}

/** Group 1's share of the epoch. */
function deviceShare(home, ledger, { number: epoch, record }, device) {
  const share = ledger.seedShares.filter((s) => s.epoch === epoch && s.device === device).at(-1);
  demand(share, `the device has no share of epoch ${epoch}`);
  const binary = openSealed(home.sealKey, place("seed-share", {
    account: ledger.account,
    epoch,
    object: "group/1",
    role: "device",
    sender: `device/${share.author}`,
    recipient: `device/${device}`,
  }), share.sealed, "the device's share of the seed");
  demand(same(hash(binary), record.deviceShareHash), "the device's share of the seed has another hash");
  return Share.fromBinary(binary);
}

function deviceShareKey(home, account, { generation, device, sealed, author }) {
  return openSealed(home.sealKey, place("device-share-key", {
    account,
    object: `generation/${generation}`,
    role: "device",
    sender: `device/${author}`,
    recipient: `device/${device}`,
  }), sealed, `the device-share key of generation ${generation}`);
}

function parse() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      home: { type: "string" },
      "passphrase-file": { type: "string" },
      words: { type: "string", multiple: true, default: [] },
      output: { type: "string" },
    },
  });
  demand(values.home && values["passphrase-file"], "usage: node recover.mjs --home DIR --passphrase-file F --words FILE... [--output FILE]");
  return {
    home: values.home,
    passphrase: readFileSync(values["passphrase-file"], "utf8").replace(/[\r\n]+$/, ""),
    words: [...values.words, ...positionals].map((file) => readFileSync(file, "utf8")),
    output: values.output,
  };
}

try {
  const options = parse();
  const recovered = JSON.stringify(await recover(options), null, 2) + "\n";
  if (options.output) writeFileSync(options.output, recovered, { mode: 0o600, flag: "wx" });
  else process.stdout.write(recovered);
} catch (error) {
  process.stderr.write(`error: ${error instanceof Mismatch ? error.message : error.stack}\n`);
  process.exitCode = 1;
}

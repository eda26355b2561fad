// Chapter 6 of the specification: the ledger, as far as a recovery depends on it.
//
// Every entry must be the next one of its chain and be signed by whom its records
// need: author, endorsers, root keys, holders of shares. When something may be
// done (waiting periods, second factors) is for those who append.
import { Mismatch, demand, hex, same, verifies } from "./primitives.mjs";
import { context, contextHash, read } from "./encodings.mjs";

const none = new Uint8Array(0);
const roleConfirm = 2, roleNewDevice = 3;
const holderServer = 2, holderMember = 3, holderSheet = 4;

export class Ledger {
  constructor(payloads) {
    this.hashes = [];
    this.time = 0;
    this.devices = new Map(); // by number: keys, status
    this.epochs = new Map(); // by number: record, author, bindings of members by number
    this.inUse = 0;
    this.prepared = 0;
    this.slots = new Map(); // by id in hex
    this.backups = []; // metadata keys, sealed to m/1'/0/generation
    this.deviceShareKeys = []; // sealed to devices
    this.seedShares = []; // group 1's, sealed to devices
    for (const payload of payloads) {
      try {
        this.append(payload);
      } catch (error) {
        throw error instanceof Mismatch ? new Mismatch(`entry ${this.hashes.length + 1} of the ledger: ${error.message}`) : error;
      }
    }
    demand(this.inUse > 0, "the ledger has no epoch");
  }

  append(bytes) {
    const signed = read("SignedEntry", bytes, "encoding");
    const entry = read("Entry", signed.entry, "encoding");
    const records = entry.records.map((record) => this.record(record));
    this.checkPlace(entry, records);
    const hash = contextHash("entry-hash", bytes);
    if (!this.account) this.account = hash;

    demand(verifies(this.authorKey(entry, records[0]), context("entry", signed.entry), signed.signature), "signature: not the author's");
    if (entry.proposal) this.checkEndorsements(entry, records);
    for (const record of records) this[record.kind](record[record.kind], entry);
    this.hashes.push(hash);
    this.time = entry.time;
  }

  /** Reads a record. One of Recovered gets its statement. */
  record(bytes) {
    const record = read("Record", bytes, "encoding");
    demand(record.version === 1 && record.suite === 1, "a newer program wrote it");
    demand(record.kind, "shape: a record of no kind");
    if (record.recovered) record.recovered.parsed = read("RecoveredStatement", record.recovered.statement, "encoding");
    return record;
  }

  checkPlace(entry, records) {
    demand(entry.sequence === this.hashes.length + 1, `sequence: it has number ${entry.sequence}`);
    demand(entry.time >= this.time, "time: earlier than the entry before");
    demand(records.length > 0, "field: no records");
    for (const { kind } of records) {
      demand((kind === "genesis") === (entry.sequence === 1), "genesis: it must be the first entry and no other");
      demand(!["genesis", "recovered"].includes(kind) || (records.length === 1 && !entry.proposal), "shape: it does not stand alone");
    }
    if (entry.sequence === 1) {
      demand(entry.account.length + entry.previous.length === 0 && entry.author === 1, "genesis: account, previous entry or another author");
      return;
    }
    demand(same(entry.account, this.account), "account: another one");
    demand(same(entry.previous, this.hashes.at(-1)), "previous: the entry before is another one");
  }

  authorKey(entry, { genesis, recovered }) {
    if (genesis) return genesis.device.signKey;
    if (recovered) {
      demand(entry.author === recovered.parsed.device, "author: not the new device");
      return recovered.parsed.keys.signKey;
    }
    return this.activeDevice(entry.author, "author").keys.signKey;
  }

  activeDevice(number, rule) {
    const device = this.devices.get(number);
    demand(device?.status === "active", `${rule}: device ${number} is not active`);
    return device;
  }

  checkEndorsements(entry, records) {
    const { proposal } = entry;
    demand(same(this.hashes[proposal.baseSequence - 1] ?? none, proposal.baseHash), "proposal-base: not in this ledger");
    demand(entry.time <= proposal.expiry, "proposal-expiry: too late");
    for (const { role, device, signature } of proposal.endorsements) {
      const added = records.find((record) => record.deviceAdded?.device === device);
      demand(role !== roleNewDevice || added, "endorsement: by a device that is not added");
      const keys = role === roleNewDevice ? added.deviceAdded.keys : this.activeDevice(device, "endorsement").keys;
      const signs = context("proposal", this.account, proposal.nonce, proposal.baseSequence, proposal.baseHash, proposal.expiry, entry.author,
        entry.records.length, ...entry.records, role, device);
      demand(verifies(role === roleConfirm ? keys.confirmKey : keys.signKey, signs, signature), `endorsement: not device ${device}'s signature`);
    }
  }

  // Devices and keys

  genesis({ device, server }) {
    this.server = server;
    this.devices.set(1, { number: 1, keys: device, status: "active" });
  }

  serverKeyChanged({ server }) {
    this.server = server;
  }

  deviceAdded({ device, keys, generations, seedShares }, { author }) {
    demand(device === this.devices.size + 1, "device: not the next number");
    this.devices.set(device, { number: device, keys, status: "active" });
    this.bring({ device, generations, seedShares }, author);
  }

  /** What DeviceAdded and DeviceUnlocked seal to a device. */
  bring({ device, generations, seedShares }, author) {
    for (const { number, deviceShareKey } of generations) {
      if (deviceShareKey.length > 0) this.deviceShareKeys.push({ generation: number, device, sealed: deviceShareKey, author });
    }
    for (const { epoch, sealed } of seedShares) this.seedShares.push({ epoch, device, sealed, author });
  }

  setStatus(device, status) {
    demand(this.devices.has(device), `device: there is no device ${device}`);
    this.devices.get(device).status = status;
  }

  deviceLocked({ device }) {
    this.setStatus(device, "locked");
  }

  deviceUnlocked(record, { author }) {
    this.setStatus(record.device, "active");
    this.bring(record, author);
  }

  deviceRevoked({ device, generation }, { author }) {
    this.setStatus(device, "revoked");
    this.addGeneration(generation, author);
  }

  addGeneration({ number, deviceShareKeys, backups }, author) {
    for (const { device, sealed } of deviceShareKeys) this.deviceShareKeys.push({ generation: number, device, sealed, author });
    for (const { epoch, publicKey, sealed } of backups) this.backups.push({ generation: number, epoch, publicKey, sealed, author });
  }

  policyChanged() {}

  // Epochs and contacts

  epochPrepared(record, { author }) {
    demand(record.epoch === this.epochs.size + 1, "epoch: not the next number");
    const active = [...this.devices.values()].filter((device) => device.status === "active").sort((a, b) => a.number - b.number);
    const list = active.flatMap(({ number, keys }) => [number, keys.signKey, keys.sealKey, keys.confirmKey]);
    demand(verifies(record.rootKey, context("device-list", this.account, record.epoch, active.length, ...list), record.deviceListSignature),
      "device-list: not signed by the root key");
    this.epochs.set(record.epoch, { record, author, number: record.epoch, committed: false, bindings: new Map() });
    for (const generation of record.generations) this.addGeneration(generation, author);
    for (const { device, sealed } of record.seedShares) this.seedShares.push({ epoch: record.epoch, device, sealed, author });
    if (this.inUse === 0) this.inUse = record.epoch;
    else this.prepared = record.epoch;
  }

  openEpoch(number) {
    demand(number === this.inUse || (number === this.prepared && number > 0), `epoch: ${number} is neither in use nor prepared`);
    return this.epochs.get(number);
  }

  contactBound(binding) {
    const { record, bindings } = this.openEpoch(binding.epoch);
    demand(record.members[binding.member - 1] && !bindings.has(binding.member), `member: ${binding.member} is bound, or there is none`);
    demand(binding.sealedName.length === 92, "field: a name of another size");
    bindings.set(binding.member, binding);
  }

  shareReceipt({ epoch, holder, signature }) {
    const { record } = this.openEpoch(epoch);
    const [key, proof] = {
      [holderServer]: [this.server.signKey, record.serverShareHash],
      [holderMember]: [record.members[holder.number - 1]?.shareKey, record.members[holder.number - 1]?.shareKey],
      [holderSheet]: [record.sheetKey, record.sheetKey],
    }[holder.kind] ?? [];
    demand(key && verifies(key, context("share-receipt", this.account, epoch, holder.kind, holder.number, proof), signature),
      "receipt: not signed by its holder");
  }

  epochCommitted({ epoch }) {
    const committed = this.openEpoch(epoch);
    demand(!committed.committed, "committed-once: it is already");
    committed.committed = true;
    this.inUse = epoch;
    if (epoch === this.prepared) this.prepared = 0;
  }

  // Slots

  slotPut(put, { author }) {
    this.openEpoch(put.epoch);
    demand(put.device === author, "slot-author: another device");
    const id = hex(put.slot);
    const slot = this.slots.get(id) ?? { id, bytes: put.slot, version: 0, deleted: false, puts: [], recovered: [] };
    const next = put.epoch === this.inUse ? slot.version + 1 : slot.version;
    demand(put.version === next && put.version > 0, `version: slot ${id} gets ${put.version}`);
    demand(!slot.deleted, `slot-deleted: ${id}`);
    slot.version = put.version;
    slot.puts.push(put);
    this.slots.set(id, slot);
  }

  slotDeleted({ slot }) {
    demand(this.slots.has(hex(slot)), "slot: there is none");
    this.slots.get(hex(slot)).deleted = true;
  }

  /** The slots that are not deleted, in the order of their ids. */
  liveSlots() {
    return [...this.slots.values()].filter((slot) => !slot.deleted).sort((a, b) => Buffer.compare(a.bytes, b.bytes));
  }

  // Recovery (chapter 8)

  recoveryVetoed() {}

  recovered({ parsed, statement, rootSignature }) {
    const epoch = this.epochs.get(parsed.epoch);
    demand(parsed.epoch === this.inUse && epoch.committed, "epoch: not the one in use, or not committed");
    demand(verifies(epoch.record.rootKey, context("recovered", this.account, statement), rootSignature), "root-signature: not the root key's");
    this.checkRequest(parsed);
    this.checkApprovals(parsed, epoch.record);

    for (const device of this.devices.values()) device.status = "revoked";
    this.devices.set(parsed.device, { number: parsed.device, keys: parsed.keys, status: "active" });
    this.prepared = 0;
    this.addGeneration(parsed.generation, parsed.device);
    this.seedShares.push({ epoch: parsed.epoch, device: parsed.device, sealed: parsed.seedShare, author: parsed.device });
    for (const { slot, version, sealedDeviceShare } of parsed.deviceShares) {
      this.slots.get(hex(slot)).recovered.push({
        version, epoch: parsed.epoch, sealed: sealedDeviceShare, generation: parsed.generation.number, author: parsed.device,
      });
    }
  }

  checkRequest({ device, keys, request }) {
    demand(device === this.devices.size + 1, "device: not the next number");
    const signed = read("SignedRecoveryRequest", request, "encoding");
    const asked = read("RecoveryRequest", signed.request, "encoding");
    demand(same(asked.account, this.account) && verifies(asked.signKey, context("recovery-request", signed.request), signed.signature),
      "request: of another account, or not signed by the new device");
    demand(["signKey", "sealKey", "confirmKey"].every((key) => same(asked[key], keys[key])), "statement: other keys than the request's");
  }

  checkApprovals({ approvals, request }, epoch) {
    const id = contextHash("recovery-request-id", request);
    const holders = new Set();
    for (const bytes of approvals) {
      const signed = read("SignedApproval", bytes, "encoding");
      const approval = read("Approval", signed.approval, "encoding");
      const { kind, number } = approval.holder;
      const key = kind === holderSheet ? epoch.sheetKey : epoch.members[number - 1]?.shareKey;
      demand(same(approval.request, id) && key?.length > 0 && verifies(key, context("approval", signed.approval), signed.signature),
        "approval: for another request, or not signed by its holder");
      holders.add(kind === holderSheet ? "sheet" : number);
    }
    demand(holders.has("sheet") || holders.size >= epoch.quorum, "approvals: no quorum");
  }
}

// Chapter 5 of the specification: secrets in slots.
import { combine, concat, demand, hash, mac, openSealed, openSymmetric, same } from "./primitives.mjs";
import { json, place, read, unpad } from "./encodings.mjs";

/**
 * Opens the newest version of a slot, from the device share and the backup share.
 * keys are the epoch's, metadataKeys and deviceShareKeys maps by generation.
 */
export function openSlot(ledger, slot, epoch, keys, metadataKeys, deviceShareKeys) {
  const what = `slot ${slot.id}`;
  const put = slot.puts.find((p) => p.version === slot.version && p.epoch === epoch);
  demand(put, `${what} has no version ${slot.version} in epoch ${epoch}: the words are of another epoch`);
  const bound = { account: ledger.account, epoch, object: put.slot, version: put.version, sender: `device/${put.device}` };

  const metadata = openMetadata(put, bound, metadataKeys, what);
  const device = openDeviceShare(slot, put, bound, deviceShareKeys, what);
  const backup = openBackupShare(put, bound, keys, what);
  const whole = combine(device, backup);
  const [k, padded] = [whole.subarray(0, 32), whole.subarray(32)];
  const tag = mac(k, place("credential-share", { ...bound, role: "tag" }), padded);
  demand(same(tag, put.secret.tag), `${what}: the shares do not make the secret of this place: wrong tag`);
  const secret = unpad(padded, what);
  read("Secret", secret, what);
  return { slot: slot.id, version: put.version, metadata, secret: json("Secret", secret) };
}

function openMetadata(put, bound, metadataKeys, what) {
  const key = metadataKeys.get(put.generation);
  demand(key, `${what}: there is no metadata key ${put.generation}`);
  const where = place("slot-metadata", { ...bound, role: "metadata", recipient: `generation/${put.generation}` });
  const metadata = unpad(openSymmetric(key, where, put.sealedMetadata, `the metadata of ${what}`), what);
  read("SlotMetadata", metadata, what);
  return json("SlotMetadata", metadata);
}

/** The device share, which a recovery may have sealed anew. */
function openDeviceShare(slot, put, bound, deviceShareKeys, what) {
  const own = { sealed: put.secret.sealedDeviceShare, generation: put.secret.generation, author: put.device };
  const anew = slot.recovered.filter((r) => r.version === put.version && r.epoch === put.epoch).at(-1);
  const { sealed, generation, author } = anew ?? own;
  const key = deviceShareKeys.get(generation);
  demand(key, `${what}: this device has no device-share key ${generation}`);
  const where = place("credential-share", { ...bound, role: "device", sender: `device/${author}`, recipient: `generation/${generation}` });
  const share = openSymmetric(key, where, sealed, `the device share of ${what}`);
  demand(same(hash(share), put.secret.deviceShareHash), `the device share of ${what} has another hash`);
  return share;
}

function openBackupShare(put, bound, keys, what) {
  const key = keys.slotKey(put.device, put.counter);
  demand(same(key.publicKey, put.slotKey), `${what} is sealed to another key than m/1'/${put.device}/${put.counter}`);
  const where = place("credential-share", { ...bound, role: "backup", recipient: `slot/${put.device}/${put.counter}` });
  const share = openSealed(key.privateKey, where, put.sealedBackupShare, `the backup share of ${what}`);
  demand(same(hash(share), put.secret.backupShareHash), `the backup share of ${what} has another hash`);
  return share;
}

// Chapters 5 and 10, step 11, of the specification: what the owner calls contacts and paper.
import { concat, demand, hex, openSymmetric, text } from "./primitives.mjs";
import { place, unpad } from "./encodings.mjs";

/** The contacts and papers of an epoch, by member, with their names. */
export function openNames(account, { number: epoch, bindings }, metadataKeys) {
  return [...bindings.values()].sort((a, b) => a.member - b.member).map((binding) => ({
    member: binding.member,
    account: hex(binding.contact?.account ?? text("")),
    name: openName(account, epoch, binding, metadataKeys.get(binding.generation)),
  }));
}

function openName(account, epoch, { member, contact, generation, sealedName }, key) {
  const what = `the name of member ${member}`;
  demand(key, `${what}: there is no metadata key ${generation}`);
  const object = contact ? concat(contact.account, ...contact.devices.flatMap(({ signKey, sealKey }) => [signKey, sealKey])) : "";
  const where = place("contact-name", { account, epoch, object, version: member, role: "name", recipient: `generation/${generation}` });
  return new TextDecoder("utf-8", { fatal: true }).decode(unpad(openSymmetric(key, where, sealedName, what), what));
}

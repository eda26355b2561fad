package ledger

import (
	"bytes"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
)

// forgery is one spoilt entry. Unspoilt it must be accepted, so that nothing
// else than what was spoilt is why it is refused.
type forgery struct {
	name    string
	history string
	rule    Rule
	draft   func(w *world, spoil bool) *draft
}

// record spoils a record before everybody signs it.
func record[M proto.Message](name, history string, rule Rule, make func(*world) M, spoil func(*world, M)) forgery {
	return forgery{name, history, rule, func(w *world, bad bool) *draft {
		m := make(w)
		if bad {
			spoil(w, m)
		}
		return w.draft(m)
	}}
}

// entry spoils the entry around a record.
func entry(name, history string, rule Rule, kinds func(*world) []proto.Message, spoil func(*world, *draft)) forgery {
	return forgery{name, history, rule, func(w *world, bad bool) *draft {
		d := w.draft(kinds(w)...)
		if bad {
			spoil(w, d)
		}
		return d
	}}
}

func putA(w *world) []proto.Message { return w.slotPuts("a") }

func putOne(w *world) *recordv1.SlotPut { return w.slotPuts("a")[0].(*recordv1.SlotPut) }

func addDevice(w *world) []proto.Message { return list(w.deviceAdded()) }

func prepare(w *world) *recordv1.EpochPrepared { return w.epochPrepared(usual) }

func revoke2(w *world) *recordv1.DeviceRevoked { return w.deviceRevoked(2) }

func rename2(w *world) *recordv1.DeviceRenamed { return w.deviceRenamed(2) }

func unlock2(w *world) *recordv1.DeviceUnlocked { return w.deviceUnlocked(2) }

func (w *world) signDeviceList(m *recordv1.EpochPrepared, active []*Device) {
	m.DeviceListSignature = w.epochs[m.Epoch].root.Sign(DeviceListContext(w.state.Account(), m.Epoch, active))
}

var placeForgeries = []forgery{
	entry("sequence skips one", "G E", RuleSequence, putA, func(w *world, d *draft) { d.previous.Sequence++ }),
	entry("sequence is the head's", "G E", RuleSequence, putA, func(w *world, d *draft) { d.previous.Sequence-- }),
	entry("previous is another", "G E", RulePrevious, putA, func(w *world, d *draft) { d.previous.Hash[31] ^= 1 }),
	entry("account is another", "G E", RuleAccount, putA, func(w *world, d *draft) { d.account = &AccountID{1} }),
	entry("account is missing", "G E", RuleField, putA, func(w *world, d *draft) { d.account = nil }),
	entry("time goes back", "G E", RuleTime, putA, func(w *world, d *draft) { d.time = d.time.Add(-time.Millisecond) }),
	entry("time before 1970", "G E", RuleField, putA, func(w *world, d *draft) { d.time = time.UnixMilli(-1) }),
	entry("author is nobody", "G E", RuleAuthor, putA, func(w *world, d *draft) { d.author = 2 }),
	entry("author is another device", "G E D", RuleSignature, putA, func(w *world, d *draft) { d.author = 2 }),
	entry("signed by another device", "G E D", RuleSignature, putA, func(w *world, d *draft) { d.key = w.devices[2].sign }),
	entry("signed with the confirm key", "G E", RuleSignature, putA, func(w *world, d *draft) { d.key = w.devices[1].confirm }),
	entry("signed by the server", "G E", RuleSignature, putA, func(w *world, d *draft) { d.key = w.server.sign }),
	entry("no records", "G E", RuleField, putA, func(w *world, d *draft) { d.records = nil }),
	entry("Genesis again", "G E", RuleGenesis, putA, func(w *world, d *draft) {
		b, err := NewRecord(w.genesis())
		must(w.t, err)
		d.records[0], d.key = b, w.devices[1].sign
	}),
}

func edit(w *world) []proto.Message { return w.slotPuts("a") } // of a slot that exists

var proposalForgeries = []forgery{
	entry("no second factor", "G E P:a", RuleSecondFactor, edit, func(w *world, d *draft) { d.proposal = nil }),
	entry("no second factor beside another device", "G E D P:a", RuleSecondFactor, edit, func(w *world, d *draft) { d.proposal = nil }),
	entry("confirm key beside another device", "G E D P:a", RuleSecondFactor, edit, func(w *world, d *draft) {
		d.endorsers = nil
		d.endorse(recordv1.Endorsement_ROLE_CONFIRM, 1, w.devices[1].confirm)
	}),
	entry("another device's confirm key", "G E D P:a", RuleEndorsement, edit, func(w *world, d *draft) {
		d.endorse(recordv1.Endorsement_ROLE_CONFIRM, 2, w.devices[2].confirm)
	}),
	entry("sign key as confirm key", "G E P:a", RuleEndorsement, edit, func(w *world, d *draft) { d.endorsers[0].key = w.devices[1].sign }),
	entry("confirm key as sign key", "G E D P:a", RuleEndorsement, edit, func(w *world, d *draft) { d.endorsers[0].key = w.devices[2].confirm }),
	entry("author endorses", "G E D P:a", RuleEndorsement, edit, func(w *world, d *draft) {
		d.endorse(recordv1.Endorsement_ROLE_DEVICE, 1, w.devices[1].sign)
	}),
	entry("a locked device endorses", "G E D D P:a L3", RuleEndorsement, edit, func(w *world, d *draft) {
		d.endorse(recordv1.Endorsement_ROLE_DEVICE, 3, w.devices[3].sign)
	}),
	entry("a revoked device endorses", "G E D D P:a X3", RuleEndorsement, edit, func(w *world, d *draft) {
		d.endorse(recordv1.Endorsement_ROLE_DEVICE, 3, w.devices[3].sign)
	}),
	entry("a device that is not there endorses", "G E D P:a", RuleEndorsement, edit, func(w *world, d *draft) {
		d.endorse(recordv1.Endorsement_ROLE_DEVICE, 3, w.signKey())
	}),
	entry("a new device endorses where none is added", "G E D P:a", RuleEndorsement, edit, func(w *world, d *draft) {
		d.endorse(recordv1.Endorsement_ROLE_NEW_DEVICE, 3, w.signKey())
	}),
	entry("an endorsement twice", "G E D P:a", RuleField, edit, func(w *world, d *draft) { d.endorsers = append(d.endorsers, d.endorsers[0]) }),
	entry("endorsed records are exchanged", "G E P:a", RuleEndorsement, edit, func(w *world, d *draft) {
		d.signEndorsements()
		d.records[0] = w.draft(w.slotPuts("a")...).records[0]
	}),
	entry("endorsed records get company", "G E P:a", RuleEndorsement, edit, func(w *world, d *draft) {
		d.signEndorsements()
		d.records = append(d.records, w.draft(&recordv1.PolicyChanged{Policy: &recordv1.Policy{RevealsPerHour: 1, RevealsPerDay: 1}}).records[0])
	}),
	entry("endorsed for another author", "G E D D P:a", RuleEndorsement, func(w *world) []proto.Message {
		id := w.slot("a")
		return list(&recordv1.SlotDeleted{Slot: id[:]})
	}, func(w *world, d *draft) {
		d.without(recordv1.Endorsement_ROLE_DEVICE, 2)
		d.signEndorsements()
		d.author, d.key = 2, w.devices[2].sign
	}),
	entry("endorsed expiry is prolonged", "G E P:a", RuleEndorsement, edit, func(w *world, d *draft) {
		d.signEndorsements()
		d.proposal.Expiry++
	}),
	entry("a proposal without endorsements", "G E", RuleField, putA, func(w *world, d *draft) {
		d.propose(nil)
		d.endorsers = nil
	}),
	entry("expired", "G E P:a", RuleProposalExpiry, edit, func(w *world, d *draft) { d.proposal.Expiry = uint64(d.time.UnixMilli()) - 1 }),
	entry("base of another ledger", "G E P:a", RuleProposalBase, edit, func(w *world, d *draft) {
		d.proposal.BaseHash = bytes.Repeat([]byte{7}, 32)
	}),
	entry("base in the future", "G E P:a", RuleProposalBase, edit, func(w *world, d *draft) { d.proposal.BaseSequence = 9 }),
	entry("nonce repeated", "G E P:a Y:5", RuleProposalNonce, edit, func(w *world, d *draft) {
		d.proposal.Nonce = w.entries[len(w.entries)-1].Proposal().Nonce
	}),
	stale("slot changed", "G E P:a", "P:a", func(w *world) []proto.Message { return w.slotPuts("a") }),
	stale("slot changed before deletion", "G E P:a", "P:a", func(w *world) []proto.Message {
		id := w.slot("a")
		return list(&recordv1.SlotDeleted{Slot: id[:]})
	}),
	stale("device locked", "G E P:a D D", "L3", edit),
	stale("device added", "G E P:a D", "D", edit),
	stale("a generation is made that the unlocked device misses", "G E D D D L2", "X4", func(w *world) []proto.Message {
		return list(w.deviceUnlocked(2))
	}),
	stale("device list changed and back", "G E P:a D D", "L3 U3", edit),
	stale("epoch prepared", "G E P:a B1 B2 R1 R2 RS", "E E", func(w *world) []proto.Message {
		return list(&recordv1.PolicyChanged{Policy: &recordv1.Policy{RevealsPerHour: 1, RevealsPerDay: 1}})
	}),
	stale("epoch committed", "G E P:a B1 B2 R1 R2 RS", "C", edit),
	stale("policy changed", "G E", "Y:5", func(w *world) []proto.Message {
		return list(&recordv1.PolicyChanged{Policy: &recordv1.Policy{RevealsPerHour: 9, RevealsPerDay: 9}})
	}),
	stale("device renamed", "G E D D", "N2", func(w *world) []proto.Message { return list(w.deviceRenamed(2)) }),
	stale("server changed", "G E", "S", func(w *world) []proto.Message {
		m, _ := w.serverKeyChanged()
		return list(m)
	}),
	stale("member bound", "G E", "B1", func(w *world) []proto.Message {
		return list(&recordv1.ContactBound{Epoch: 1, Member: 1, Contact: w.contact("ann"), Generation: 1, SealedName: w.bytes(ContactNameSize)})
	}),
}

// stale co-signs a proposal in one history and appends it after another: with
// a base of before it is stale. Rules about the content are looked at later, so
// the unspoilt one is co-signed and appended before.
func stale(name, before, then string, kinds func(*world) []proto.Message) forgery {
	return forgery{name, before, RuleProposalStale, func(w *world, bad bool) *draft {
		d := w.draft(kinds(w)...)
		if bad {
			base := *d
			history(w, then)
			d = w.draft(kinds(w)...)
			d.proposal = base.proposal
		}
		return d
	}}
}

// signEndorsements makes the endorsements now, before the test changes what was
// endorsed.
func (d *draft) signEndorsements() {
	p := d.proposal
	for _, e := range d.endorsers {
		c := ProposalContext(d.w.state.Account(), p, d.author, d.records, e.role, e.device)
		p.Endorsements = append(p.Endorsements, &recordv1.Endorsement{Role: e.role, Device: e.device, Signature: e.key.Sign(c)})
	}
	d.endorsers = nil
}

var deviceForgeries = []forgery{
	entry("the new device does not endorse", "G E D", RuleNewDevice, addDevice, func(w *world, d *draft) { d.without(recordv1.Endorsement_ROLE_NEW_DEVICE, 3) }),
	entry("one of the active devices does not endorse", "G E D D", RuleAllDevices, addDevice, func(w *world, d *draft) { d.without(recordv1.Endorsement_ROLE_DEVICE, 3) }),
	entry("the new device is its own second factor", "G E", RuleSecondFactor, addDevice, func(w *world, d *draft) { d.without(recordv1.Endorsement_ROLE_CONFIRM, 1) }),
	entry("the new device appends itself", "G E", RuleAuthor, addDevice, func(w *world, d *draft) { d.author, d.key = 2, w.devices[2].sign }),
	record("number of a revoked device", "G E D D X2", RuleDevice, (*world).deviceAdded, func(w *world, m *recordv1.DeviceAdded) { w.devices[2], m.Device = w.devices[4], 2 }),
	record("number skips one", "G E", RuleDevice, (*world).deviceAdded, func(w *world, m *recordv1.DeviceAdded) { w.devices[3], m.Device = w.devices[2], 3 }),
	record("seal key of another device", "G E", RuleKeyReused, (*world).deviceAdded, func(w *world, m *recordv1.DeviceAdded) {
		m.Keys.SealKey = w.devices[1].seal.PublicKey().Bytes()
	}),
	record("confirm key is another device's sign key", "G E", RuleKeyReused, (*world).deviceAdded, func(w *world, m *recordv1.DeviceAdded) {
		m.Keys.ConfirmKey = w.devices[1].sign.PublicKey().Bytes()
	}),
	record("key of the server", "G E", RuleKeyReused, (*world).deviceAdded, func(w *world, m *recordv1.DeviceAdded) {
		m.Keys.SealKey = w.server.seal.PublicKey().Bytes()
	}),
	record("key of a revoked device", "G E D D X3", RuleKeyReused, (*world).deviceAdded, func(w *world, m *recordv1.DeviceAdded) {
		m.Keys.ConfirmKey = w.devices[3].confirm.PublicKey().Bytes()
	}),
	record("one key for two uses", "G E", RuleField, (*world).deviceAdded, func(w *world, m *recordv1.DeviceAdded) { m.Keys.SealKey = m.Keys.ConfirmKey }),
	record("name under an old generation", "G E D D X3", RuleGeneration, (*world).deviceAdded, func(w *world, m *recordv1.DeviceAdded) { m.Keys.Generation = 1 }),
	record("a generation is missing", "G E D D X3", RuleGeneration, (*world).deviceAdded, func(w *world, m *recordv1.DeviceAdded) { m.Generations = m.Generations[1:] }),
	record("a generation that is not", "G E", RuleGeneration, (*world).deviceAdded, func(w *world, m *recordv1.DeviceAdded) { m.Generations[0].Number = 2 }),
	record("no device-share key", "G E", RuleGeneration, (*world).deviceAdded, func(w *world, m *recordv1.DeviceAdded) { m.Generations[0].DeviceShareKey = nil }),
	record("a device-share key that nobody has", recoverable+"Q:r/12", RuleGeneration, (*world).deviceAdded, func(w *world, m *recordv1.DeviceAdded) {
		m.Generations[0].DeviceShareKey = w.sealed()
	}),
	record("no share of the prepared epoch", "G E E", RuleSealedTo, (*world).deviceAdded, func(w *world, m *recordv1.DeviceAdded) { m.SeedShares = m.SeedShares[:1] }),
	record("share of another epoch", "G E", RuleSealedTo, (*world).deviceAdded, func(w *world, m *recordv1.DeviceAdded) { m.SeedShares[0].Epoch = 2 }),
	record("revoked with a wrong generation", "G E D D", RuleGeneration, revoke2, func(w *world, m *recordv1.DeviceRevoked) { m.Generation.Number = 3 }),
	record("new generation for the revoked device", "G E D D", RuleSealedTo, revoke2, func(w *world, m *recordv1.DeviceRevoked) {
		m.Generation = w.generation(2, true, w.state.Devices(), 1)
	}),
	record("new generation for a revoked device", "G E D D D X4", RuleSealedTo, revoke2, func(w *world, m *recordv1.DeviceRevoked) {
		m.Generation = w.generation(3, true, []*Device{{Number: 1}, {Number: 3}, {Number: 4}}, 1)
	}),
	record("new generation for nobody", "G E D D", RuleSealedTo, revoke2, func(w *world, m *recordv1.DeviceRevoked) {
		m.Generation = w.generation(2, true, []*Device{{Number: 9}}, 1)
	}),
	record("new generation not for all", "G E D D", RuleSealedTo, revoke2, func(w *world, m *recordv1.DeviceRevoked) {
		m.Generation.DeviceShareKeys = m.Generation.DeviceShareKeys[:1]
	}),
	record("metadata key not for all", "G E D D", RuleSealedTo, revoke2, func(w *world, m *recordv1.DeviceRevoked) {
		m.Generation.MetadataKeys = m.Generation.MetadataKeys[1:]
	}),
	record("new generation for a locked device", "G E D D D L4", RuleSealedTo, revoke2, func(w *world, m *recordv1.DeviceRevoked) {
		m.Generation = w.generation(2, true, []*Device{{Number: 1}, {Number: 3}, {Number: 4}}, 1)
	}),
	record("metadata key for a locked device", "G E D D D L4", RuleSealedTo, revoke2, func(w *world, m *recordv1.DeviceRevoked) {
		m.Generation.MetadataKeys = append(m.Generation.MetadataKeys, &recordv1.SealedToDevice{Device: 4, Sealed: w.sealed()})
	}),
	record("device-share key for a locked device", "G E D D D L4", RuleSealedTo, revoke2, func(w *world, m *recordv1.DeviceRevoked) {
		m.Generation.DeviceShareKeys = append(m.Generation.DeviceShareKeys, &recordv1.SealedToDevice{Device: 4, Sealed: w.sealed()})
	}),
	record("metadata key for a locked device in an active one's place", "G E D D D L4", RuleSealedTo, revoke2, func(w *world, m *recordv1.DeviceRevoked) {
		m.Generation.MetadataKeys[1].Device = 4
	}),
	record("no backup", "G E D D", RuleBackup, revoke2, func(w *world, m *recordv1.DeviceRevoked) { m.Generation.Backups = nil }),
	record("no backup to the prepared epoch", "G E D D E", RuleBackup, revoke2, func(w *world, m *recordv1.DeviceRevoked) {
		m.Generation.Backups = m.Generation.Backups[:1]
	}),
	record("backup to another epoch", "G E D D", RuleBackup, revoke2, func(w *world, m *recordv1.DeviceRevoked) { m.Generation.Backups[0].Epoch = 2 }),
	record("unlocked without the generation it missed", "G E D D D L2 X3", RuleGeneration, unlock2, func(w *world, m *recordv1.DeviceUnlocked) {
		m.Generations = nil
	}),
	record("unlocked without one of the generations it missed", "G E D D D D L2 X3 X4", RuleGeneration, unlock2, func(w *world, m *recordv1.DeviceUnlocked) {
		m.Generations = m.Generations[1:]
	}),
	record("unlocked with a generation that it has", "G E D D L2", RuleGeneration, unlock2, func(w *world, m *recordv1.DeviceUnlocked) {
		m.Generations = []*recordv1.GenerationKeys{{Number: 1, MetadataKey: w.sealed(), DeviceShareKey: w.sealed()}}
	}),
	record("unlocked with a generation that it has for the one it missed", "G E D D D L2 X3", RuleGeneration, unlock2, func(w *world, m *recordv1.DeviceUnlocked) {
		m.Generations[0].Number = 1
	}),
	record("unlocked with generations out of order", "G E D D D D L2 X3 X4", RuleField, unlock2, func(w *world, m *recordv1.DeviceUnlocked) {
		slices.Reverse(m.Generations)
	}),
	record("unlocked without a device-share key", "G E D D D L2 X3", RuleGeneration, unlock2, func(w *world, m *recordv1.DeviceUnlocked) {
		m.Generations[0].DeviceShareKey = nil
	}),
	record("unlocked without a metadata key", "G E D D D L2 X3", RuleField, unlock2, func(w *world, m *recordv1.DeviceUnlocked) {
		m.Generations[0].MetadataKey = nil
	}),
	record("unlocked without the share of the epoch in use", recoverable+"D D L2 E B1 B2 R1 R2 RS C E", RuleSealedTo, unlock2, func(w *world, m *recordv1.DeviceUnlocked) {
		m.SeedShares = m.SeedShares[1:]
	}),
	record("unlocked without the share of the prepared epoch", "G E D D L2 E", RuleSealedTo, unlock2, func(w *world, m *recordv1.DeviceUnlocked) {
		m.SeedShares = nil
	}),
	record("unlocked with a share that it has", "G E D D E L2", RuleSealedTo, unlock2, func(w *world, m *recordv1.DeviceUnlocked) {
		m.SeedShares = []*recordv1.SealedToEpoch{{Epoch: 2, Sealed: w.sealed()}}
	}),
	record("unlocked with the share of an epoch that is over", "G E D D L2 E E", RuleSealedTo, unlock2, func(w *world, m *recordv1.DeviceUnlocked) {
		m.SeedShares[0].Epoch = 2
	}),
	record("unlocked with an empty share", "G E D D L2 E", RuleField, unlock2, func(w *world, m *recordv1.DeviceUnlocked) {
		m.SeedShares[0].Sealed = nil
	}),
	entry("an unlocked device endorses in the same entry", "G E D D D L2 X3", RuleEndorsement, func(w *world) []proto.Message { return list(w.deviceUnlocked(2)) }, func(w *world, d *draft) {
		d.endorse(recordv1.Endorsement_ROLE_DEVICE, 2, w.devices[2].sign)
	}),
	record("renamed a device that is not there", "G E D D", RuleDevice, rename2, func(w *world, m *recordv1.DeviceRenamed) { m.Device = 4 }),
	record("renamed no device", "G E D D", RuleField, rename2, func(w *world, m *recordv1.DeviceRenamed) { m.Device = 0 }),
	record("renamed a revoked device", "G E D D D X4", RuleDevice, rename2, func(w *world, m *recordv1.DeviceRenamed) { m.Device = 4 }),
	record("renamed under an old generation", "G E D D D X4", RuleGeneration, rename2, func(w *world, m *recordv1.DeviceRenamed) { m.Generation = 1 }),
	record("renamed under a generation of the future", "G E D D", RuleGeneration, rename2, func(w *world, m *recordv1.DeviceRenamed) { m.Generation = 2 }),
	record("renamed to nothing", "G E D D", RuleField, rename2, func(w *world, m *recordv1.DeviceRenamed) { m.SealedName = nil }),
	entry("another device's name without a second factor", "G E D D", RuleSecondFactor, func(w *world) []proto.Message { return list(w.deviceRenamed(2)) }, func(w *world, d *draft) {
		d.proposal = nil
	}),
	entry("the renamed device is the second factor", "G E D D", RuleSecondFactor, func(w *world) []proto.Message { return list(w.deviceRenamed(2)) }, func(w *world, d *draft) {
		d.endorsers = nil
		d.endorse(recordv1.Endorsement_ROLE_DEVICE, 2, w.devices[2].sign)
	}),
	entry("the subject is the second factor", "G E D D", RuleSecondFactor, func(w *world) []proto.Message { return list(w.deviceRevoked(2)) }, func(w *world, d *draft) {
		d.endorsers = nil
		d.endorse(recordv1.Endorsement_ROLE_DEVICE, 2, w.devices[2].sign)
	}),
}

var epochForgeries = []forgery{
	record("number is taken", "G E", RuleEpoch, prepare, func(w *world, m *recordv1.EpochPrepared) { m.Epoch = 1 }),
	record("number skips one", "G", RuleEpoch, prepare, func(w *world, m *recordv1.EpochPrepared) { m.Epoch = 2 }),
	record("root key of an earlier epoch", "G E", RuleRootKey, prepare, func(w *world, m *recordv1.EpochPrepared) {
		m.RootKey = w.epochs[1].root.PublicKey().Bytes()
	}),
	record("device list signed by a device", "G", RuleDeviceList, prepare, func(w *world, m *recordv1.EpochPrepared) {
		m.DeviceListSignature = w.devices[1].sign.Sign(DeviceListContext(w.state.Account(), 1, w.state.ActiveDevices()))
	}),
	record("device list with a locked device", "G E D L2 +72h", RuleDeviceList, prepare, func(w *world, m *recordv1.EpochPrepared) { w.signDeviceList(m, w.state.Devices()) }),
	record("device list without a device", "G E D", RuleDeviceList, prepare, func(w *world, m *recordv1.EpochPrepared) { w.signDeviceList(m, w.state.Devices()[:1]) }),
	record("device list of another epoch", "G E", RuleDeviceList, prepare, func(w *world, m *recordv1.EpochPrepared) {
		m.DeviceListSignature = w.epochs[2].root.Sign(DeviceListContext(w.state.Account(), 1, w.state.ActiveDevices()))
	}),
	record("device list of another account", "G E", RuleDeviceList, prepare, func(w *world, m *recordv1.EpochPrepared) {
		m.DeviceListSignature = w.epochs[2].root.Sign(DeviceListContext(AccountID{1}, 2, w.state.ActiveDevices()))
	}),
	record("seed share not for all", "G E D", RuleSealedTo, prepare, func(w *world, m *recordv1.EpochPrepared) { m.SeedShares = m.SeedShares[:1] }),
	record("seed share for a locked device", "G E D L2 +72h", RuleSealedTo, prepare, func(w *world, m *recordv1.EpochPrepared) {
		m.SeedShares = append(m.SeedShares, &recordv1.SealedToDevice{Device: 2, Sealed: w.sealed()})
	}),
	record("seed share twice", "G", RuleField, prepare, func(w *world, m *recordv1.EpochPrepared) { m.SeedShares = append(m.SeedShares, m.SeedShares[0]) }),
	record("generation 2 at the start", "G", RuleGeneration, prepare, func(w *world, m *recordv1.EpochPrepared) { m.Generation = 2 }),
	record("a generation for a locked device", "G E D L2 +72h", RuleSealedTo, prepare, func(w *world, m *recordv1.EpochPrepared) {
		m.Generations[0] = w.generation(1, true, w.state.Devices(), 2)
	}),
	record("no generation", "G", RuleGeneration, prepare, func(w *world, m *recordv1.EpochPrepared) { m.Generations = nil }),
	record("another generation", "G", RuleGeneration, prepare, func(w *world, m *recordv1.EpochPrepared) { m.Generations[0].Number = 2 }),
	record("an old generation is missing", "G E D D X3", RuleGeneration, prepare, func(w *world, m *recordv1.EpochPrepared) { m.Generations = m.Generations[1:] }),
	record("the newest generation is missing", "G E D D X3", RuleGeneration, prepare, func(w *world, m *recordv1.EpochPrepared) { m.Generations = m.Generations[:1] }),
	record("master key under an old generation", "G E D D X3", RuleGeneration, prepare, func(w *world, m *recordv1.EpochPrepared) { m.Generation = 1 }),
	record("waiting share under an old generation", "G E D D X3", RuleGeneration, prepare, func(w *world, m *recordv1.EpochPrepared) { m.Members[1].Waiting.Generation = 1 }),
	record("an old device-share key after a recovery", recoverable+"Q:r/12", RuleGeneration, prepare, func(w *world, m *recordv1.EpochPrepared) {
		m.Generations[0].DeviceShareKeys = m.Generations[0].MetadataKeys
	}),
	record("no device-share key", "G E", RuleSealedTo, prepare, func(w *world, m *recordv1.EpochPrepared) { m.Generations[0].DeviceShareKeys = nil }),
	record("backup to the old epoch", "G E", RuleBackup, prepare, func(w *world, m *recordv1.EpochPrepared) { m.Generations[0].Backups[0].Epoch = 1 }),
	record("two members with one key", "G", RuleField, prepare, func(w *world, m *recordv1.EpochPrepared) { m.Members[1].ShareKey = m.Members[0].ShareKey }),
	record("a member with the sheet's key", "G", RuleField, prepare, func(w *world, m *recordv1.EpochPrepared) { m.SheetKey = m.Members[0].ShareKey }),
	record("a member with the root key", "G", RuleField, prepare, func(w *world, m *recordv1.EpochPrepared) { m.Members[0].ShareKey = m.RootKey }),
	record("a backup share of a waiting share", "G", RuleField, prepare, func(w *world, m *recordv1.EpochPrepared) { m.Members[0].Waiting.BackupShareHash = w.bytes(32) }),
	record("bound in an old epoch", recoverable+"E B1 B2 R1 R2 RS C", RuleEpoch, func(w *world) *recordv1.ContactBound { return w.contactBound(3, "ann") },
		func(w *world, m *recordv1.ContactBound) { m.Epoch = 1 }),
	record("bound to the account itself", "G E", RuleContact, func(w *world) *recordv1.ContactBound { return w.contactBound(1, "ann") },
		func(w *world, m *recordv1.ContactBound) {
			account := w.state.Account()
			m.Contact = &recordv1.Contact{Account: account[:], Devices: m.Contact.Devices}
		}),
	record("bound to the account's device", "G E", RuleContact, func(w *world) *recordv1.ContactBound { return w.contactBound(1, "ann") },
		func(w *world, m *recordv1.ContactBound) {
			m.Contact.Devices[0].SignKey = w.devices[1].sign.PublicKey().Bytes()
		}),
	record("bound to another member's device", "G E B1", RuleContact, func(w *world) *recordv1.ContactBound { return w.contactBound(2, "ann") },
		func(w *world, m *recordv1.ContactBound) {
			m.Contact.Devices[0].SealKey = w.contact("contact 1").Devices[0].SealKey
		}),
	record("bound to a contact that is another member with other keys", "G E B1", RuleContact, func(w *world) *recordv1.ContactBound { return w.contactBound(2, "ann") },
		func(w *world, m *recordv1.ContactBound) { m.Contact.Account = w.contact("contact 1").Account }),
	record("bound to a contact without devices", "G E", RuleField, func(w *world) *recordv1.ContactBound { return w.contactBound(1, "ann") },
		func(w *world, m *recordv1.ContactBound) { m.Contact.Devices = nil }),
	record("bound with a name under an old generation", "G E D D X3 B1", RuleGeneration, func(w *world) *recordv1.ContactBound { return w.contactBound(2, "ann") },
		func(w *world, m *recordv1.ContactBound) { m.Generation = 1 }),
	record("bound with a name under a generation of the future", "G E", RuleGeneration, func(w *world) *recordv1.ContactBound { return w.contactBound(1, "ann") },
		func(w *world, m *recordv1.ContactBound) { m.Generation = 2 }),
	record("paper bound with a name under a generation of the future", "G E", RuleGeneration, func(w *world) *recordv1.ContactBound { return w.contactBound(1, "paper") },
		func(w *world, m *recordv1.ContactBound) { m.Generation = 2 }),
	record("bound without a name", "G E", RuleField, func(w *world) *recordv1.ContactBound { return w.contactBound(1, "ann") },
		func(w *world, m *recordv1.ContactBound) { m.Generation, m.SealedName = 0, nil }),
	record("bound with a name of another size", "G E", RuleField, func(w *world) *recordv1.ContactBound { return w.contactBound(1, "ann") },
		func(w *world, m *recordv1.ContactBound) { m.SealedName = append(m.SealedName, 0) }),
	record("bound to a contact with one key twice", "G E", RuleField, func(w *world) *recordv1.ContactBound { return w.contactBound(1, "ann") },
		func(w *world, m *recordv1.ContactBound) {
			m.Contact.Devices = append(m.Contact.Devices, m.Contact.Devices[0])
		}),
	record("receipt by a device", "G E+sheet B1 B2", RuleField, func(w *world) *recordv1.ShareReceipt { return w.receipt(member(1)) },
		func(w *world, m *recordv1.ShareReceipt) {
			m.Holder = &recordv1.Holder{Kind: recordv1.Holder_KIND_DEVICE, Number: 1}
		}),
	record("receipt in an epoch that is over", recoverable+"E B1 B2 B3 R1 R2 RS C", RuleEpoch, func(w *world) *recordv1.ShareReceipt { return w.receipt(member(3)) },
		func(w *world, m *recordv1.ShareReceipt) { m.Epoch = 1 }),
	receipt("receipt by another member", member(1), func(w *world, r *recordv1.ShareReceipt) { r.Holder = member(2) }),
	receipt("receipt by the server's other key", serverHolder, func(w *world, r *recordv1.ShareReceipt) {
		r.Signature = w.signKey().Sign(ReceiptContext(w.state.Account(), 1, r.Holder, w.state.InUse().Record.ServerShareHash))
	}),
	receipt("receipt for another share", serverHolder, func(w *world, r *recordv1.ShareReceipt) {
		r.Signature = w.server.sign.Sign(ReceiptContext(w.state.Account(), 1, r.Holder, w.bytes(32)))
	}),
	receipt("receipt for another epoch", member(1), func(w *world, r *recordv1.ShareReceipt) {
		r.Signature = w.epochs[1].shares[0].Sign(ReceiptContext(w.state.Account(), 2, r.Holder, w.epochs[1].shares[0].PublicKey().Bytes()))
	}),
	receipt("receipt for another account", member(1), func(w *world, r *recordv1.ShareReceipt) {
		r.Signature = w.epochs[1].shares[0].Sign(ReceiptContext(AccountID{1}, 1, r.Holder, w.epochs[1].shares[0].PublicKey().Bytes()))
	}),
	receipt("receipt of the sheet by a member", sheetHolder, func(w *world, r *recordv1.ShareReceipt) {
		r.Signature = w.epochs[1].shares[0].Sign(ReceiptContext(w.state.Account(), 1, r.Holder, w.epochs[1].sheet.PublicKey().Bytes()))
	}),
	record("committed in an epoch that is over", recoverable+"E B1 B2 R1 R2 RS", RuleEpoch, func(w *world) *recordv1.EpochCommitted { return &recordv1.EpochCommitted{Epoch: 2} },
		func(w *world, m *recordv1.EpochCommitted) { m.Epoch = 3 }),
}

func receipt(name string, h *recordv1.Holder, spoil func(*world, *recordv1.ShareReceipt)) forgery {
	return record(name, "G E+sheet B1 B2", RuleReceipt, func(w *world) *recordv1.ShareReceipt { return w.receipt(h) }, spoil)
}

var slotForgeries = []forgery{
	record("another device's slot key", "G E D", RuleSlotAuthor, putOne, func(w *world, m *recordv1.SlotPut) { m.Device = 2 }),
	record("the account's own slot key", "G E", RuleField, putOne, func(w *world, m *recordv1.SlotPut) { m.Device = 0 }),
	record("counter used before", "G E P:b", RuleCounter, putOne, func(w *world, m *recordv1.SlotPut) { m.Counter = 1 }),
	record("counter of a deleted slot", "G E P:b W:b", RuleCounter, putOne, func(w *world, m *recordv1.SlotPut) { m.Counter = 1 }),
	record("counter beyond BIP32's", "G E", RuleField, putOne, func(w *world, m *recordv1.SlotPut) { m.Counter = 1 << 31 }),
	record("old metadata key", "G E D D X3", RuleGeneration, putOne, func(w *world, m *recordv1.SlotPut) { m.Generation = 1 }),
	record("old device-share key", "G E D D X3", RuleGeneration, putOne, func(w *world, m *recordv1.SlotPut) { m.Secret.Generation = 1 }),
	record("device-share key of the future", "G E", RuleGeneration, putOne, func(w *world, m *recordv1.SlotPut) { m.Generation, m.Secret.Generation = 2, 2 }),
	record("an epoch that is over", recoverable+"E B1 B2 R1 R2 RS C", RuleEpoch, putOne, func(w *world, m *recordv1.SlotPut) { m.Epoch = 1 }),
	record("an epoch to come", "G E", RuleEpoch, putOne, func(w *world, m *recordv1.SlotPut) { m.Epoch = 2 }),
	record("first version is 2", "G E D", RuleVersion, putOne, func(w *world, m *recordv1.SlotPut) { m.Version = 2 }),
	record("version skips one", "G E P:a", RuleVersion, putOne, func(w *world, m *recordv1.SlotPut) { m.Version = 3 }),
	record("version again", "G E P:a", RuleSplitTwice, putOne, func(w *world, m *recordv1.SlotPut) { m.Version = 1 }),
	record("version of another slot", "G E P:a P:b P:b", RuleSplitTwice, putOne, func(w *world, m *recordv1.SlotPut) { id := w.slot("b"); m.Slot = id[:] }),
	record("split again in the prepared epoch", "G E P:b E P:a T", RuleSplitTwice,
		func(w *world) *recordv1.SlotPut {
			history(w, "E")
			return w.stage()[0].(*recordv1.SlotPut)
		},
		func(w *world, m *recordv1.SlotPut) { history(w, "T"); m.Counter = 100 }),
	record("larger than a recovery can carry", "G E", RuleCapacity, putOne, func(w *world, m *recordv1.SlotPut) { m.SealedBackupShare = make([]byte, 24<<20-63) }),
	record("a server's key that was used", "G E S", RuleKeyReused,
		func(w *world) *recordv1.ServerKeyChanged { m, _ := w.serverKeyChanged(); return m },
		func(w *world, m *recordv1.ServerKeyChanged) {
			m.Server.SignKey = w.entries[0].Records()[0].GetGenesis().Server.SignKey
		}),
	record("a server with one key", "G E", RuleField,
		func(w *world) *recordv1.ServerKeyChanged { m, _ := w.serverKeyChanged(); return m },
		func(w *world, m *recordv1.ServerKeyChanged) { m.Server.SealKey = m.Server.SignKey }),
}

func TestForgeries(t *testing.T) {
	var believed sync.Map // rules that were not asked for where the head is verified
	t.Cleanup(func() {
		for _, rule := range signatureRules {
			if _, ok := believed.LoadAndDelete(rule); !ok {
				t.Errorf("a replay verifies what rule %s is about", rule)
			}
		}
		believed.Range(func(rule, _ any) bool {
			t.Errorf("a replay does not ask for rule %s", rule)
			return true
		})
	})
	for _, group := range []struct {
		name      string
		forgeries []forgery
		count     int
	}{
		{"place", placeForgeries, 14},
		{"proposal", proposalForgeries, 33},
		{"device", deviceForgeries, 53},
		{"epoch", epochForgeries, 47},
		{"slot", slotForgeries, 18},
		{"recovery", recoveryForgeries, 44},
	} {
		if len(group.forgeries) != group.count {
			t.Errorf("%s: %d forgeries, not %d", group.name, len(group.forgeries), group.count)
		}
		for _, f := range group.forgeries {
			t.Run(group.name+"/"+f.name, func(t *testing.T) {
				t.Parallel()
				w := play(t, f.history)
				if err := w.apply(f.draft(w, false)); err != nil {
					t.Fatalf("unspoilt: %v", err)
				}
				w = play(t, f.history)
				e, err := f.draft(w, true).sign()
				forged := err == nil // ParseEntry takes it
				if forged {
					err = w.applyEntry(e)
				}
				if !errors.Is(err, &RuleError{Rule: f.rule}) {
					t.Fatalf("refused by %v, not by %s", err, f.rule)
				}
				if forged && checkForgedReplay(t, w, e, err) {
					believed.Store(f.rule, true)
				}
			})
		}
	}
}

package ledger

import (
	"bytes"
	"fmt"

	"google.golang.org/protobuf/reflect/protoreflect"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/signing"
)

// checker checks fields and keeps the first fault. What it admits can be used
// without looking at lengths again.
type checker struct {
	where string // name of the message, for the fault's text
	known bool   // keys are known to be points
	err   error
}

func (c *checker) fault(field, format string, args ...any) {
	if c.err == nil {
		c.err = refuse(RuleField, "%s.%s: %s", c.where, field, fmt.Sprintf(format, args...))
	}
}

// at goes on in a message inside the present one, which must be there.
func (c *checker) at(field string, m protoreflect.ProtoMessage, check func(*checker)) {
	if !m.ProtoReflect().IsValid() {
		c.fault(field, "missing")
		return
	}
	inner := checker{where: c.where + "." + field, known: c.known, err: c.err}
	check(&inner)
	c.err = inner.err
}

func (c *checker) size(field string, b []byte, size int) {
	if len(b) != size {
		c.fault(field, "%d bytes instead of %d", len(b), size)
	}
}

func (c *checker) absent(field string, b []byte) {
	if len(b) != 0 {
		c.fault(field, "must be absent")
	}
}

// some admits what is there. Ciphertexts have no fixed sizes: those of shares
// depend on the secret, and how long the others are is for those who open them.
func (c *checker) some(field string, b []byte) {
	if len(b) == 0 {
		c.fault(field, "missing")
	}
}

func (c *checker) between(field string, n, least, most uint64) {
	if n < least || n > most {
		c.fault(field, "%d is not in %d to %d", n, least, most)
	}
}

func (c *checker) time(field string, milliseconds uint64) {
	c.between(field, milliseconds, 0, maxTime)
}

// signKey returns nil for a key that is known to be one.
func (c *checker) signKey(field string, b []byte) *signing.PublicKey {
	if c.known {
		c.size(field, b, signing.PublicKeySize)
		return nil
	}
	key, err := signing.NewPublicKey(b)
	if err != nil {
		c.fault(field, "%v", err)
	}
	return key
}

func (c *checker) sealKey(field string, b []byte) *hpke.PublicKey {
	if len(b) != signing.PublicKeySize {
		c.fault(field, "%d bytes instead of %d", len(b), signing.PublicKeySize)
		return nil
	}
	if c.known {
		return nil
	}
	key, err := hpke.NewPublicKey(b)
	if err != nil {
		c.fault(field, "%v", err)
	}
	return key
}

// ascending wants numbers from 1 to maxIndex, each greater than the one before.
func ascending[T any](c *checker, field string, list []T, number func(T) uint64) {
	var last uint64
	for _, element := range list {
		if number(element) <= last {
			c.fault(field, "not in ascending order")
			return
		}
		if last = number(element); last > maxIndex {
			c.fault(field, "%d is too large", last)
		}
	}
}

// check checks all that needs no state.
func (e *Entry) check(known bool) error {
	c := checker{where: "entry"}
	c.size("signature", e.signature, signing.SignatureSize)
	c.between("sequence", e.message.Sequence, 1, maxTime)
	c.between("author", e.message.Author, 1, maxIndex)
	c.time("time", e.message.Time)
	if len(e.records) == 0 {
		c.fault("records", "missing")
	}
	if e.message.Proposal != nil {
		c.at("proposal", e.message.Proposal, func(c *checker) {
			checkProposal(c, e.message.Proposal)
			checkEndorsements(c, e.message.Proposal)
		})
	}
	if e.message.Sequence > 1 {
		c.size("account", e.message.Account, hashSize)
		c.size("previous", e.message.Previous, hashSize)
	}
	if c.err != nil {
		return c.err
	}
	for i, record := range e.records {
		recovered, err := checkRecord(record, known)
		if err != nil {
			return fmt.Errorf("record %d: %w", i+1, err)
		}
		if recovered != nil {
			e.recovered = recovered
		}
	}
	return e.checkShape()
}

// checkShape refuses Genesis anywhere but alone at the start, and Recovered
// anywhere but alone: its author is no device of the account before it.
func (e *Entry) checkShape() error {
	for _, record := range e.records {
		genesis := record.GetGenesis() != nil
		if genesis != (e.message.Sequence == 1) {
			return refuse(RuleGenesis, "entry %d", e.message.Sequence)
		}
		if (genesis || record.GetRecovered() != nil) && (len(e.records) > 1 || e.message.Proposal != nil) {
			return refuse(RuleShape, "Genesis and Recovered stand alone in an entry, without a proposal")
		}
	}
	if e.message.Sequence == 1 && (len(e.message.Account) > 0 || len(e.message.Previous) > 0 || e.message.Author != 1) {
		return refuse(RuleGenesis, "it names an account, a previous entry or another author than device 1")
	}
	return nil
}

func checkProposal(c *checker, p *recordv1.Proposal) {
	c.size("nonce", p.Nonce, idSize)
	c.size("base_hash", p.BaseHash, hashSize)
	c.between("base_sequence", p.BaseSequence, 1, maxTime)
	c.time("expiry", p.Expiry)
}

func checkEndorsements(c *checker, p *recordv1.Proposal) {
	if len(p.Endorsements) == 0 {
		c.fault("endorsements", "missing")
	}
	for i, e := range p.Endorsements {
		checkEndorsement(c, e)
		if i > 0 && compareEndorsements(p.Endorsements[i-1], e) >= 0 {
			c.fault("endorsements", "not in ascending order of role and device")
		}
	}
}

func checkEndorsement(c *checker, e *recordv1.Endorsement) {
	c.size("endorsements.signature", e.Signature, signing.SignatureSize)
	c.between("endorsements.device", e.Device, 1, maxIndex)
	c.between("endorsements.role", uint64(e.Role), uint64(recordv1.Endorsement_ROLE_DEVICE), uint64(recordv1.Endorsement_ROLE_NEW_DEVICE))
}

// checkRecord checks the fields of a record. Of a Recovered it returns what it
// parsed.
func checkRecord(record *recordv1.Record, known bool) (*recovered, error) {
	c := checker{where: string(record.ProtoReflect().WhichOneof(kindOneof).Name()), known: known}
	switch kind := record.Kind.(type) {
	case *recordv1.Record_Genesis:
		checkGenesis(&c, kind.Genesis)
	case *recordv1.Record_EpochPrepared:
		checkEpochPrepared(&c, kind.EpochPrepared)
	case *recordv1.Record_ContactBound:
		checkContactBound(&c, kind.ContactBound)
	case *recordv1.Record_ShareReceipt:
		checkShareReceipt(&c, kind.ShareReceipt)
	case *recordv1.Record_EpochCommitted:
		c.between("epoch", kind.EpochCommitted.Epoch, 1, maxIndex)
	case *recordv1.Record_DeviceAdded:
		checkDeviceAdded(&c, kind.DeviceAdded)
	case *recordv1.Record_DeviceLocked:
		c.between("device", kind.DeviceLocked.Device, 1, maxIndex)
	case *recordv1.Record_DeviceUnlocked:
		c.between("device", kind.DeviceUnlocked.Device, 1, maxIndex)
		checkSealedKeys(&c, kind.DeviceUnlocked.Generations, kind.DeviceUnlocked.SeedShares)
	case *recordv1.Record_DeviceRevoked:
		c.between("device", kind.DeviceRevoked.Device, 1, maxIndex)
		c.at("generation", kind.DeviceRevoked.Generation, func(c *checker) { checkGeneration(c, kind.DeviceRevoked.Generation) })
	case *recordv1.Record_DeviceRenamed:
		c.between("device", kind.DeviceRenamed.Device, 1, maxIndex)
		c.between("generation", kind.DeviceRenamed.Generation, 1, maxIndex)
		c.some("sealed_name", kind.DeviceRenamed.SealedName)
	case *recordv1.Record_SlotPut:
		checkSlotPut(&c, kind.SlotPut)
	case *recordv1.Record_SlotDeleted:
		c.size("slot", kind.SlotDeleted.Slot, idSize)
	case *recordv1.Record_PolicyChanged:
		c.at("policy", kind.PolicyChanged.Policy, func(c *checker) { checkPolicy(c, kind.PolicyChanged.Policy) })
	case *recordv1.Record_ServerKeyChanged:
		c.at("server", kind.ServerKeyChanged.Server, func(c *checker) { checkServer(c, kind.ServerKeyChanged.Server) })
	case *recordv1.Record_RecoveryVetoed:
		c.size("request", kind.RecoveryVetoed.Request, hashSize)
	case *recordv1.Record_Recovered:
		return parseRecovered(kind.Recovered)
	}
	return nil, c.err
}

var kindOneof = (&recordv1.Record{}).ProtoReflect().Descriptor().Oneofs().ByName("kind")

func checkGenesis(c *checker, g *recordv1.Genesis) {
	c.at("server", g.Server, func(c *checker) { checkServer(c, g.Server) })
	c.at("device", g.Device, func(c *checker) { checkDeviceKeys(c, g.Device) })
	c.at("policy", g.Policy, func(c *checker) { checkPolicy(c, g.Policy) })
}

func checkServer(c *checker, s *recordv1.Server) {
	if len(s.Url) > maxURL {
		c.fault("url", "%d bytes, more than %d", len(s.Url), maxURL)
	}
	c.signKey("sign_key", s.SignKey)
	c.sealKey("seal_key", s.SealKey)
	if bytes.Equal(s.SignKey, s.SealKey) {
		c.fault("seal_key", "the same as sign_key")
	}
}

func checkPolicy(c *checker, p *recordv1.Policy) {
	c.between("reveals_per_hour", p.RevealsPerHour, 1, maxIndex)
	c.between("reveals_per_day", p.RevealsPerDay, 1, maxIndex)
}

func checkDeviceKeys(c *checker, k *recordv1.DeviceKeys) {
	c.signKey("sign_key", k.SignKey)
	c.sealKey("seal_key", k.SealKey)
	c.signKey("confirm_key", k.ConfirmKey)
	c.between("generation", k.Generation, 1, maxIndex)
	c.some("sealed_name", k.SealedName)
	if bytes.Equal(k.SignKey, k.SealKey) || bytes.Equal(k.SignKey, k.ConfirmKey) || bytes.Equal(k.SealKey, k.ConfirmKey) {
		c.fault("confirm_key", "signing, sealing and confirming share a key")
	}
}

func checkDeviceAdded(c *checker, d *recordv1.DeviceAdded) {
	c.between("device", d.Device, 1, maxIndex)
	c.at("keys", d.Keys, func(c *checker) { checkDeviceKeys(c, d.Keys) })
	checkSealedKeys(c, d.Generations, d.SeedShares)
}

// checkSealedKeys checks what DeviceAdded and DeviceUnlocked bring a device.
func checkSealedKeys(c *checker, generations []*recordv1.GenerationKeys, seedShares []*recordv1.SealedToEpoch) {
	for _, g := range generations {
		c.some("generations.metadata_key", g.MetadataKey)
	}
	ascending(c, "generations", generations, (*recordv1.GenerationKeys).GetNumber)
	for _, s := range seedShares {
		c.some("seed_shares.sealed", s.Sealed)
	}
	ascending(c, "seed_shares", seedShares, (*recordv1.SealedToEpoch).GetEpoch)
}

func checkSealed(c *checker, field string, list []*recordv1.SealedToDevice) {
	for _, s := range list {
		c.some(field+".sealed", s.Sealed)
	}
	ascending(c, field, list, (*recordv1.SealedToDevice).GetDevice)
}

func checkGeneration(c *checker, g *recordv1.KeyGeneration) {
	c.between("number", g.Number, 1, maxIndex)
	checkSealed(c, "metadata_keys", g.MetadataKeys)
	checkSealed(c, "device_share_keys", g.DeviceShareKeys)
	for _, b := range g.Backups {
		c.sealKey("backups.public_key", b.PublicKey)
		c.some("backups.sealed", b.Sealed)
	}
	ascending(c, "backups", g.Backups, (*recordv1.KeyBackup).GetEpoch)
}

func checkSplitSecret(c *checker, s *recordv1.SplitSecret, backup bool) {
	c.some("sealed_device_share", s.SealedDeviceShare)
	c.size("tag", s.Tag, hashSize)
	c.size("device_share_hash", s.DeviceShareHash, hashSize)
	c.size("server_share_hash", s.ServerShareHash, hashSize)
	if backup {
		c.size("backup_share_hash", s.BackupShareHash, hashSize)
	} else {
		c.absent("backup_share_hash", s.BackupShareHash)
	}
	c.between("generation", s.Generation, 1, maxIndex)
}

func checkSlotPut(c *checker, p *recordv1.SlotPut) {
	c.size("slot", p.Slot, idSize)
	c.between("version", p.Version, 1, maxIndex)
	c.between("epoch", p.Epoch, 1, maxIndex)
	c.between("device", p.Device, 1, maxIndex)
	c.between("counter", p.Counter, 1, maxIndex)
	c.sealKey("slot_key", p.SlotKey)
	c.between("generation", p.Generation, 1, maxIndex)
	c.some("sealed_metadata", p.SealedMetadata)
	c.at("secret", p.Secret, func(c *checker) { checkSplitSecret(c, p.Secret, true) })
	c.some("sealed_backup_share", p.SealedBackupShare)
}

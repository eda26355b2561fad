package ledger

import (
	"bytes"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/signing"
)

func checkEpochPrepared(c *checker, p *recordv1.EpochPrepared) {
	c.between("epoch", p.Epoch, 1, maxIndex)
	c.signKey("root_key", p.RootKey)
	c.between("identifier", p.Identifier, 0, 1<<15-1)
	c.between("waiting_period", p.WaitingPeriod, 1, maxWaiting)
	c.between("generation", p.Generation, 1, maxIndex)
	c.some("sealed_master_key", p.SealedMasterKey)
	c.size("server_share_hash", p.ServerShareHash, hashSize)
	c.size("device_share_hash", p.DeviceShareHash, hashSize)
	checkSealed(c, "seed_shares", p.SeedShares)
	for _, g := range p.Generations {
		c.at("generations", g, func(c *checker) { checkGeneration(c, g) })
	}
	ascending(c, "generations", p.Generations, (*recordv1.KeyGeneration).GetNumber)
	c.size("device_list_signature", p.DeviceListSignature, signing.SignatureSize)
	if c.err != nil {
		return
	}
	checkMembers(c, p)
}

// checkMembers wants the keys that approve to be all different: one holder must
// not count as two.
func checkMembers(c *checker, p *recordv1.EpochPrepared) {
	k, n := p.Quorum, uint64(len(p.Members))
	if !(k == 1 && n == 1) && (k < 2 || k > n || n > maxQuorum) {
		c.err = refuse(RuleQuorum, "%d of %d", k, n)
		return
	}
	keys := [][]byte{p.RootKey}
	if len(p.SheetKey) > 0 {
		c.signKey("sheet_key", p.SheetKey)
		keys = append(keys, p.SheetKey)
	}
	for _, m := range p.Members {
		c.signKey("members.share_key", m.ShareKey)
		c.at("members.waiting", m.Waiting, func(c *checker) { checkSplitSecret(c, m.Waiting, false) })
		keys = append(keys, m.ShareKey)
	}
	for i := range keys {
		for _, other := range keys[:i] {
			if bytes.Equal(keys[i], other) {
				c.fault("members", "two holders have the same key")
			}
		}
	}
}

// ContactNameSize is the size in bytes of a contact's sealed name, which is padded:
// whoever cannot open it does not learn how long it is, nor whether there is one.
const ContactNameSize = 92

func checkContactBound(c *checker, b *recordv1.ContactBound) {
	c.between("epoch", b.Epoch, 1, maxIndex)
	c.between("member", b.Member, 1, maxQuorum)
	c.between("generation", b.Generation, 1, maxIndex)
	c.size("sealed_name", b.SealedName, ContactNameSize)
	if b.Contact != nil {
		c.at("contact", b.Contact, func(c *checker) { checkContact(c, b.Contact) })
	}
}

func checkContact(c *checker, contact *recordv1.Contact) {
	c.size("account", contact.Account, hashSize)
	if len(contact.Devices) == 0 {
		c.fault("devices", "missing")
	}
	seen := map[string]bool{}
	for _, d := range contact.Devices {
		c.signKey("devices.sign_key", d.SignKey)
		c.sealKey("devices.seal_key", d.SealKey)
		for _, key := range [][]byte{d.SignKey, d.SealKey} {
			if seen[string(key)] {
				c.fault("devices", "a key stands twice")
			}
			seen[string(key)] = true
		}
	}
}

func checkShareReceipt(c *checker, r *recordv1.ShareReceipt) {
	c.between("epoch", r.Epoch, 1, maxIndex)
	c.at("holder", r.Holder, func(c *checker) { checkHolder(c, r.Holder) })
	if r.Holder.GetKind() == recordv1.Holder_KIND_DEVICE {
		c.fault("holder", "devices give no receipts")
	}
	c.size("signature", r.Signature, signing.SignatureSize)
}

// checkHolder wants a number where there are several holders of the kind, and
// none elsewhere.
func checkHolder(c *checker, h *recordv1.Holder) {
	switch h.Kind {
	case recordv1.Holder_KIND_DEVICE:
		c.between("number", h.Number, 1, maxIndex)
	case recordv1.Holder_KIND_MEMBER:
		c.between("number", h.Number, 1, maxQuorum)
	case recordv1.Holder_KIND_SERVER, recordv1.Holder_KIND_SHEET:
		c.between("number", h.Number, 0, 0)
	default:
		c.fault("kind", "%d", h.Kind)
	}
}

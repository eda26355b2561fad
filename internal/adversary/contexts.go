package adversary

import (
	"encoding/binary"
	"encoding/hex"
	"maps"
	"slices"

	"zeropass.dev/zeropass/credential"
	"zeropass.dev/zeropass/signing"
)

// placed is one context that a ciphertext may have.
type placed struct {
	encoded  []byte
	infoHash []byte // of HPKE's key schedule
	derive   []byte // info of HKDF, where the context's key is derived; or nil
	object   string // whose share may be in the ciphertext
	around   scope  // what stands around it, and so around its plaintext
}

// sealed is a ciphertext.
type sealed struct {
	ciphertext
	scopes   map[scope]bool
	contexts []placed
	sizes    [2]int // of scopes and values, for which contexts are right
	round    int    // in which it came, or got other contexts
	mask     uint64 // of the parties that have it with the same contexts
}

func (s *sealed) copy() *sealed {
	return &sealed{ciphertext: s.ciphertext, scopes: maps.Clone(s.scopes)}
}

// addSealed takes a string for a ciphertext, if it may be one.
func (k *knowledge) addSealed(b []byte, around scope) {
	if !looksSealed(b) {
		return
	}
	s := k.sealed[string(b)]
	if s == nil {
		s = &sealed{ciphertext: newCiphertext(b), scopes: map[scope]bool{}, round: k.round}
		k.sealed[string(b)] = s
		k.changes++
	}
	if !s.scopes[around] {
		s.scopes[around] = true
		k.changes++
	}
}

// expand brings every ciphertext's contexts up to what is known. One that gets
// others is tried again.
func (k *knowledge) expand() {
	memo := map[scope][2][]placed{}
	for _, s := range k.sealed {
		sizes := [2]int{len(s.scopes), k.values.size}
		if s.sizes == sizes {
			continue
		}
		s.sizes = sizes
		contexts := map[string]placed{}
		for around := range s.scopes {
			if !around.specific() && len(s.scopes) > 1 {
				continue // somewhere else it is known better
			}
			if _, ok := memo[around]; !ok {
				memo[around] = [2][]placed{k.contexts(around, false), k.contexts(around, true)}
			}
			form := 0
			if s.isHPKE() {
				form = 1
			}
			for _, c := range memo[around][form] {
				contexts[string(c.encoded)] = c
			}
		}
		if len(contexts) != len(s.contexts) {
			s.contexts = slices.Collect(maps.Values(contexts))
			s.round, s.mask = k.round, 0
		}
	}
}

// contexts returns the contexts of a scope: the rows of the specification's
// chapter 3.2 for HPKE or for AES-GCM, filled with everything that is known.
func (k *knowledge) contexts(around scope, hpke bool) []placed {
	var list []placed
	if around.path != "" {
		c := signing.NewContext("home").Text(around.path).Encode()
		return append(list, placed{encoded: c, derive: c})
	}
	if around.stored != "" {
		within := scope{account: around.account, epoch: around.epoch, slot: around.slot, version: around.version}
		return append(list, placed{encoded: []byte(around.stored), object: around.object, around: within})
	}
	for id, account := range k.values.accounts {
		if around.account != "" && around.account != id {
			continue
		}
		f := filler{id: id, account: account, values: &k.values, around: around}
		if hpke {
			f.hpke()
		} else {
			f.aead()
		}
		list = append(list, f.list...)
	}
	for i := range list {
		list[i].around = around
	}
	return list
}

// filler fills the rows of the table for one account.
type filler struct {
	id      string
	account *account
	values  *values
	around  scope
	list    []placed
}

func (f *filler) add(s signing.Sealing) {
	s.Account = []byte(f.id)
	f.list = append(f.list, place(s, nil))
}

func place(s signing.Sealing, derive []byte) placed {
	encoded := s.Context().Encode()
	object := objectName(string(s.Account), s.Epoch, s.Object, s.Version)
	return placed{encoded: encoded, infoHash: infoHash(encoded), derive: derive, object: object}
}

// each calls do for every epoch that a ciphertext may be of.
func (f *filler) epochs(do func(epoch uint64)) {
	if f.around.epoch != 0 {
		do(f.around.epoch)
		return
	}
	for epoch := range f.account.epochs {
		do(epoch)
	}
}

// mostRenamings is how often a device may have been renamed for its name to be
// found.
const mostRenamings = 4

func (f *filler) aead() {
	if f.around.slot != "" {
		f.slotAEAD()
		return
	}
	for generation := range f.account.generations {
		recipient := credential.GenerationName(generation)
		for key := range f.account.signKeys {
			name := signing.Sealing{Kind: "device-name", Object: []byte(key), Role: "name", Recipient: recipient}
			f.add(name)
			f.list = append(f.list, place(name, nil)) // in Genesis, which has no account yet
			for name.Version = 1; name.Version <= mostRenamings; name.Version++ {
				f.add(name)
			}
		}
		f.contactNames(recipient)
		for device := range f.account.devices {
			sender := credential.DeviceName(device)
			f.epochs(func(epoch uint64) {
				f.add(signing.Sealing{Kind: "master-key", Epoch: epoch, Role: "metadata", Sender: sender, Recipient: recipient})
				for member := range f.account.members {
					f.add(signing.Sealing{Kind: "waiting-share", Epoch: epoch, Object: []byte(memberName(member)), Role: "device", Sender: sender, Recipient: recipient})
				}
			})
		}
	}
	answer := signing.Sealing{Kind: "invitation-answer", Account: []byte(f.id), Role: "contact"}
	f.list = append(f.list, place(answer, signing.NewContext("invitation").Bytes([]byte(f.id)).Encode()))
}

// contactNames fills the row of contacts' and papers' names.
func (f *filler) contactNames(recipient string) {
	f.epochs(func(epoch uint64) {
		for contact := range f.account.contacts {
			for member := range f.account.members {
				f.add(signing.Sealing{Kind: "contact-name", Epoch: epoch, Object: []byte(contact), Version: member, Role: "name", Recipient: recipient})
			}
		}
	})
}

// slotAEAD fills the rows of slots. What has a slot around it is bound to that.
func (f *filler) slotAEAD() {
	for generation := range f.account.generations {
		for device := range f.account.devices {
			f.epochs(func(epoch uint64) {
				s := f.slot(epoch, device, "device", credential.GenerationName(generation))
				f.add(s)
				s.Kind, s.Role = "slot-metadata", "metadata"
				f.add(s)
			})
		}
	}
}

func (f *filler) slot(epoch, device uint64, role, recipient string) signing.Sealing {
	return signing.Sealing{Kind: "credential-share", Epoch: epoch, Object: []byte(f.around.slot), Version: f.around.version, Role: role, Sender: credential.DeviceName(device), Recipient: recipient}
}

func (f *filler) slotHPKE() {
	for device := range f.account.devices {
		f.epochs(func(epoch uint64) {
			f.add(f.slot(epoch, device, "server", credential.ServerName))
			if path := f.around.slotKey; path != (slotKey{}) {
				f.add(f.slot(epoch, device, "backup", credential.SlotKeyName(path.device, path.counter)))
			}
		})
	}
}

func (f *filler) hpke() {
	if f.around.slot != "" {
		f.slotHPKE()
		return
	}
	for device := range f.account.devices {
		sender := credential.DeviceName(device)
		for recipient := range f.account.devices {
			f.toDevice(sender, credential.DeviceName(recipient))
		}
		f.epochs(func(epoch uint64) {
			f.toServer(epoch, sender)
			f.toContacts(epoch, "device", sender)
			for generation := range f.account.generations {
				f.add(signing.Sealing{Kind: "metadata-key", Epoch: epoch, Object: []byte(credential.GenerationName(generation)), Role: "backup", Sender: sender, Recipient: credential.SlotKeyName(0, generation)})
			}
		})
		f.fromServer(credential.DeviceName(device))
	}
	f.epochs(func(epoch uint64) {
		f.toContacts(epoch, credential.ServerName, credential.ServerName)
		f.toNewDevice(epoch)
	})
}

func (f *filler) toDevice(sender, recipient string) {
	for generation := range f.account.generations {
		for _, kind := range []string{"metadata-key", "device-share-key"} {
			f.add(signing.Sealing{Kind: kind, Object: []byte(credential.GenerationName(generation)), Role: "device", Sender: sender, Recipient: recipient})
		}
	}
	f.epochs(func(epoch uint64) {
		f.add(signing.Sealing{Kind: "seed-share", Epoch: epoch, Object: []byte("group/1"), Role: "device", Sender: sender, Recipient: recipient})
	})
}

func (f *filler) toServer(epoch uint64, sender string) {
	server := credential.ServerName
	f.add(signing.Sealing{Kind: "seed-share", Epoch: epoch, Object: []byte("group/0"), Role: server, Sender: sender, Recipient: server})
	for member := range f.account.members {
		f.add(signing.Sealing{Kind: "waiting-share", Epoch: epoch, Object: []byte(memberName(member)), Role: server, Sender: sender, Recipient: server})
	}
}

func (f *filler) toContacts(epoch uint64, role, sender string) {
	for member := range f.account.members {
		for contact := range f.values.accounts {
			f.add(signing.Sealing{Kind: "contact-half", Epoch: epoch, Object: []byte(memberName(member)), Role: role, Sender: sender, Recipient: "account/" + hex.EncodeToString([]byte(contact))})
		}
	}
}

func (f *filler) toNewDevice(epoch uint64) {
	for r := range f.values.requests {
		if r.account != f.id {
			continue
		}
		to := "key/" + hex.EncodeToString([]byte(r.sealKey))
		f.add(signing.Sealing{Kind: "release", Epoch: epoch, Object: []byte(r.id), Role: credential.ServerName, Sender: credential.ServerName, Recipient: to})
		for member := range f.account.members {
			f.add(signing.Sealing{Kind: "recovery-share", Epoch: epoch, Object: []byte(r.id), Version: member, Role: "contact", Sender: memberName(member), Recipient: to})
		}
	}
}

// fromServer fills the rows of answers, which no party is meant to keep.
func (f *filler) fromServer(recipient string) {
	if f.around.specific() {
		return
	}
	for nonce := range f.account.nonces {
		f.add(signing.Sealing{Kind: "seed-half", Object: []byte(nonce), Role: credential.ServerName, Sender: credential.ServerName, Recipient: recipient})
	}
	for hash := range f.account.asked {
		f.add(signing.Sealing{Kind: "reveal", Object: []byte(hash), Role: credential.ServerName, Sender: credential.ServerName, Recipient: recipient})
	}
}

func memberName(member uint64) string { return credential.MemberName(member) }

// objectName names what shares may be of, whoever holds them in whatever form.
func objectName(account string, epoch uint64, object []byte, version uint64) string {
	b := binary.BigEndian.AppendUint64([]byte(account), epoch)
	return string(append(binary.BigEndian.AppendUint64(b, version), object...))
}

package credential

import (
	"errors"
	"strconv"

	"zeropass.dev/zeropass/aead"
	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/signing"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
)

// Kinds of contexts.
const (
	kindCredential = "credential-share"
	kindWaiting    = "waiting-share"
	kindMetadata   = "slot-metadata"
)

// ServerName is how contexts name the account's server.
const ServerName = "server"

// roleTag is the role of the context that a tag is made over.
const roleTag = "tag"

// DeviceName returns "device/N", how contexts name a device.
func DeviceName(device uint64) string {
	return "device/" + strconv.FormatUint(device, 10)
}

// GenerationName returns "generation/G", how contexts name a key generation.
func GenerationName(generation uint64) string {
	return "generation/" + strconv.FormatUint(generation, 10)
}

// SlotKeyName returns "slot/D/C", how contexts name the slot key
// m/1'/device/counter.
func SlotKeyName(device, counter uint64) string {
	return "slot/" + strconv.FormatUint(device, 10) + "/" + strconv.FormatUint(counter, 10)
}

// MemberName returns "member/M", how contexts name a member of group 2, counted
// from 1.
func MemberName(member uint64) string {
	return "member/" + strconv.FormatUint(member, 10)
}

// Binding is the place of a split secret. Its tag and every sealed share of it
// are bound to it. Make it with [SlotBinding] or [WaitingBinding].
type Binding struct {
	Kind    string
	Account [32]byte
	Epoch   uint64
	Object  []byte // the slot's id, or the member's name
	Version uint64 // of the slot, from 1; 0 for a waiting share
	Sender  uint64 // number of the device that made the split
}

// SlotBinding returns the place of the secret in a slot version.
func SlotBinding(account [32]byte, put *recordv1.SlotPut) Binding {
	return Binding{
		Kind:    kindCredential,
		Account: account,
		Epoch:   put.GetEpoch(),
		Object:  put.GetSlot(),
		Version: put.GetVersion(),
		Sender:  put.GetDevice(),
	}
}

// WaitingBinding returns the place of a member's share that waits for its
// contact; device is the one that prepared the epoch.
func WaitingBinding(account [32]byte, epoch, member, device uint64) Binding {
	return Binding{
		Kind:    kindWaiting,
		Account: account,
		Epoch:   epoch,
		Object:  []byte(MemberName(member)),
		Sender:  device,
	}
}

// Sealing returns the context's fields for one role of this place, sealed by the
// device that made the split.
func (b Binding) Sealing(role, recipient string) signing.Sealing {
	return signing.Sealing{
		Kind:      b.Kind,
		Account:   b.Account[:],
		Epoch:     b.Epoch,
		Object:    b.Object,
		Version:   b.Version,
		Role:      role,
		Sender:    DeviceName(b.Sender),
		Recipient: recipient,
	}
}

// device is the context of the device share under a generation's device-share
// key. sealer is the device that sealed it, which after a recovery is not the
// one that made the split.
func (b Binding) device(generation, sealer uint64) *signing.Context {
	b.Sender = sealer
	return b.Sealing(Device.String(), GenerationName(generation)).Context()
}

func (b Binding) server() *signing.Context {
	return b.Sealing(Server.String(), ServerName).Context()
}

func (b Binding) backup(device, counter uint64) *signing.Context {
	return b.Sealing(Backup.String(), SlotKeyName(device, counter)).Context()
}

func metadataContext(account [32]byte, put *recordv1.SlotPut) *signing.Context {
	b := SlotBinding(account, put)
	b.Kind = kindMetadata
	return b.Sealing("metadata", GenerationName(put.GetGeneration())).Context()
}

// open decrypts with a symmetric key.
func open(key *aead.Key, c *signing.Context, sealed []byte) ([]byte, error) {
	plaintext, err := key.Open(c, sealed)
	if err != nil {
		return nil, ErrOpen
	}
	return plaintext, nil
}

// openHPKE decrypts with a private key. Its other errors than ErrOpen are the key's, where
// it is in another process.
func openHPKE(key hpke.Opener, c *signing.Context, sealed []byte) ([]byte, error) {
	plaintext, err := key.Open(c.Encode(), nil, sealed)
	if errors.Is(err, hpke.ErrOpen) {
		return nil, ErrOpen
	}
	return plaintext, err
}

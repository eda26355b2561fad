package recovery

import (
	"errors"

	"zeropass.dev/zeropass/aead"
	"zeropass.dev/zeropass/credential"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/seed"
)

// Source is one party's shares of secrets. [*Device], [*Released] and [*Backup]
// are the three. A Source is used by several goroutines at once.
type Source interface {
	// Party returns whose shares these are.
	Party() credential.Party
	// Share returns the party's share of a slot version, y ‖ x, compared with its
	// hash, in memory that the caller erases.
	Share(put *recordv1.SlotPut) ([]byte, error)
}

// Opener is a Source that also opens what is not split.
type Opener interface {
	Source
	// MetadataKey returns the metadata key of a generation. It is not a copy.
	MetadataKey(generation uint64) (*aead.Key, error)
	// CheckSlotKey says whether a slot version was backed up: whether its slot key
	// stands at its place below the epoch's master public key. If not, the error
	// wraps seed.ErrSlotKey.
	CheckSlotKey(put *recordv1.SlotPut) error
}

// Backup is the contacts' part: the keys that they rebuild.
type Backup struct{}

// NewBackup returns the backup shares and metadata keys of an epoch. It keeps the
// keys, and erases them with itself.
func NewBackup(state *ledger.State, epoch uint64, keys *seed.Keys) *Backup { return &Backup{} }

// Party returns credential.Backup.
func (b *Backup) Party() credential.Party { return credential.Backup }

// Share opens the backup share of a slot version of the epoch.
func (b *Backup) Share(put *recordv1.SlotPut) ([]byte, error) { return nil, errors.ErrUnsupported }

// MetadataKey opens a generation's metadata key from its backup.
func (b *Backup) MetadataKey(generation uint64) (*aead.Key, error) {
	return nil, errors.ErrUnsupported
}

// CheckSlotKey says whether a slot version was backed up.
func (b *Backup) CheckSlotKey(put *recordv1.SlotPut) error { return errors.ErrUnsupported }

// Erase erases the keys.
func (b *Backup) Erase() {}

// Released is the server's part: the shares that it has released.
type Released struct{}

// NewReleased returns an empty Released.
func NewReleased() *Released { return &Released{} }

// Add takes a copy of the server's share, y ‖ x, of a slot version in an epoch.
func (r *Released) Add(epoch uint64, slot ledger.SlotID, version uint64, share []byte) {}

// Party returns credential.Server.
func (r *Released) Party() credential.Party { return credential.Server }

// Share returns the server's share of a slot version.
func (r *Released) Share(put *recordv1.SlotPut) ([]byte, error) { return nil, errors.ErrUnsupported }

// Erase erases the shares.
func (r *Released) Erase() {}

package recovery

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"sync"

	"zeropass.dev/zeropass/aead"
	"zeropass.dev/zeropass/credential"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/seed"
)

// redacted is what values that hold secrets print as.
const redacted = "[secret]"

// Source is one party's shares of secrets. [*Device], [*Released] and [*Backup]
// are the three. A Source is used by several goroutines at once.
type Source interface {
	// Party returns whose shares these are.
	Party() credential.Party
	// Share returns the party's share of a slot version, y ‖ x, compared with its
	// hash, in memory that the caller erases.
	Share(put *recordv1.SlotPut) ([]byte, error)
}

// Opener is a Source that also opens what is not split: [*Device] and [*Backup].
type Opener interface {
	Source
	// MetadataKey returns the metadata key of a generation. It is not a copy.
	MetadataKey(generation uint64) (*aead.Key, error)
	// CheckSlotKey says whether contacts can open a slot version: whether its slot
	// key stands at its place below the epoch's master public key. If not, the
	// error wraps seed.ErrSlotKey.
	CheckSlotKey(put *recordv1.SlotPut) error
}

// Backup is the contacts' part: the keys of an epoch that they rebuild.
type Backup struct {
	state  *ledger.State
	epoch  uint64
	secret func() *backupSecret // hidden from reflection, as in package signing
}

type backupSecret struct {
	keys     *seed.Keys
	mu       sync.Mutex
	metadata map[uint64]*aead.Key
}

// NewBackup returns the backup shares and metadata keys of an epoch. It takes the
// keys over: Erase erases them.
func NewBackup(state *ledger.State, epoch uint64, keys *seed.Keys) *Backup {
	secret := &backupSecret{keys: keys, metadata: map[uint64]*aead.Key{}}
	return &Backup{state: state, epoch: epoch, secret: func() *backupSecret { return secret }}
}

// Party returns credential.Backup.
func (b *Backup) Party() credential.Party { return credential.Backup }

// Epoch returns the epoch whose keys these are.
func (b *Backup) Epoch() uint64 { return b.epoch }

// Keys returns the epoch's keys, which are not copied.
func (b *Backup) Keys() *seed.Keys { return b.secret().keys }

// Share opens the backup share of a slot version. It returns an error that wraps
// [ErrOtherSplit] for a version in another epoch, seed.ErrSlotKey for one that was
// sealed to a key of another place, credential.ErrOpen, or a
// *credential.WrongShareError.
func (b *Backup) Share(put *recordv1.SlotPut) ([]byte, error) {
	if put.GetEpoch() != b.epoch {
		return nil, fmt.Errorf("%w: epoch %d, the keys are of epoch %d", ErrOtherSplit, put.GetEpoch(), b.epoch)
	}
	key, err := b.Keys().SlotKey(put.GetDevice(), put.GetCounter())
	if err != nil {
		return nil, err
	}
	defer key.Erase()
	if !bytes.Equal(key.PublicKey().Bytes(), put.GetSlotKey()) {
		return nil, fmt.Errorf("%w: device %d, counter %d", seed.ErrSlotKey, put.GetDevice(), put.GetCounter())
	}
	return credential.OpenBackupShare(key, b.state.Account(), put)
}

// MetadataKey opens a generation's metadata key from its backup. It returns an
// error that wraps [ErrNoKey] or seed.ErrOpen.
func (b *Backup) MetadataKey(generation uint64) (*aead.Key, error) {
	s := b.secret()
	s.mu.Lock()
	defer s.mu.Unlock()
	if key := s.metadata[generation]; key != nil {
		return key, nil
	}
	backup, author, ok := b.state.GenerationBackup(generation, b.epoch)
	if !ok {
		return nil, fmt.Errorf("%w: metadata key %d is not backed up in epoch %d", ErrNoKey, generation, b.epoch)
	}
	key, err := s.keys.OpenMetadataKeyBackup(b.state.Account(), generation, author, backup)
	if err != nil {
		return nil, err
	}
	s.metadata[generation] = key
	return key, nil
}

// CheckSlotKey says whether contacts can open a slot version.
func (b *Backup) CheckSlotKey(put *recordv1.SlotPut) error {
	return b.Keys().Master().CheckSlotKey(put.GetDevice(), put.GetCounter(), put.GetSlotKey())
}

// Erase erases the keys.
func (b *Backup) Erase() {
	s := b.secret()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys.Erase()
	for _, key := range s.metadata {
		key.Erase()
	}
	clear(s.metadata)
}

// Format writes "[secret]" for every verb.
func (b Backup) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue returns "[secret]".
func (b Backup) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns "[secret]".
func (b Backup) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Released is the server's part: the shares that it has released. Adding to it is
// for one goroutine alone.
type Released struct {
	shares func() map[slotVersion][]byte // hidden from reflection
}

type slotVersion struct {
	epoch   uint64
	slot    ledger.SlotID
	version uint64
}

// NewReleased returns a Released without shares.
func NewReleased() *Released {
	shares := map[slotVersion][]byte{}
	return &Released{shares: func() map[slotVersion][]byte { return shares }}
}

// Add takes a copy of the server's share, y ‖ x, of a slot version in an epoch, in
// the place of an earlier one.
func (r *Released) Add(epoch uint64, slot ledger.SlotID, version uint64, share []byte) {
	place := slotVersion{epoch, slot, version}
	clear(r.shares()[place])
	r.shares()[place] = bytes.Clone(share)
}

// Len returns how many shares there are.
func (r *Released) Len() int { return len(r.shares()) }

// Party returns credential.Server.
func (r *Released) Party() credential.Party { return credential.Server }

// Share returns the server's share of a slot version. It returns an error that
// wraps [ErrNoShare], or a *credential.WrongShareError.
func (r *Released) Share(put *recordv1.SlotPut) ([]byte, error) {
	if len(put.GetSlot()) != len(ledger.SlotID{}) {
		return nil, ErrNoShare
	}
	share, ok := r.shares()[slotVersion{put.GetEpoch(), ledger.SlotID(put.GetSlot()), put.GetVersion()}]
	if !ok {
		return nil, fmt.Errorf("the server %w", ErrNoShare)
	}
	if err := credential.CheckShare(put.GetSecret(), credential.Server, share); err != nil {
		return nil, err
	}
	return bytes.Clone(share), nil
}

// Erase erases the shares.
func (r *Released) Erase() {
	for _, share := range r.shares() {
		clear(share)
	}
	clear(r.shares())
}

// Format writes "[secret]" for every verb.
func (r Released) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue returns "[secret]".
func (r Released) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns "[secret]".
func (r Released) MarshalText() ([]byte, error) { return []byte(redacted), nil }

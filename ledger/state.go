package ledger

import (
	"cmp"
	"maps"
	"slices"
	"time"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/signing"
)

// State is what a ledger's entries amount to. Make it with [Fold]; the zero
// State is that before Genesis. Reading is safe for concurrent use while nobody
// calls Apply, Extend or Replay.
//
// Every change goes through put and assign, which note how to take it back: a
// refused entry leaves nothing behind, and an accepted one costs what it
// changes, not what the state holds.
type State struct {
	account AccountID
	hashes  []Hash // of entry i+1
	size    int64  // of all entries, bytes
	time    uint64 // of the newest entry, milliseconds

	server      *recordv1.Server
	serverKeys  []*signing.PublicKey // sign keys of all servers, the present one's last
	serverSince uint64               // sequence of the entry that named it
	policy      policy
	policySince uint64

	devices    map[uint64]*Device
	lastDevice uint64
	listSince  uint64          // sequence of the newest change of the device list
	keys       map[string]bool // every key that a device or server of the account ever had

	epochs     map[uint64]*Epoch
	lastEpoch  uint64
	inUse      uint64 // 0 before epoch 1 is prepared
	prepared   uint64 // 0 if none
	epochSince uint64 // sequence of the newest preparation or commitment
	committed  bool   // whether any epoch ever was

	generation uint64 // newest, 0 before epoch 1
	openSince  uint64 // first generation whose device-share key still exists
	deviceKeys map[generationDevice]sealedKeys
	backups    map[generationEpoch]sealedBackup
	seedShares map[epochDevice]sealedShare

	slots    map[SlotID]*Slot
	counters map[uint64]uint64 // last used, by device
	carried  map[uint64]int    // what a recovery must carry, by epoch: of those in use and prepared

	nonces     map[[idSize]byte]bool
	vetoes     map[Hash][]Veto
	recoveries map[Hash]Recovery

	undo      []func()
	proved    map[proof]bool // signatures known to be valid, while Extend runs
	replaying bool           // all are known to be, while Replay runs
}

// Keys of maps.
type (
	generationDevice struct{ generation, device uint64 }
	generationEpoch  struct{ generation, epoch uint64 }
	epochDevice      struct{ epoch, device uint64 }
)

// Ciphertexts, and the device that sealed them.
type (
	sealedKeys struct {
		metadata, deviceShare []byte
		author                uint64
	}
	sealedBackup struct {
		backup *recordv1.KeyBackup
		author uint64
	}
	sealedShare struct {
		sealed []byte
		author uint64
	}
)

// put sets an element of a map of the state.
func put[K comparable, V any](s *State, m map[K]V, key K, value V) {
	old, had := m[key]
	s.undo = append(s.undo, func() {
		if had {
			m[key] = old
		} else {
			delete(m, key)
		}
	})
	m[key] = value
}

// assign sets a field of the state.
func assign[T any](s *State, field *T, value T) {
	old := *field
	s.undo = append(s.undo, func() { *field = old })
	*field = value
}

// rollback takes back everything since the last accepted entry.
func (s *State) rollback() {
	for i := len(s.undo) - 1; i >= 0; i-- {
		s.undo[i]()
	}
	s.settle()
}

func (s *State) settle() {
	s.undo = nil // a state may be kept for long, and a clone of it has its own
}

// Clone returns a State that goes its own way from here.
func (s *State) Clone() *State {
	c := *s
	c.hashes = slices.Clip(s.hashes)
	c.serverKeys = slices.Clip(s.serverKeys)
	c.devices = maps.Clone(s.devices)
	c.keys = maps.Clone(s.keys)
	c.epochs = maps.Clone(s.epochs)
	c.deviceKeys = maps.Clone(s.deviceKeys)
	c.backups = maps.Clone(s.backups)
	c.seedShares = maps.Clone(s.seedShares)
	c.slots = maps.Clone(s.slots)
	c.counters = maps.Clone(s.counters)
	c.carried = maps.Clone(s.carried)
	c.nonces = maps.Clone(s.nonces)
	c.vetoes = maps.Clone(s.vetoes)
	c.recoveries = maps.Clone(s.recoveries)
	c.undo = nil
	c.proved = nil
	c.replaying = false
	return &c
}

// Account returns the account's id, all zero before Genesis.
func (s *State) Account() AccountID { return s.account }

// Head returns the newest entry's number and hash, zero before Genesis.
func (s *State) Head() Head {
	if len(s.hashes) == 0 {
		return Head{}
	}
	return Head{Sequence: uint64(len(s.hashes)), Hash: s.hashes[len(s.hashes)-1]}
}

// Time returns the newest entry's time.
func (s *State) Time() time.Time { return timeOf(s.time) }

// Size returns how many bytes the ledger's entries have, as they are signed.
func (s *State) Size() int64 { return s.size }

// Hash returns the hash of the entry with this number.
func (s *State) Hash(sequence uint64) (Hash, bool) {
	if sequence == 0 || sequence > uint64(len(s.hashes)) {
		return Hash{}, false
	}
	return s.hashes[sequence-1], true
}

// Contains says whether the head is one of this ledger's entries.
func (s *State) Contains(h Head) bool {
	hash, ok := s.Hash(h.Sequence)
	return ok && hash == h.Hash
}

// Server returns the account's server.
func (s *State) Server() *recordv1.Server { return s.server }

// ServerKey returns the server's sign key, nil before Genesis.
func (s *State) ServerKey() *signing.PublicKey {
	if len(s.serverKeys) == 0 {
		return nil
	}
	return s.serverKeys[len(s.serverKeys)-1]
}

// Policy returns the policy in force at a time that is not earlier than the
// newest entry's.
func (s *State) Policy(now time.Time) *recordv1.Policy {
	return s.policy.at(uint64(now.UnixMilli()))
}

// UsedEpoch returns the number of the epoch in use, 0 before epoch 1 is prepared.
func (s *State) UsedEpoch() uint64 { return s.inUse }

// WaitingPeriod returns the waiting period of the epoch in use, 0 before epoch 1 is
// prepared.
func (s *State) WaitingPeriod() time.Duration {
	if e := s.InUse(); e != nil {
		return e.WaitingPeriod()
	}
	return 0
}

// Generation returns the newest key generation, 0 before epoch 1.
func (s *State) Generation() uint64 { return s.generation }

// GenerationKeys returns the keys of a generation as they are sealed to a
// device, and the device that sealed them. The device-share key is nil where
// nobody has it any more, after a recovery.
func (s *State) GenerationKeys(generation, device uint64) (metadata, deviceShare []byte, author uint64, ok bool) {
	k, ok := s.deviceKeys[generationDevice{generation, device}]
	return k.metadata, k.deviceShare, k.author, ok
}

// GenerationBackup returns a generation's metadata key as it is sealed to
// m/1'/0/generation of an epoch, and the device that sealed it.
func (s *State) GenerationBackup(generation, epoch uint64) (backup *recordv1.KeyBackup, author uint64, ok bool) {
	b, ok := s.backups[generationEpoch{generation, epoch}]
	return b.backup, b.author, ok
}

// SeedShare returns group 1's share of an epoch as it is sealed to a device, and
// the device that sealed it.
func (s *State) SeedShare(epoch, device uint64) (sealed []byte, author uint64, ok bool) {
	share, ok := s.seedShares[epochDevice{epoch, device}]
	return share.sealed, share.author, ok
}

// Counter returns the last slot counter that a device used.
func (s *State) Counter(device uint64) uint64 { return s.counters[device] }

// sorted returns a map's values in the ascending order of their keys.
func sorted[K cmp.Ordered, V any](m map[K]V) []V {
	values := make([]V, 0, len(m))
	for _, key := range slices.Sorted(maps.Keys(m)) {
		values = append(values, m[key])
	}
	return values
}

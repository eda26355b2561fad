package ledger

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// RulesVersion is the version of what [State.Extend] verifies and [State.Replay]
// does not. Whoever keeps a note that a head was verified binds it to this number.
// Whoever changes which signatures an entry needs, what they are made over, or how a
// key is read, raises it, so that everything is verified anew.
const RulesVersion = 1

// ErrOtherChain is returned by [State.Replay] for entries that do not lead from the
// state's head to the head that was verified.
var ErrOtherChain = errors.New("ledger: the entries do not lead to the head that was verified")

// Replay is [State.Extend] for the exact bytes of entries that the caller has
// verified before. That they are those it takes from head alone, which must come
// from where nobody but the caller can write: first it wants each entry to name the
// hash of the one before, the first that of the state's head, and the last to have
// the head's hash. An entry's hash is over all its bytes, every signature in it
// included, so that a chain which ends in a verified head has no other entry than the
// verified ones. If it does not, Replay returns [ErrOtherChain] before it has
// believed anything.
//
// Then it applies the entries by all the rules, but verifies none of the signatures
// that [State.Apply] verifies, and does not ask again whether the keys in the entries
// are points. On an error the state is as it was. The bytes must not be changed
// meanwhile; nothing aliases them afterwards.
func (s *State) Replay(head Head, signed ...[]byte) error {
	at := s.Head()
	for _, b := range signed {
		if Hash(previousOf(b)) != at.Hash {
			return fmt.Errorf("%w: entry %d names another previous one", ErrOtherChain, at.Sequence+1)
		}
		at = Head{Sequence: at.Sequence + 1, Hash: entryHash(b)}
	}
	if at != head {
		return fmt.Errorf("%w: they end in %v, not %v", ErrOtherChain, at, head)
	}
	s.replaying = true
	defer func() { s.replaying = false }()
	for _, b := range signed {
		e, err := parseEntry(b, true)
		if err == nil {
			err = s.apply(e)
		}
		if err != nil {
			s.rollback()
			return fmt.Errorf("entry %d: %w", s.Head().Sequence+1, err)
		}
	}
	s.settle()
	return nil
}

// Numbers of fields, in SignedEntry and Entry.
const (
	entryField    = 1
	previousField = 3
)

// previousOf finds the previous entry's hash in the exact bytes of a SignedEntry,
// without judging them: all zero where there is none. In the bytes of an entry that
// was verified it finds what [Entry.Previous] returns.
func previousOf(signed []byte) (h [hashSize]byte) {
	copy(h[:], fieldOf(fieldOf(signed, entryField), previousField))
	return h
}

// fieldOf returns the bytes of the first field with a number, nil without one.
func fieldOf(b []byte, number protowire.Number) []byte {
	for len(b) > 0 {
		have, wireType, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil
		}
		b = b[n:]
		if have == number {
			value, _ := protowire.ConsumeBytes(b)
			return value
		}
		if n = protowire.ConsumeFieldValue(have, wireType, b); n < 0 {
			return nil
		}
		b = b[n:]
	}
	return nil
}

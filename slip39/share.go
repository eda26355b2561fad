package slip39

import (
	"bytes"
	"crypto/subtle"
	"fmt"
	"log/slog"
)

// redacted stands for a share wherever one is printed.
const redacted = "[secret]"

// A Share is one member's share, with the parameters of the set it belongs to.
// It is made by Split, Parse or ParseBinary. Printing, logging or marshalling it
// as text shows nothing of it; Mnemonic, MarshalBinary and Value do.
type Share struct {
	set             setParams
	groupIndex      int
	memberIndex     int
	memberThreshold int
	// Behind a pointer, so that printing a struct that has a Share in an
	// unexported field, where fmt calls no methods, shows an address.
	value *[]byte // nil once erased
}

// setParams are what all shares of one set have in common; equal parameters are
// necessary, not sufficient, for belonging together.
type setParams struct {
	identifier        uint16
	extendable        bool
	iterationExponent int
	groupThreshold    int
	groupCount        int
	size              int // bytes of the secret and of every value
}

// bytes returns the value itself, nil once erased.
func (s *Share) bytes() []byte {
	if s.value == nil {
		return nil
	}
	return *s.value
}

// Identifier returns the 15-bit identifier that all shares of a set carry.
func (s *Share) Identifier() uint16 { return s.set.identifier }

// Extendable reports the extendable backup flag.
func (s *Share) Extendable() bool { return s.set.extendable }

// IterationExponent returns e, 0 to 15; encryption takes 10000·2^e iterations.
func (s *Share) IterationExponent() int { return s.set.iterationExponent }

// GroupThreshold returns how many groups are needed, 1 to 16.
func (s *Share) GroupThreshold() int { return s.set.groupThreshold }

// GroupCount returns how many groups there are, 1 to 16.
func (s *Share) GroupCount() int { return s.set.groupCount }

// GroupIndex returns this share's group, counted from 0, at most 15. Like the
// reference implementation, Parse does not compare it with GroupCount.
func (s *Share) GroupIndex() int { return s.groupIndex }

// MemberIndex returns the share's place within its group, 0 to 15.
func (s *Share) MemberIndex() int { return s.memberIndex }

// MemberThreshold returns how many members its group needs, 1 to 16.
func (s *Share) MemberThreshold() int { return s.memberThreshold }

// Value returns a copy of the share value, as long as the secret, or nil if the
// share is erased.
func (s *Share) Value() []byte { return bytes.Clone(s.bytes()) }

// Equal reports whether both shares have the same parameters, indices and value.
// Its time does not depend on the values.
func (s *Share) Equal(t *Share) bool {
	if s == nil || t == nil {
		return s == t
	}
	return s.set == t.set && s.groupIndex == t.groupIndex && s.memberIndex == t.memberIndex &&
		s.memberThreshold == t.memberThreshold && subtle.ConstantTimeCompare(s.bytes(), t.bytes()) == 1
}

// Erase zeroes the value. The share cannot be used afterwards.
func (s *Share) Erase() {
	clear(s.bytes())
	s.value = nil
}

// usable returns ErrErased unless the share has a value.
func (s *Share) usable() error {
	if s == nil || s.value == nil {
		return ErrErased
	}
	return nil
}

// The methods below have value receivers, so that a dereferenced Share is as
// silent as a pointer to one.

// String returns "[secret]".
func (s Share) String() string { return redacted }

// GoString returns "[secret]".
func (s Share) GoString() string { return redacted }

// Format writes "[secret]" for every verb.
func (s Share) Format(f fmt.State, _ rune) { fmt.Fprint(f, redacted) }

// LogValue returns "[secret]".
func (s Share) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns "[secret]".
func (s Share) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON returns "[secret]" as a JSON string.
func (s Share) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

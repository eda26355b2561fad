// Package canonical reads and writes ZeroPass's records: protobuf in the one
// encoding that it admits.
//
// Protobuf lets one message be written in many ways, and a reader skips what
// it does not know. What is signed and hashed must not be so: [Unmarshal]
// admits exactly the bytes that [Marshal] gives for the message it returns.
// These are the rules, for the message and every message in it:
//
//   - fields stand in the ascending order of their numbers, the elements of a
//     repeated field side by side, a singular field at most once, and at most
//     one member of a oneof
//   - every field number and enum value is known
//   - every varint is as short as possible and within its field's type
//   - a field without presence is left out when it has its default value; a
//     field with presence (a message, an optional scalar, a oneof's member) may
//     be present and empty
//   - repeated numbers are packed, in one field, and left out when there are
//     none; repeated bytes, strings and messages may have empty elements
//   - strings are valid UTF-8
//
// Messages have fields of the kinds bool, int32, int64, uint32, uint64, sint32,
// sint64, enum, string, bytes and message. Other kinds, groups, maps, required
// fields, extensions and unpacked numbers have no canonical form and are
// refused.
//
// A message has at most [MaxSize] bytes, [MaxDepth] levels and [MaxElements]
// sub-messages and elements.
package canonical

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"
)

const (
	// MaxSize is the greatest size of a message, in bytes.
	MaxSize = 64 << 20
	// MaxDepth is how many messages may stand inside each other, the outermost
	// included.
	MaxDepth = 64
	// MaxElements is the greatest number of sub-messages and elements of
	// repeated fields in one message, at all levels. An empty element takes 2
	// bytes on the wire and a hundred in memory, so the size alone is no limit.
	MaxElements = 1 << 20
)

var (
	// ErrNotCanonical is wrapped by every error of this package. The error's
	// text names the rule and the path of the field, and nothing of its value.
	ErrNotCanonical = errors.New("not in the canonical encoding")
	// ErrUnknownField is wrapped as well where a field number or an enum value
	// is not known: a newer program may know it.
	ErrUnknownField = errors.New("needs a newer program")
)

// Marshal returns the canonical bytes of a message, empty and not nil for an
// empty one. A message that has none, because it holds unknown fields, unknown
// enum values or invalid UTF-8 or is beyond a limit, is an error that wraps
// [ErrNotCanonical].
func Marshal(m proto.Message) ([]byte, error) {
	if m == nil || !m.ProtoReflect().IsValid() {
		return nil, fmt.Errorf("canonical: marshal: %w: there is no message", ErrNotCanonical)
	}
	message := m.ProtoReflect()
	// The protobuf library writes most messages in the one encoding and takes half the
	// time, but promises nothing. Unknown fields, which it writes too, have an unknown
	// number or another wire type than the field with theirs, or it would have read them:
	// check refuses both.
	if b, err := proto.Marshal(m); err == nil && b != nil {
		if check(b, message.Descriptor()) == nil {
			return b, nil
		}
		clear(b)
	}
	b, err := write(message)
	if err != nil {
		return nil, fmt.Errorf("canonical: marshal %w", err)
	}
	return b, nil
}

// Unmarshal reads the canonical bytes of a message into m, which it resets
// before. On an error, which wraps [ErrNotCanonical], m is left empty. The
// message does not alias b.
func Unmarshal(b []byte, m proto.Message) error {
	proto.Reset(m)
	if err := check(b, m.ProtoReflect().Descriptor()); err != nil {
		return fmt.Errorf("canonical: unmarshal %w", err)
	}
	if err := proto.Unmarshal(b, m); err != nil {
		proto.Reset(m)
		return fmt.Errorf("canonical: unmarshal %s: %w: %w", m.ProtoReflect().Descriptor().Name(), ErrNotCanonical, err)
	}
	return nil
}

package adversary

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"zeropass.dev/zeropass/canonical"
	"zeropass.dev/zeropass/credential"
	"zeropass.dev/zeropass/interchange"
)

// minNeedle is how many bytes a value must have to be searched for: fewer would
// be found by accident.
const minNeedle = 6

// Target is what an adversary is after: one item, opened when any of its values
// is found. It prints as [secret].
type Target struct {
	name   string
	values [][]byte
}

// String returns "[secret]".
func (Target) String() string { return redacted }

// GoString returns "[secret]".
func (Target) GoString() string { return redacted }

// Format writes "[secret]" for every verb.
func (Target) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue returns "[secret]".
func (Target) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns "[secret]".
func (Target) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Targets returns one target for each item, named by its place and title. Its
// values are the item's secret texts and shares of at least 6 bytes that do not
// stand in the metadata of any of the items as well, and its padded record.
func Targets(items []interchange.Item) []Target {
	var open []string // what is no secret
	for _, item := range items {
		texts(item.Metadata.ProtoReflect(), func(_ protoreflect.FieldDescriptor, text string) { open = append(open, text) })
	}
	targets := make([]Target, len(items))
	for i, item := range items {
		t := Target{name: fmt.Sprintf("%d: %s", i+1, item.Metadata.GetTitle())}
		texts(item.Secret.ProtoReflect(), func(field protoreflect.FieldDescriptor, text string) {
			isOpen := slices.ContainsFunc(open, func(o string) bool { return strings.Contains(o, text) })
			if len(text) >= minNeedle && !isOpen && !common(field) {
				t.values = append(t.values, []byte(text))
			}
		})
		if record, err := canonical.Marshal(item.Secret); err == nil {
			t.values = append(t.values, credential.Pad(record))
		}
		targets[i] = t
	}
	return targets
}

// common says whether a field has values that stand elsewhere too: names of fields,
// places and dates.
func common(field protoreflect.FieldDescriptor) bool {
	return slices.Contains([]protoreflect.Name{"name", "title", "rest", "last_used", "brand", "city", "state", "country", "expiry_year", "expiry_month"}, field.Name())
}

// texts calls do with every string in a message, and with every share.
func texts(m protoreflect.Message, do func(protoreflect.FieldDescriptor, string)) {
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		values := []protoreflect.Value{value}
		if field.IsList() {
			values = nil
			for i := range value.List().Len() {
				values = append(values, value.List().Get(i))
			}
		}
		for _, v := range values {
			switch field.Kind() {
			case protoreflect.MessageKind:
				texts(v.Message(), do)
			case protoreflect.StringKind:
				do(field, v.String())
			case protoreflect.BytesKind: // of a share that is held for somebody
				if field.Name() == "share" {
					do(field, string(v.Bytes()))
				}
			}
		}
		return true
	})
}

// forms returns a value as it may be written: raw, in hexadecimal of either case,
// and in both alphabets of base64 at each of its three places in a group.
func forms(value []byte) [][]byte {
	digits := hex.EncodeToString(value)
	list := [][]byte{value, []byte(digits), []byte(strings.ToUpper(digits))}
	for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for before := range 3 {
			text := encoding.EncodeToString(append(make([]byte, before), value...))
			whole := (before + len(value)) * 8 / 6 // characters that the value alone decides
			list = append(list, []byte(text[(before*8+5)/6:whole]))
		}
	}
	return list
}

// index finds many needles in one pass: by their first bytes.
type index struct {
	first   [1 << 16]bool // by the first two bytes
	needles map[uint64][]needle
}

type needle struct {
	bytes  []byte
	target int
}

func newIndex(targets []Target) *index {
	x := &index{needles: map[uint64][]needle{}}
	for i, t := range targets {
		for _, value := range t.values {
			for _, form := range forms(value) {
				x.first[binary.BigEndian.Uint16(form)] = true
				start := prefix(form)
				x.needles[start] = append(x.needles[start], needle{form, i})
			}
		}
	}
	return x
}

// prefix is the first 6 bytes of a needle, which has at least as many.
func prefix(b []byte) uint64 {
	return uint64(binary.BigEndian.Uint32(b))<<16 | uint64(binary.BigEndian.Uint16(b[4:]))
}

// search marks the targets that stand in a text.
func (x *index) search(text []byte, opened []bool) {
	for i := 0; i+minNeedle <= len(text); i++ {
		if !x.first[binary.BigEndian.Uint16(text[i:])] {
			continue
		}
		for _, n := range x.needles[prefix(text[i:])] {
			if !opened[n.target] && bytes.HasPrefix(text[i:], n.bytes) {
				opened[n.target] = true
			}
		}
	}
}

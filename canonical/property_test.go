package canonical

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"pgregory.net/rapid"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
)

// recordTypes returns all types of messages of the records' schema, in the
// order of their names.
func recordTypes() []protoreflect.MessageType {
	record := (&recordv1.Record{}).ProtoReflect().Descriptor().ParentFile().Package()
	var types []protoreflect.MessageType
	protoregistry.GlobalTypes.RangeMessages(func(mt protoreflect.MessageType) bool {
		if mt.Descriptor().ParentFile().Package() == record {
			types = append(types, mt)
		}
		return true
	})
	slices.SortFunc(types, func(a, b protoreflect.MessageType) int {
		return strings.Compare(string(a.Descriptor().FullName()), string(b.Descriptor().FullName()))
	})
	return types
}

// Every record must have a canonical form, whatever its fields hold.
func TestRecordsHaveCanonicalForm(t *testing.T) {
	types := recordTypes()
	if len(types) < 50 {
		t.Fatalf("only %d types of messages", len(types))
	}
	for _, mt := range types {
		for i := range mt.Descriptor().Fields().Len() {
			fd := mt.Descriptor().Fields().Get(i)
			_, packable, ok := wireTypeOf(fd)
			if !ok || fd.IsList() && fd.IsPacked() != packable {
				t.Errorf("%s has no canonical form", fd.FullName())
			}
		}
	}
}

// fill sets random fields of a message, and of those in it down to a depth.
func fill(t *rapid.T, m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		if depth == 0 && fd.Message() != nil || !rapid.Bool().Draw(t, "set") {
			continue
		}
		if !fd.IsList() {
			m.Set(fd, draw(t, m.NewField(fd), fd, depth))
			continue
		}
		list := m.NewField(fd).List()
		for range rapid.IntRange(0, 3).Draw(t, "elements") {
			list.Append(draw(t, list.NewElement(), fd, depth))
		}
		m.Set(fd, protoreflect.ValueOfList(list))
	}
}

// draw returns a random value; empty is a new one of the field's type.
func draw(t *rapid.T, empty protoreflect.Value, fd protoreflect.FieldDescriptor, depth int) protoreflect.Value {
	switch fd.Kind() {
	case protoreflect.MessageKind:
		fill(t, empty.Message(), depth-1)
		return empty
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes(rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "bytes"))
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(strings.ToValidUTF8(rapid.StringN(0, 5, 20).Draw(t, "string"), ""))
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(rapid.Bool().Draw(t, "bool"))
	case protoreflect.EnumKind:
		values := fd.Enum().Values()
		return protoreflect.ValueOfEnum(values.Get(rapid.IntRange(0, values.Len()-1).Draw(t, "enum")).Number())
	case protoreflect.Int32Kind, protoreflect.Sint32Kind:
		return protoreflect.ValueOfInt32(rapid.Int32().Draw(t, "int32"))
	case protoreflect.Int64Kind, protoreflect.Sint64Kind:
		return protoreflect.ValueOfInt64(rapid.Int64().Draw(t, "int64"))
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(rapid.Uint32().Draw(t, "uint32"))
	}
	return protoreflect.ValueOfUint64(rapid.Uint64().Draw(t, "uint64"))
}

// What is written reads back as the same message, for all records and for the
// schema with every kind.
func TestRoundTrip(t *testing.T) {
	types := append(recordTypes(), dynamic(t, kinds, "Admitted").Type())
	rapid.Check(t, func(t *rapid.T) {
		m := rapid.SampledFrom(types).Draw(t, "type").New()
		fill(t, m, 3)
		b, err := Marshal(m.Interface())
		if err != nil {
			t.Fatal(err)
		}
		if own, err := write(m); err != nil || !bytes.Equal(own, b) {
			t.Fatalf("%v is written as %x, and without the protobuf library as %x, %v", m, b, own, err)
		}
		read := m.New().Interface()
		if err := Unmarshal(b, read); err != nil {
			t.Fatalf("%x: %v", b, err)
		}
		if !proto.Equal(read, m.Interface()) {
			t.Fatalf("%v reads back as %v", m, read)
		}
	})
}

// Bytes near those of a record are read exactly if they are what the message
// that they say is written as.
func TestMutations(t *testing.T) {
	types := recordTypes()
	rapid.Check(t, func(t *rapid.T) {
		m := rapid.SampledFrom(types).Draw(t, "type").New()
		fill(t, m, 2)
		b, err := Marshal(m.Interface())
		if err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(1, 3).Draw(t, "mutations") {
			b = mutate(t, b)
		}
		accepted := checkAccepted(t, b, m.New())
		if want := isFixedPoint(b, m.New()); accepted != want {
			t.Fatalf("%x: accepted: %t, want %t", b, accepted, want)
		}
	})
}

// mutate changes, inserts, deletes or repeats some bytes.
func mutate(t *rapid.T, b []byte) []byte {
	if len(b) == 0 {
		return []byte{rapid.Byte().Draw(t, "byte")}
	}
	from := rapid.IntRange(0, len(b)-1).Draw(t, "from")
	to := rapid.IntRange(from, min(from+20, len(b))).Draw(t, "to")
	switch rapid.IntRange(0, 3).Draw(t, "mutation") {
	case 0:
		b = slices.Clone(b)
		b[from] = rapid.Byte().Draw(t, "byte")
		return b
	case 1:
		return slices.Insert(slices.Clone(b), from, rapid.Byte().Draw(t, "byte"))
	case 2:
		return slices.Delete(slices.Clone(b), from, to)
	}
	return slices.Insert(slices.Clone(b), to, b[from:to]...)
}

type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// checkAccepted reads bytes into an empty message. If they are accepted the
// message must be written as the same bytes; if not the message must be empty.
func checkAccepted(t failer, b []byte, m protoreflect.Message) (accepted bool) {
	t.Helper()
	if err := Unmarshal(b, m.Interface()); err != nil {
		if !errors.Is(err, ErrNotCanonical) {
			t.Fatalf("%x: %v does not wrap ErrNotCanonical", b, err)
		}
		if !proto.Equal(m.Interface(), m.New().Interface()) {
			t.Fatalf("%x is refused, yet reads as %v", b, m)
		}
		return false
	}
	again, err := Marshal(m.Interface())
	if err != nil || !bytes.Equal(again, b) {
		t.Fatalf("%x is read, and written as %x, %v", b, again, err)
	}
	return true
}

// isFixedPoint says by other means what Unmarshal must admit: what protobuf's
// own reader and writer turn into itself, without unknown fields and values. It
// holds for schemas whose oneofs protobuf happens to write in ascending order.
func isFixedPoint(b []byte, m protoreflect.Message) bool {
	if err := proto.Unmarshal(b, m.Interface()); err != nil || hasUnknown(m) {
		return false
	}
	again, err := proto.MarshalOptions{Deterministic: true}.Marshal(m.Interface())
	return err == nil && bytes.Equal(again, b)
}

func hasUnknown(m protoreflect.Message) bool {
	unknown := len(m.GetUnknown()) > 0
	m.Range(func(fd protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case fd.IsList() && fd.Message() != nil:
			for i := range value.List().Len() {
				unknown = unknown || hasUnknown(value.List().Get(i).Message())
			}
		case fd.Message() != nil:
			unknown = unknown || hasUnknown(value.Message())
		case fd.Enum() != nil && !fd.IsList():
			unknown = unknown || fd.Enum().Values().ByNumber(value.Enum()) == nil
		}
		return !unknown
	})
	return unknown
}

func FuzzRecords(f *testing.F) {
	types := recordTypes()
	for _, golden := range goldens {
		for i, mt := range types {
			if mt.Descriptor() == golden.message.ProtoReflect().Descriptor() {
				f.Add(uint8(i), unhex(f, golden.bytes))
			}
		}
	}
	for i, mt := range types {
		example := rapid.Custom(func(t *rapid.T) []byte {
			rapid.Bool().Draw(t, "") // an example must draw something
			m := mt.New()
			fill(t, m, 3)
			b, err := Marshal(m.Interface())
			if err != nil {
				t.Fatal(err)
			}
			return b
		})
		for seed := range 3 {
			f.Add(uint8(i), example.Example(seed))
		}
	}
	f.Fuzz(func(t *testing.T, i uint8, b []byte) {
		mt := types[int(i)%len(types)]
		accepted := checkAccepted(t, b, mt.New())
		if want := isFixedPoint(b, mt.New()); accepted != want {
			t.Errorf("%s %x: accepted: %t, want %t", mt.Descriptor().Name(), b, accepted, want)
		}
	})
}

func FuzzKinds(f *testing.F) {
	mt := dynamic(f, kinds, "Admitted").Type()
	f.Add(unhex(f, "08 80808080f8ffffffff01 10 80808080808080808001 28 ffffffff0f 5a 00 60 00 6a 00"))
	f.Add(unhex(f, "72 04 00 8001 00 7a 01 01 8a01 0b 00 ffffffffffffffffff01 9201 02 00 01"))
	f.Add(unhex(f, "a801 01 b201 01 61 b801 02 ca01 00 ca01 01 61 d201 00 d201 02 20 01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		checkAccepted(t, b, mt.New())
	})
}

package canonical

import (
	"cmp"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// write returns the canonical bytes of a message.
func write(m protoreflect.Message) ([]byte, error) {
	w := writer{ascending: map[protoreflect.MessageDescriptor][]protoreflect.FieldDescriptor{}}
	// Growing would leave copies of parts of a secret in memory.
	b, v := w.message(make([]byte, 0, proto.Size(m.Interface())), m, 1)
	if v != nil {
		return nil, v.in(m.Descriptor())
	}
	// The writer fixes the order and leaves the rest to the reader's rules, so
	// that nothing is ever written that cannot be read back.
	if err := check(b, m.Descriptor()); err != nil {
		return nil, err
	}
	return b, nil
}

// writer writes the fields of messages in the order of their numbers. The
// protobuf library promises no order, so ours is not left to it.
type writer struct {
	// ascending has the fields of each type of message met so far.
	ascending map[protoreflect.MessageDescriptor][]protoreflect.FieldDescriptor
}

func (w *writer) message(b []byte, m protoreflect.Message, depth int) ([]byte, *violation) {
	if depth > MaxDepth {
		return nil, broken(ruleDepth)
	}
	if len(m.GetUnknown()) > 0 {
		number, _, _ := protowire.ConsumeTag(m.GetUnknown())
		return nil, broken(ruleUnknown).number(number)
	}
	for _, fd := range w.fields(m.Descriptor()) {
		if !m.Has(fd) {
			continue
		}
		var v *violation
		if b, v = w.field(b, fd, m.Get(fd), depth); v != nil {
			return nil, v.at(fd)
		}
	}
	return b, nil
}

func (w *writer) fields(md protoreflect.MessageDescriptor) []protoreflect.FieldDescriptor {
	if fields, ok := w.ascending[md]; ok {
		return fields
	}
	fields := make([]protoreflect.FieldDescriptor, md.Fields().Len())
	for i := range fields {
		fields[i] = md.Fields().Get(i)
	}
	slices.SortFunc(fields, func(a, b protoreflect.FieldDescriptor) int {
		return cmp.Compare(a.Number(), b.Number())
	})
	w.ascending[md] = fields
	return fields
}

// field appends all of a field that is present.
func (w *writer) field(b []byte, fd protoreflect.FieldDescriptor, value protoreflect.Value, depth int) ([]byte, *violation) {
	wireType, packable, ok := wireTypeOf(fd)
	if !ok || fd.IsList() && fd.IsPacked() != packable {
		return nil, broken(ruleSchema)
	}
	if !fd.IsList() {
		return w.value(protowire.AppendTag(b, fd.Number(), wireType), fd, value, depth)
	}
	list := value.List()
	if fd.IsPacked() {
		b = protowire.AppendTag(b, fd.Number(), protowire.BytesType)
		start := len(b)
		for i := range list.Len() {
			b = protowire.AppendVarint(b, bits(fd, list.Get(i)))
		}
		return insertLength(b, start), nil
	}
	for i := range list.Len() {
		var v *violation
		b = protowire.AppendTag(b, fd.Number(), wireType)
		if b, v = w.value(b, fd, list.Get(i), depth); v != nil {
			return nil, v.element(i)
		}
	}
	return b, nil
}

// value appends one value without its tag.
func (w *writer) value(b []byte, fd protoreflect.FieldDescriptor, value protoreflect.Value, depth int) ([]byte, *violation) {
	switch fd.Kind() {
	case protoreflect.MessageKind:
		start := len(b)
		b, v := w.message(b, value.Message(), depth+1)
		if v != nil {
			return nil, v
		}
		return insertLength(b, start), nil
	case protoreflect.StringKind:
		return protowire.AppendString(b, value.String()), nil
	case protoreflect.BytesKind:
		return protowire.AppendBytes(b, value.Bytes()), nil
	}
	return protowire.AppendVarint(b, bits(fd, value)), nil
}

// insertLength puts the length of what b has from start on before it.
func insertLength(b []byte, start int) []byte {
	var length [10]byte
	return slices.Insert(b, start, protowire.AppendVarint(length[:0], uint64(len(b)-start))...)
}

// bits returns the varint that a number is written as.
func bits(fd protoreflect.FieldDescriptor, value protoreflect.Value) uint64 {
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return protowire.EncodeBool(value.Bool())
	case protoreflect.EnumKind:
		return uint64(value.Enum())
	case protoreflect.Sint32Kind, protoreflect.Sint64Kind:
		return protowire.EncodeZigZag(value.Int())
	case protoreflect.Int32Kind, protoreflect.Int64Kind:
		return uint64(value.Int())
	}
	return value.Uint()
}

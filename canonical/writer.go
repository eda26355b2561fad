package canonical

import (
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// write returns the canonical bytes of a message.
func write(m protoreflect.Message) ([]byte, error) {
	// Growing would leave copies of parts of a secret in memory.
	b, v := writeMessage(make([]byte, 0, proto.Size(m.Interface())), m, 1)
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

// writeMessage writes the fields of a message in the order of their numbers. The
// protobuf library promises no order, so ours is not left to it.
func writeMessage(b []byte, m protoreflect.Message, depth int) ([]byte, *violation) {
	if depth > MaxDepth {
		return nil, broken(ruleDepth)
	}
	if len(m.GetUnknown()) > 0 {
		number, _, _ := protowire.ConsumeTag(m.GetUnknown())
		return nil, broken(ruleUnknown).number(number)
	}
	fields := shapeOf(m.Descriptor())
	for i := range fields {
		f := &fields[i]
		if !m.Has(f.FieldDescriptor) {
			continue
		}
		var v *violation
		if b, v = writeField(b, f, m.Get(f.FieldDescriptor), depth); v != nil {
			return nil, v.at(f)
		}
	}
	return b, nil
}

// writeField appends all of a field that is present.
func writeField(b []byte, f *field, value protoreflect.Value, depth int) ([]byte, *violation) {
	if !f.canonical {
		return nil, broken(ruleSchema)
	}
	if !f.list {
		return writeValue(protowire.AppendTag(b, f.number, f.wireType), f, value, depth)
	}
	list := value.List()
	if f.packed {
		b = protowire.AppendTag(b, f.number, protowire.BytesType)
		start := len(b)
		for i := range list.Len() {
			b = protowire.AppendVarint(b, bits(f, list.Get(i)))
		}
		return insertLength(b, start), nil
	}
	for i := range list.Len() {
		var v *violation
		b = protowire.AppendTag(b, f.number, f.wireType)
		if b, v = writeValue(b, f, list.Get(i), depth); v != nil {
			return nil, v.element(i)
		}
	}
	return b, nil
}

// writeValue appends one value without its tag.
func writeValue(b []byte, f *field, value protoreflect.Value, depth int) ([]byte, *violation) {
	switch f.kind {
	case protoreflect.MessageKind:
		start := len(b)
		b, v := writeMessage(b, value.Message(), depth+1)
		if v != nil {
			return nil, v
		}
		return insertLength(b, start), nil
	case protoreflect.StringKind:
		return protowire.AppendString(b, value.String()), nil
	case protoreflect.BytesKind:
		return protowire.AppendBytes(b, value.Bytes()), nil
	}
	return protowire.AppendVarint(b, bits(f, value)), nil
}

// insertLength puts the length of what b has from start on before it.
func insertLength(b []byte, start int) []byte {
	var length [10]byte
	return slices.Insert(b, start, protowire.AppendVarint(length[:0], uint64(len(b)-start))...)
}

// bits returns the varint that a number is written as.
func bits(f *field, value protoreflect.Value) uint64 {
	switch f.kind {
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

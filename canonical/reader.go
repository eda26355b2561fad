package canonical

import (
	"math"
	"slices"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// check returns nil if b is the canonical encoding of a message of the type.
func check(b []byte, md protoreflect.MessageDescriptor) error {
	if len(b) > MaxSize {
		return broken(ruleSize).in(md)
	}
	c := checker{elements: MaxElements}
	if v := c.message(b, md, 1); v != nil {
		return v.in(md)
	}
	return nil
}

// checker walks over the bytes of a message. It allocates next to nothing: the
// path of a field is put together only when a violation unwinds.
type checker struct {
	elements int // how many more the message may have
}

func (c *checker) message(b []byte, md protoreflect.MessageDescriptor, depth int) *violation {
	if depth > MaxDepth {
		return broken(ruleDepth)
	}
	fields := md.Fields()
	var last protoreflect.FieldDescriptor // nil before the first field
	var index int                         // of the element, if last is repeated
	var oneofs []protoreflect.OneofDescriptor
	for len(b) > 0 {
		number, wireType, n, v := tag(b)
		if v != nil {
			return v
		}
		b = b[n:]
		if last != nil && number < last.Number() {
			return broken(ruleOrder).number(number)
		}
		if last != nil && number == last.Number() {
			if !last.IsList() || last.IsPacked() {
				return broken(ruleTwice).at(last)
			}
			index++
		} else {
			last, index = fields.ByNumber(number), 0
			if last == nil {
				return broken(ruleUnknown).number(number)
			}
			if oneofs, v = oneMember(oneofs, last); v != nil {
				return v.at(last)
			}
		}
		n, v = c.field(b, last, wireType, depth)
		if v != nil {
			if last.IsList() && !last.IsPacked() {
				v = v.element(index)
			}
			return v.at(last)
		}
		b = b[n:]
	}
	return nil
}

// oneMember adds the oneof of a field, if it is in one, to those that already
// have a member.
func oneMember(oneofs []protoreflect.OneofDescriptor, fd protoreflect.FieldDescriptor) ([]protoreflect.OneofDescriptor, *violation) {
	oneof := fd.ContainingOneof()
	if oneof == nil || oneof.IsSynthetic() {
		return oneofs, nil
	}
	if slices.Contains(oneofs, oneof) {
		return nil, broken(ruleOneof)
	}
	return append(oneofs, oneof), nil
}

// field checks the value at the start of b and returns its length. Of a
// repeated field that is not packed it is one element.
func (c *checker) field(b []byte, fd protoreflect.FieldDescriptor, wireType protowire.Type, depth int) (int, *violation) {
	want, packable, ok := wireTypeOf(fd)
	if !ok || fd.IsList() && fd.IsPacked() != packable {
		return 0, broken(ruleSchema)
	}
	if fd.IsPacked() {
		want = protowire.BytesType
	}
	if wireType != want {
		return 0, broken(ruleWireType)
	}
	if wireType == protowire.VarintType {
		value, n, v := varint(b)
		if v == nil {
			v = checkNumber(value, fd)
		}
		if v == nil && value == 0 && !fd.HasPresence() {
			v = broken(ruleDefault)
		}
		return n, v
	}
	value, n, v := sized(b)
	if v == nil {
		v = c.bytes(value, fd, depth)
	}
	return n, v
}

// bytes checks a value that has a length: a message, a packed list, a string or
// bytes.
func (c *checker) bytes(b []byte, fd protoreflect.FieldDescriptor, depth int) *violation {
	if fd.IsPacked() {
		return c.packed(b, fd)
	}
	if fd.IsList() || fd.Message() != nil {
		if v := c.element(); v != nil {
			return v
		}
	}
	if fd.Message() != nil {
		return c.message(b, fd.Message(), depth+1)
	}
	if len(b) == 0 && !fd.IsList() && !fd.HasPresence() {
		return broken(ruleDefault)
	}
	if fd.Kind() == protoreflect.StringKind && !utf8.Valid(b) {
		return broken(ruleUTF8)
	}
	return nil
}

func (c *checker) packed(b []byte, fd protoreflect.FieldDescriptor) *violation {
	if len(b) == 0 {
		return broken(ruleEmptyList)
	}
	for i := 0; len(b) > 0; i++ {
		value, n, v := varint(b)
		if v == nil {
			v = checkNumber(value, fd)
		}
		if v == nil {
			v = c.element()
		}
		if v != nil {
			return v.element(i)
		}
		b = b[n:]
	}
	return nil
}

func (c *checker) element() *violation {
	if c.elements == 0 {
		return broken(ruleElements)
	}
	c.elements--
	return nil
}

// wireTypeOf says how one value of the field is written, and whether a list of
// such values is packed. It is false for a field that has no canonical form.
func wireTypeOf(fd protoreflect.FieldDescriptor) (t protowire.Type, packable, ok bool) {
	if fd.IsMap() || fd.IsExtension() || fd.Cardinality() == protoreflect.Required {
		return 0, false, false
	}
	switch fd.Kind() {
	case protoreflect.BoolKind, protoreflect.EnumKind,
		protoreflect.Int32Kind, protoreflect.Int64Kind,
		protoreflect.Uint32Kind, protoreflect.Uint64Kind,
		protoreflect.Sint32Kind, protoreflect.Sint64Kind:
		return protowire.VarintType, true, true
	case protoreflect.StringKind, protoreflect.BytesKind, protoreflect.MessageKind:
		return protowire.BytesType, false, true
	}
	return 0, false, false
}

// checkNumber checks that a varint is one that the field's type is written as.
func checkNumber(value uint64, fd protoreflect.FieldDescriptor) *violation {
	ok := true
	switch fd.Kind() {
	case protoreflect.BoolKind:
		ok = value <= 1
	case protoreflect.Uint32Kind, protoreflect.Sint32Kind:
		ok = value <= math.MaxUint32
	case protoreflect.Int32Kind, protoreflect.EnumKind:
		// Negative numbers are written with 64 bits, whatever the type.
		ok = int64(int32(value)) == int64(value)
	}
	if !ok {
		return broken(ruleRange)
	}
	if fd.Kind() == protoreflect.EnumKind && fd.Enum().Values().ByNumber(protoreflect.EnumNumber(value)) == nil {
		return broken(ruleUnknownEnum)
	}
	return nil
}

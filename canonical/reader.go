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
	if v := c.message(b, shapeOf(md), 1); v != nil {
		return v.in(md)
	}
	return nil
}

// checker walks over the bytes of a message. It allocates next to nothing: the
// path of a field is put together only when a violation unwinds.
type checker struct {
	elements int // how many more the message may have
}

func (c *checker) message(b []byte, fields shape, depth int) *violation {
	if depth > MaxDepth {
		return broken(ruleDepth)
	}
	var last *field // nil before the first field
	var index int   // of the element, if last is repeated
	var oneofs []protoreflect.OneofDescriptor
	for len(b) > 0 {
		number, wireType, n, v := tag(b)
		if v != nil {
			return v
		}
		b = b[n:]
		if last != nil && number < last.number {
			return broken(ruleOrder).number(number)
		}
		if last != nil && number == last.number {
			if !last.list || last.packed {
				return broken(ruleTwice).at(last)
			}
			index++
		} else {
			for len(fields) > 0 && fields[0].number < number {
				fields = fields[1:]
			}
			if len(fields) == 0 || fields[0].number != number {
				return broken(ruleUnknown).number(number)
			}
			last, index = &fields[0], 0
			if oneofs, v = oneMember(oneofs, last); v != nil {
				return v.at(last)
			}
		}
		n, v = c.field(b, last, wireType, depth)
		if v != nil {
			if last.list && !last.packed {
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
func oneMember(oneofs []protoreflect.OneofDescriptor, f *field) ([]protoreflect.OneofDescriptor, *violation) {
	if f.oneof == nil {
		return oneofs, nil
	}
	if slices.Contains(oneofs, f.oneof) {
		return nil, broken(ruleOneof)
	}
	return append(oneofs, f.oneof), nil
}

// field checks the value at the start of b and returns its length. Of a
// repeated field that is not packed it is one element.
func (c *checker) field(b []byte, f *field, wireType protowire.Type, depth int) (int, *violation) {
	if !f.canonical {
		return 0, broken(ruleSchema)
	}
	want := f.wireType
	if f.packed {
		want = protowire.BytesType
	}
	if wireType != want {
		return 0, broken(ruleWireType)
	}
	if wireType == protowire.VarintType {
		value, n, v := varint(b)
		if v == nil {
			v = checkNumber(value, f)
		}
		if v == nil && value == 0 && !f.presence {
			v = broken(ruleDefault)
		}
		return n, v
	}
	value, n, v := sized(b)
	if v == nil {
		v = c.bytes(value, f, depth)
	}
	return n, v
}

// bytes checks a value that has a length: a message, a packed list, a string or
// bytes.
func (c *checker) bytes(b []byte, f *field, depth int) *violation {
	if f.packed {
		return c.packed(b, f)
	}
	if f.list || f.message != nil {
		if v := c.element(); v != nil {
			return v
		}
	}
	if f.message != nil {
		return c.message(b, shapeOf(f.message), depth+1)
	}
	if len(b) == 0 && !f.list && !f.presence {
		return broken(ruleDefault)
	}
	if f.kind == protoreflect.StringKind && !utf8.Valid(b) {
		return broken(ruleUTF8)
	}
	return nil
}

func (c *checker) packed(b []byte, f *field) *violation {
	if len(b) == 0 {
		return broken(ruleEmptyList)
	}
	for i := 0; len(b) > 0; i++ {
		value, n, v := varint(b)
		if v == nil {
			v = checkNumber(value, f)
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

// checkNumber checks that a varint is one that the field's type is written as.
func checkNumber(value uint64, f *field) *violation {
	ok := true
	switch f.kind {
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
	if f.kind == protoreflect.EnumKind && f.Enum().Values().ByNumber(protoreflect.EnumNumber(value)) == nil {
		return broken(ruleUnknownEnum)
	}
	return nil
}

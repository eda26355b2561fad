package canonical

import (
	"cmp"
	"slices"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// shape is what the rules need to know of a type of message. To ask the type's
// descriptor for each field of each message takes longer than to check the bytes.
type shape []field // ascending by number

type field struct {
	protoreflect.FieldDescriptor
	number       protowire.Number
	kind         protoreflect.Kind
	list, packed bool
	presence     bool
	message      protoreflect.MessageDescriptor // nil for other kinds
	oneof        protoreflect.OneofDescriptor   // nil if it is in none
	canonical    bool                           // it has a canonical form
	wireType     protowire.Type                 // of one value, in that form
}

var shapes sync.Map // of shape, by protoreflect.MessageDescriptor

func shapeOf(md protoreflect.MessageDescriptor) shape {
	if s, ok := shapes.Load(md); ok {
		return s.(shape)
	}
	s := make(shape, md.Fields().Len())
	for i := range s {
		s[i] = newField(md.Fields().Get(i))
	}
	slices.SortFunc(s, func(a, b field) int { return cmp.Compare(a.number, b.number) })
	shapes.Store(md, s)
	return s
}

func newField(fd protoreflect.FieldDescriptor) field {
	wireType, packable, ok := wireTypeOf(fd)
	f := field{
		FieldDescriptor: fd,
		number:          fd.Number(),
		kind:            fd.Kind(),
		list:            fd.IsList(),
		packed:          fd.IsPacked(),
		presence:        fd.HasPresence(),
		message:         fd.Message(),
		canonical:       ok && (!fd.IsList() || fd.IsPacked() == packable),
		wireType:        wireType,
	}
	if oneof := fd.ContainingOneof(); oneof != nil && !oneof.IsSynthetic() {
		f.oneof = oneof
	}
	return f
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

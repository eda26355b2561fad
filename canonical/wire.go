package canonical

import (
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// tag reads a field's number and wire type and returns their length.
func tag(b []byte) (protoreflect.FieldNumber, protowire.Type, int, *violation) {
	value, n, v := varint(b)
	if v != nil {
		return 0, 0, 0, v
	}
	number, wireType := protowire.DecodeTag(value)
	if !number.IsValid() {
		return 0, 0, 0, broken(ruleNumber)
	}
	switch wireType {
	case protowire.VarintType, protowire.Fixed32Type, protowire.Fixed64Type, protowire.BytesType:
		return number, wireType, n, nil
	case protowire.StartGroupType, protowire.EndGroupType:
		return 0, 0, 0, broken(ruleGroup).number(number)
	}
	return 0, 0, 0, broken(ruleWireType).number(number)
}

// varint reads a varint and returns its length.
func varint(b []byte) (uint64, int, *violation) {
	value, n := protowire.ConsumeVarint(b)
	if n < 0 {
		if len(b) < 10 {
			return 0, 0, broken(ruleTruncated)
		}
		return 0, 0, broken(ruleVarint)
	}
	if n != protowire.SizeVarint(value) {
		return 0, 0, broken(ruleMinimal)
	}
	return value, n, nil
}

// sized reads a length and as many bytes, and returns the length of both.
func sized(b []byte) ([]byte, int, *violation) {
	size, n, v := varint(b)
	if v != nil {
		return nil, 0, v
	}
	if size > uint64(len(b)-n) {
		return nil, 0, broken(ruleTruncated)
	}
	return b[n : n+int(size)], n + int(size), nil
}

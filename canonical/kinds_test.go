package canonical

import (
	"bytes"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// kinds has what the records' schema does not: every kind that is admitted and
// every kind that is not. Its fields are declared out of order, and its oneof
// has other fields between its members' numbers.
const kinds = `
name: "kinds.proto" package: "kinds" syntax: "proto3"
enum_type { name: "Color" value { name: "NONE" number: 0 } value { name: "RED" number: 1 } value { name: "DARK" number: -1 } }
message_type {
  name: "Admitted"
  oneof_decl { name: "choice" } oneof_decl { name: "_optional_u64" } oneof_decl { name: "_optional_string" }
  field { name: "choice_message" number: 24 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: ".kinds.Admitted" oneof_index: 0 }
  field { name: "choice_string" number: 22 label: LABEL_OPTIONAL type: TYPE_STRING oneof_index: 0 }
  field { name: "choice_u64" number: 20 label: LABEL_OPTIONAL type: TYPE_UINT64 oneof_index: 0 }
  field { name: "between_2" number: 23 label: LABEL_OPTIONAL type: TYPE_UINT64 }
  field { name: "between_1" number: 21 label: LABEL_OPTIONAL type: TYPE_UINT64 }
  field { name: "i32" number: 1 label: LABEL_OPTIONAL type: TYPE_INT32 }
  field { name: "i64" number: 2 label: LABEL_OPTIONAL type: TYPE_INT64 }
  field { name: "u32" number: 3 label: LABEL_OPTIONAL type: TYPE_UINT32 }
  field { name: "u64" number: 4 label: LABEL_OPTIONAL type: TYPE_UINT64 }
  field { name: "s32" number: 5 label: LABEL_OPTIONAL type: TYPE_SINT32 }
  field { name: "s64" number: 6 label: LABEL_OPTIONAL type: TYPE_SINT64 }
  field { name: "bool" number: 7 label: LABEL_OPTIONAL type: TYPE_BOOL }
  field { name: "color" number: 8 label: LABEL_OPTIONAL type: TYPE_ENUM type_name: ".kinds.Color" }
  field { name: "string" number: 9 label: LABEL_OPTIONAL type: TYPE_STRING }
  field { name: "bytes" number: 10 label: LABEL_OPTIONAL type: TYPE_BYTES }
  field { name: "message" number: 11 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: ".kinds.Admitted" }
  field { name: "optional_u64" number: 12 label: LABEL_OPTIONAL type: TYPE_UINT64 oneof_index: 1 proto3_optional: true }
  field { name: "optional_string" number: 13 label: LABEL_OPTIONAL type: TYPE_STRING oneof_index: 2 proto3_optional: true }
  field { name: "u64s" number: 14 label: LABEL_REPEATED type: TYPE_UINT64 }
  field { name: "s32s" number: 15 label: LABEL_REPEATED type: TYPE_SINT32 }
  field { name: "i32s" number: 16 label: LABEL_REPEATED type: TYPE_INT32 }
  field { name: "colors" number: 17 label: LABEL_REPEATED type: TYPE_ENUM type_name: ".kinds.Color" }
  field { name: "bools" number: 18 label: LABEL_REPEATED type: TYPE_BOOL }
  field { name: "strings" number: 25 label: LABEL_REPEATED type: TYPE_STRING }
  field { name: "messages" number: 26 label: LABEL_REPEATED type: TYPE_MESSAGE type_name: ".kinds.Admitted" }
}
message_type {
  name: "Refused"
  field { name: "double" number: 1 label: LABEL_OPTIONAL type: TYPE_DOUBLE }
  field { name: "float" number: 2 label: LABEL_OPTIONAL type: TYPE_FLOAT }
  field { name: "fixed32" number: 3 label: LABEL_OPTIONAL type: TYPE_FIXED32 }
  field { name: "fixed64" number: 4 label: LABEL_OPTIONAL type: TYPE_FIXED64 }
  field { name: "sfixed32" number: 5 label: LABEL_OPTIONAL type: TYPE_SFIXED32 }
  field { name: "sfixed64" number: 6 label: LABEL_OPTIONAL type: TYPE_SFIXED64 }
  field { name: "unpacked" number: 7 label: LABEL_REPEATED type: TYPE_UINT64 options { packed: false } }
  field { name: "map" number: 8 label: LABEL_REPEATED type: TYPE_MESSAGE type_name: ".kinds.Refused.MapEntry" }
  field { name: "doubles" number: 9 label: LABEL_REPEATED type: TYPE_DOUBLE }
  nested_type {
    name: "MapEntry" options { map_entry: true }
    field { name: "key" number: 1 label: LABEL_OPTIONAL type: TYPE_UINT64 }
    field { name: "value" number: 2 label: LABEL_OPTIONAL type: TYPE_UINT64 }
  }
}
`

// oldKinds has what only proto2 has.
const oldKinds = `
name: "old.proto" package: "old" syntax: "proto2"
message_type {
  name: "Refused"
  extension_range { start: 100 end: 200 }
  field { name: "required" number: 1 label: LABEL_REQUIRED type: TYPE_UINT64 }
  field { name: "group" number: 2 label: LABEL_OPTIONAL type: TYPE_GROUP type_name: ".old.Refused.Group" }
  nested_type { name: "Group" }
}
extension { name: "extension" number: 100 extendee: ".old.Refused" label: LABEL_OPTIONAL type: TYPE_UINT64 }
`

// dynamic returns an empty message of a type of a schema.
func dynamic(t testing.TB, schema, name string) *dynamicpb.Message {
	t.Helper()
	var file descriptorpb.FileDescriptorProto
	if err := prototext.Unmarshal([]byte(schema), &file); err != nil {
		t.Fatal(err)
	}
	descriptor, err := protodesc.NewFile(&file, nil)
	if err != nil {
		t.Fatal(err)
	}
	return dynamicpb.NewMessage(descriptor.Messages().ByName(protoreflect.Name(name)))
}

func TestKinds(t *testing.T) {
	for _, tt := range []struct{ name, text, bytes string }{
		{"least numbers", `i32: -2147483648 i64: -9223372036854775808 s32: -2147483648 s64: -9223372036854775808`, `
			08 80808080f8ffffffff01 10 80808080808080808001 28 ffffffff0f 30 ffffffffffffffffff01`},
		{"greatest numbers", `i32: 2147483647 u32: 4294967295 s32: 2147483647 u64: 18446744073709551615`, `
			08 ffffffff07 18 ffffffff0f 20 ffffffffffffffffff01 28 feffffff0f`},
		{"negative enum value", `color: DARK`, "40 ffffffffffffffffff01"},
		{"present defaults", `optional_u64: 0 optional_string: "" message {}`, "5a 00 60 00 6a 00"},
		{"default in a oneof", `choice_u64: 0`, "a001 00"},
		{"empty string in a oneof", `choice_string: ""`, "b201 00"},
		{"oneof first", `between_1: 1 between_2: 2 choice_u64: 3`, "a001 03 a801 01 b801 02"},
		{"oneof between others", `between_1: 1 between_2: 2 choice_string: "a"`, "a801 01 b201 01 61 b801 02"},
		{"oneof last", `between_1: 1 between_2: 2 choice_message {}`, "a801 01 b801 02 c201 00"},
		{"packed", `u64s: [0, 128, 0] s32s: [-1] i32s: [-1, 0] colors: [NONE, DARK] bools: [false, true]`, `
			72 04 00 8001 00
			7a 01 01
			8201 0b ffffffffffffffffff01 00
			8a01 0b 00 ffffffffffffffffff01
			9201 02 00 01`},
		{"lists", `strings: ["", "a", ""] messages: [{}, { u64: 1 }, {}]`, `
			ca01 00 ca01 01 61 ca01 00 d201 00 d201 02 20 01 d201 00`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := dynamic(t, kinds, "Admitted")
			if err := prototext.Unmarshal([]byte(tt.text), m); err != nil {
				t.Fatal(err)
			}
			want := unhex(t, tt.bytes)
			got, err := Marshal(m)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("got  %x, %v\nwant %x", got, err, want)
			}
			read := m.New().Interface()
			if err := Unmarshal(want, read); err != nil {
				t.Fatal(err)
			}
			if !proto.Equal(read, m) {
				t.Errorf("reads as %v, want %v", read, m)
			}
		})
	}
}

func TestKindsRefuse(t *testing.T) {
	for _, tt := range []struct {
		name, bytes, path string
		rule              rule
	}{
		{"int32 of 33 bits", "08 8080808010", "Admitted.i32", ruleRange},
		{"int32 negative with 32 bits", "08 ffffffff0f", "Admitted.i32", ruleRange},
		{"uint32 of 33 bits", "18 8080808010", "Admitted.u32", ruleRange},
		{"sint32 of 33 bits", "28 8080808010", "Admitted.s32", ruleRange},
		{"element of 33 bits", "8201 06 00 8080808010", "Admitted.i32s[1]", ruleRange},
		{"boolean of 2 in a list", "9201 02 01 02", "Admitted.bools[1]", ruleRange},
		{"unknown enum value in a list", "8a01 02 01 02", "Admitted.colors[1]", ruleUnknownEnum},
		{"long element", "72 03 00 8000", "Admitted.u64s[1]", ruleMinimal},
		{"half an element", "72 02 00 80", "Admitted.u64s[1]", ruleTruncated},
		{"empty list", "72 00", "Admitted.u64s", ruleEmptyList},
		{"unpacked element", "70 01", "Admitted.u64s", ruleWireType},
		{"list in two pieces", "72 01 01 72 01 01", "Admitted.u64s", ruleTwice},
		{"two members of a oneof", "a001 01 c201 00", "Admitted.choice_message", ruleOneof},
		{"two members and others between", "a001 01 a801 01 b201 00", "Admitted.choice_string", ruleOneof},
		{"invalid UTF-8 in a list", "ca01 00 ca01 01 c0", "Admitted.strings[1]", ruleUTF8},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := dynamic(t, kinds, "Admitted")
			checkViolation(t, Unmarshal(unhex(t, tt.bytes), m), tt.path, tt.rule)
		})
	}
}

func TestRefusedKinds(t *testing.T) {
	for _, tt := range []struct{ schema, field, text, bytes string }{
		{kinds, "double", "double: 1", "09 000000000000f03f"},
		{kinds, "float", "float: 1", "15 0000803f"},
		{kinds, "fixed32", "fixed32: 1", "1d 01000000"},
		{kinds, "fixed64", "fixed64: 1", "21 0100000000000000"},
		{kinds, "sfixed32", "sfixed32: 1", "2d 01000000"},
		{kinds, "sfixed64", "sfixed64: 1", "31 0100000000000000"},
		{kinds, "unpacked", "unpacked: 1", "38 01"},
		{kinds, "map", "map { key: 1 value: 1 }", "42 04 08 01 10 01"},
		{kinds, "doubles", "doubles: 1", "4a 08 000000000000f03f"},
		{oldKinds, "required", "required: 1", "08 01"},
	} {
		t.Run(tt.field, func(t *testing.T) {
			m := dynamic(t, tt.schema, "Refused")
			if err := prototext.Unmarshal([]byte(tt.text), m); err != nil {
				t.Fatal(err)
			}
			if encoded, err := proto.Marshal(m); err != nil || !bytes.Equal(encoded, unhex(t, tt.bytes)) {
				t.Fatalf("protobuf writes %x, %v", encoded, err)
			}
			_, err := Marshal(m)
			checkRefusedKind(t, err, tt.field)
			checkRefusedKind(t, Unmarshal(unhex(t, tt.bytes), m), tt.field)
		})
	}
}

// checkRefusedKind checks the error of a field, whose path may have an element.
func checkRefusedKind(t *testing.T, err error, field string) {
	t.Helper()
	path := "Refused." + field
	if err != nil && strings.Contains(err.Error(), path+"[0]") {
		path += "[0]"
	}
	checkViolation(t, err, path, ruleSchema)
}

func TestRefusedProto2(t *testing.T) {
	m := dynamic(t, oldKinds, "Refused")
	group := m.Descriptor().Fields().ByName("group")
	m.Set(group, protoreflect.ValueOfMessage(m.NewField(group).Message()))
	_, err := Marshal(m)
	checkViolation(t, err, "Refused.group", ruleSchema)
	checkViolation(t, Unmarshal(unhex(t, "13 14"), m), "Refused.2", ruleGroup)
	checkViolation(t, Unmarshal(unhex(t, "a006 01"), m), "Refused.100", ruleUnknown)
	checkMissing := Unmarshal(nil, m)
	if checkMissing == nil || !strings.Contains(checkMissing.Error(), "required") {
		t.Errorf("a required field that is missing: got %v", checkMissing)
	}
}

func TestDepth(t *testing.T) {
	var b []byte // MaxDepth messages, the innermost empty
	m := dynamic(t, kinds, "Admitted")
	field := m.Descriptor().Fields().ByName("message")
	for depth := 2; depth <= MaxDepth+1; depth++ {
		b = insertLength(b, 0)
		b = append([]byte{0x5a}, b...)
		outer := m.New()
		outer.Set(field, protoreflect.ValueOfMessage(m))
		m = outer.(*dynamicpb.Message)
		path := "Admitted" + strings.Repeat(".message", depth-1)
		got, err := Marshal(m)
		if depth <= MaxDepth {
			if err != nil || !bytes.Equal(got, b) {
				t.Fatalf("depth %d: got %x, %v, want %x", depth, got, err, b)
			}
			if err := Unmarshal(b, m.New().Interface()); err != nil {
				t.Fatalf("depth %d: %v", depth, err)
			}
			continue
		}
		checkViolation(t, err, path, ruleDepth)
		checkViolation(t, Unmarshal(b, m.New().Interface()), path, ruleDepth)
	}
}

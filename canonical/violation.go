package canonical

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// rule is a way to break the canonical encoding, in the words of the error.
type rule string

const (
	ruleSize        rule = "a message of more than 64 MiB"
	ruleDepth       rule = "more than 64 messages inside each other"
	ruleElements    rule = "more than 1048576 sub-messages and elements"
	ruleTruncated   rule = "the bytes end too early"
	ruleVarint      rule = "a varint of more than 64 bits"
	ruleMinimal     rule = "a varint that is not the shortest"
	ruleNumber      rule = "an impossible field number"
	ruleGroup       rule = "a group"
	ruleWireType    rule = "a wire type that does not fit the field"
	ruleOrder       rule = "fields out of order"
	ruleTwice       rule = "a field twice"
	ruleOneof       rule = "two members of one oneof"
	ruleDefault     rule = "a default value that is written out"
	ruleEmptyList   rule = "an empty list that is written out"
	ruleRange       rule = "a number outside its field's type"
	ruleUTF8        rule = "a string that is not UTF-8"
	ruleSchema      rule = "a field of a kind that has no canonical form"
	ruleUnknown     rule = "an unknown field"
	ruleUnknownEnum rule = "an unknown enum value"
)

// violation is a broken rule and the path to the field that breaks it.
type violation struct {
	rule rule
	path []string // innermost first: it grows while the check unwinds
}

func broken(r rule) *violation {
	return &violation{rule: r}
}

// at adds the field in which the violation lies.
func (v *violation) at(f *field) *violation {
	v.path = append(v.path, "."+string(f.Name()))
	return v
}

// element adds the index in a repeated field, before the field itself.
func (v *violation) element(i int) *violation {
	v.path = append(v.path, fmt.Sprintf("[%d]", i))
	return v
}

// number adds a field that has no name.
func (v *violation) number(n protoreflect.FieldNumber) *violation {
	v.path = append(v.path, fmt.Sprintf(".%d", n))
	return v
}

// in ends the path with the name of the outermost message.
func (v *violation) in(md protoreflect.MessageDescriptor) *violation {
	v.path = append(v.path, string(md.Name()))
	return v
}

func (v *violation) Error() string {
	var path strings.Builder
	for i := len(v.path) - 1; i >= 0; i-- {
		path.WriteString(v.path[i])
	}
	s := fmt.Sprintf("%s: %v: %s", &path, ErrNotCanonical, v.rule)
	if v.unknown() {
		s += ": " + ErrUnknownField.Error()
	}
	return s
}

func (v *violation) unknown() bool {
	return v.rule == ruleUnknown || v.rule == ruleUnknownEnum
}

func (v *violation) Unwrap() []error {
	if v.unknown() {
		return []error{ErrNotCanonical, ErrUnknownField}
	}
	return []error{ErrNotCanonical}
}

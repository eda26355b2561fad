package main

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
)

// kinds are what --kind takes, in the order of the help.
var kinds = []struct {
	name string
	kind recordv1.SlotMetadata_Kind
	main string // the field that a bare secret goes to; none where there are several
}{
	{"login", recordv1.SlotMetadata_KIND_LOGIN, "password"},
	{"note", recordv1.SlotMetadata_KIND_NOTE, "notes"},
	{"card", recordv1.SlotMetadata_KIND_CARD, ""},
	{"identity", recordv1.SlotMetadata_KIND_IDENTITY, ""},
	{"ssh-key", recordv1.SlotMetadata_KIND_SSH_KEY, "private-key"},
	{"held-share", recordv1.SlotMetadata_KIND_HELD_SHARE, ""},
}

func kindName(kind recordv1.SlotMetadata_Kind) string {
	for _, k := range kinds {
		if k.kind == kind {
			return k.name
		}
	}
	return "unknown"
}

// newSecret makes an empty secret of a kind that people may add.
func newSecret(kind recordv1.SlotMetadata_Kind) *recordv1.Secret {
	switch kind {
	case recordv1.SlotMetadata_KIND_LOGIN:
		return &recordv1.Secret{Kind: &recordv1.Secret_Login{Login: &recordv1.Login{}}}
	case recordv1.SlotMetadata_KIND_NOTE:
		return &recordv1.Secret{Kind: &recordv1.Secret_Note{Note: &recordv1.Note{}}}
	case recordv1.SlotMetadata_KIND_CARD:
		return &recordv1.Secret{Kind: &recordv1.Secret_Card{Card: &recordv1.Card{}}}
	case recordv1.SlotMetadata_KIND_IDENTITY:
		return &recordv1.Secret{Kind: &recordv1.Secret_Identity{Identity: &recordv1.Identity{}}}
	case recordv1.SlotMetadata_KIND_SSH_KEY:
		return &recordv1.Secret{Kind: &recordv1.Secret_SshKey{SshKey: &recordv1.SshKey{}}}
	}
	return nil
}

// field is one value of a secret, under the name that --field takes.
type field struct {
	name  string
	value string
	set   func(string)
	own   bool // named by the user
}

// fieldsOf lists every field of a secret, the empty ones too: those of its kind
// in the schema's order, the notes, and the user's own.
func fieldsOf(secret *recordv1.Secret) []field {
	var fields []field
	if kind := kindMessage(secret); kind != nil {
		descriptors := kind.Descriptor().Fields()
		for i := range descriptors.Len() {
			d := descriptors.Get(i)
			if d.Kind() != protoreflect.StringKind {
				continue // a held share, which zeropass held shows
			}
			fields = append(fields, field{
				name:  strings.ReplaceAll(string(d.Name()), "_", "-"),
				value: kind.Get(d).String(),
				set:   func(s string) { kind.Set(d, protoreflect.ValueOfString(s)) },
			})
		}
	}
	fields = append(fields, field{name: "notes", value: secret.GetNotes(), set: func(s string) { secret.Notes = s }})
	for _, f := range secret.GetFields() {
		fields = append(fields, field{name: f.GetName(), value: f.GetValue(), set: func(s string) { f.Value = s }, own: true})
	}
	return fields
}

// kindMessage is the part of a secret that its kind has alone.
func kindMessage(secret *recordv1.Secret) protoreflect.Message {
	if secret == nil {
		return nil
	}
	m := secret.ProtoReflect()
	which := m.WhichOneof(m.Descriptor().Oneofs().ByName("kind"))
	if which == nil {
		return nil
	}
	return m.Mutable(which).Message()
}

// findField finds a field by the name that the user typed: password, first-name
// or first_name, and of the user's own names also in another case.
func findField(fields []field, name string) (field, *failure) {
	same := func(f field) bool { return f.name == name }
	loose := func(f field) bool { return strings.EqualFold(f.name, strings.ReplaceAll(name, "_", "-")) }
	folded := func(f field) bool { return strings.EqualFold(f.name, name) }
	for _, match := range []func(field) bool{same, loose, folded} {
		if i := slices.IndexFunc(fields, match); i >= 0 {
			return fields[i], nil
		}
	}
	var names []string
	for _, f := range fields {
		if f.name != "" {
			names = append(names, f.name)
		}
	}
	return field{}, &failure{exitNotFound, fmt.Sprintf("there is no field %q", name), "There is: " + strings.Join(names, ", ") + "."}
}

// parseFields reads lines of the form "name: value" into the secret. Empty lines
// are passed over. Errors name the line and never show its value.
func parseFields(secret *recordv1.Secret, text string) error {
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimRight(line, "\r")
		if strings.TrimSpace(line) == "" {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return fail(exitFailed, "Write every field in a line of its own, as in: number: 4111 1111", "line %d is not of the form name: value", i+1)
		}
		f, unknown := findField(fieldsOf(secret), strings.TrimSpace(name))
		if unknown != nil {
			return fail(exitFailed, unknown.hint, "line %d: %s", i+1, unknown.text)
		}
		f.set(strings.TrimSpace(value))
	}
	return nil
}

package main

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
)

// Every field that the schema has can be set by its name and is found again.
func TestEveryFieldHasAName(t *testing.T) {
	total := 0
	for _, k := range kinds {
		secret := newSecret(k.kind)
		if secret == nil {
			if k.kind != recordv1.SlotMetadata_KIND_HELD_SHARE {
				t.Errorf("no %s can be added", k.name)
			}
			continue
		}
		var text strings.Builder
		fields := fieldsOf(secret)
		total += len(fields)
		for i, f := range fields {
			text.WriteString(f.name + ": value " + string(rune('a'+i)) + ": more\n\n")
		}
		if err := parseFields(secret, text.String()); err != nil {
			t.Fatalf("%s: %v", k.name, err)
		}
		for i, f := range fieldsOf(secret) {
			if want := "value " + string(rune('a'+i)) + ": more"; f.value != want {
				t.Errorf("%s of %s is %q, not %q", f.name, k.name, f.value, want)
			}
		}
		if k.main != "" {
			if _, unknown := findField(fieldsOf(secret), k.main); unknown != nil {
				t.Errorf("a bare %s has no place: %v", k.name, unknown)
			}
		}
	}
	// 3 of a login, 6 of a card, 18 of an identity, 3 of a key, and notes of all 5.
	if total != 35 {
		t.Errorf("%d fields", total)
	}
}

func TestFindField(t *testing.T) {
	secret := newSecret(recordv1.SlotMetadata_KIND_IDENTITY)
	secret.Fields = []*recordv1.Field{{Name: "Shoe size", Value: "38"}, {Name: "first-name", Value: "own"}}
	fields := fieldsOf(secret)
	for typed, want := range map[string]string{
		"first-name": "first-name", "first_name": "first-name", "First-Name": "first-name",
		"shoe size": "Shoe size", "Shoe size": "Shoe size", "SSN": "ssn",
	} {
		f, unknown := findField(fields, typed)
		if unknown != nil || f.name != want || want == "first-name" && f.own {
			t.Errorf("%q finds %q, %v", typed, f.name, unknown)
		}
	}
	if _, unknown := findField(fields, "pasword"); unknown == nil || unknown.code != exitNotFound || !strings.Contains(unknown.hint, "first-name") {
		t.Errorf("an unknown field: %v", unknown)
	}
}

func TestParseFieldsNeverShowsValues(t *testing.T) {
	for _, text := range []string{"hunter2", "pasword: hunter2", "number: 1\nhunter2"} {
		secret := newSecret(recordv1.SlotMetadata_KIND_CARD)
		err := parseFields(secret, text)
		if err == nil || strings.Contains(err.Error(), "hunter2") || strings.Contains(explain(t.Context(), err).hint, "hunter2") {
			t.Errorf("%q: %v", text, err)
		}
	}
	secret := newSecret(recordv1.SlotMetadata_KIND_CARD)
	if err := parseFields(secret, "number: 4111 1111\r\ncode:123\r\n"); err != nil || !proto.Equal(secret.GetCard(), &recordv1.Card{Number: "4111 1111", Code: "123"}) {
		t.Errorf("%v, %v", secret, err)
	}
}

func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"plain ü 恢复": "plain ü 恢复", "a\x1b[2Jb": "a\ufffd[2Jb", "a\u202eb": "a\ufffdb", "a\r\nb": "a\ufffd\nb", "\x9b31m": "\ufffd31m",
	} {
		if got := printable(text); got != want {
			t.Errorf("%q prints as %q", text, got)
		}
	}
	if got := oneParagraph("a\nerror: forged\x1b]0;x\a"); got != "a error: forged\ufffd]0;x\ufffd" {
		t.Errorf("%q", got)
	}
}

package canonical

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
)

// unhex decodes lines of hexadecimal with spaces between and comments after #.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	var digits string
	for line := range strings.Lines(s) {
		line, _, _ = strings.Cut(line, "#")
		digits += strings.Join(strings.Fields(line), "")
	}
	b, err := hex.DecodeString(digits)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The bytes were written by hand from protobuf's encoding rules.
var goldens = []struct {
	name    string
	message proto.Message
	bytes   string
}{
	{"empty", &recordv1.Entry{}, ""},
	{"entry", &recordv1.Entry{
		Account: []byte{0xaa, 0xbb}, Sequence: 300, Time: 1<<64 - 1, Author: 1,
		Records: [][]byte{{1}, {}, {2, 3}}, Proposal: &recordv1.Proposal{Expiry: 127},
	}, `
		0a 02 aabb                     # account
		10 ac02                        # sequence
		20 ffffffffffffffffff01        # time
		28 01                          # author
		32 01 01  32 00  32 02 0203    # records
		3a 02 20 7f                    # proposal: expiry
	`},
	{"empty message in an empty message", &recordv1.Entry{Proposal: &recordv1.Proposal{
		Endorsements: []*recordv1.Endorsement{{}, {Role: recordv1.Endorsement_ROLE_CONFIRM}},
	}}, `
		3a 06
			2a 00                      # endorsements[0]
			2a 02 08 02                # endorsements[1]: role
	`},
	{"oneof", &recordv1.Record{Version: 1, Suite: 1, Kind: &recordv1.Record_SlotDeleted{
		SlotDeleted: &recordv1.SlotDeleted{Slot: []byte{9}},
	}}, "08 01 10 01 a201 03 0a 01 09"},
	{"empty member of a oneof", &recordv1.Secret{Kind: &recordv1.Secret_Note{Note: &recordv1.Note{}}}, "5a 00"},
	{"negative number and boolean", &recordv1.SlotMetadata{Title: "é", Favorite: true, Created: -1},
		"12 02 c3a9 30 01 38 ffffffffffffffffff01"},
	{"nil in a list", &recordv1.Secret{Fields: []*recordv1.Field{nil}}, "12 00"},
	{"nil in a oneof", &recordv1.Secret{Kind: &recordv1.Secret_Note{}}, "5a 00"},
}

func TestGoldens(t *testing.T) {
	for _, tt := range goldens {
		t.Run(tt.name, func(t *testing.T) {
			want := unhex(t, tt.bytes)
			got, err := Marshal(tt.message)
			if err != nil {
				t.Fatal(err)
			}
			if got == nil || !bytes.Equal(got, want) {
				t.Errorf("got  %x\nwant %x", got, want)
			}
			read := tt.message.ProtoReflect().New().Interface()
			if err := Unmarshal(want, read); err != nil {
				t.Fatal(err)
			}
			if again, err := Marshal(read); err != nil || !bytes.Equal(again, want) {
				t.Errorf("read back and written again: %x, %v", again, err)
			}
		})
	}
}

func TestUnmarshalRefuses(t *testing.T) {
	entry, record, secret := &recordv1.Entry{}, &recordv1.Record{}, &recordv1.Secret{}
	metadata, holder := &recordv1.SlotMetadata{}, &recordv1.Holder{}
	for _, tt := range []struct {
		name    string
		message proto.Message
		bytes   string
		path    string
		rule    rule
	}{
		{"descending", entry, "20 01 10 01", "Entry.2", ruleOrder},
		{"descending and unknown", record, "10 01 08 01", "Record.1", ruleOrder},
		{"list in two places", entry, "32 01 01 3a 00 32 01 01", "Entry.6", ruleOrder},
		{"descending in a message", entry, "3a 06 20 01 12 00 10 01", "Entry.proposal.2", ruleOrder},
		{"oneof before others", record, "52 00 08 01", "Record.1", ruleOrder},
		{"number twice", entry, "10 01 10 01", "Entry.sequence", ruleTwice},
		{"bytes twice", entry, "0a 01 01 0a 01 01", "Entry.account", ruleTwice},
		{"message twice", entry, "3a 00 3a 00", "Entry.proposal", ruleTwice},
		{"member of a oneof twice", secret, "5a 00 5a 00", "Secret.note", ruleTwice},
		{"two members of a oneof", secret, "52 00 5a 00", "Secret.note", ruleOneof},
		{"default number", entry, "10 00", "Entry.sequence", ruleDefault},
		{"default bytes", entry, "0a 00", "Entry.account", ruleDefault},
		{"default string", metadata, "12 00", "SlotMetadata.title", ruleDefault},
		{"default boolean", metadata, "30 00", "SlotMetadata.favorite", ruleDefault},
		{"default enum", holder, "08 00", "Holder.kind", ruleDefault},
		{"default deep inside", entry, "3a 06 2a 00 2a 02 10 00", "Entry.proposal.endorsements[1].device", ruleDefault},
		{"long tag", entry, "9000 01", "Entry", ruleMinimal},
		{"long number", entry, "10 8100", "Entry.sequence", ruleMinimal},
		{"long zero", entry, "10 8000", "Entry.sequence", ruleMinimal},
		{"long length", entry, "0a 8100 01", "Entry.account", ruleMinimal},
		{"long length of an element", entry, "32 00 32 8100 01", "Entry.records[1]", ruleMinimal},
		{"varint of 65 bits", entry, "10 ffffffffffffffffff02", "Entry.sequence", ruleVarint},
		{"varint of 11 bytes", entry, "10 8080808080808080808000", "Entry.sequence", ruleVarint},
		{"boolean of 2", metadata, "30 02", "SlotMetadata.favorite", ruleRange},
		{"enum of 33 bits", holder, "08 8180808010", "Holder.kind", ruleRange},
		{"invalid UTF-8", metadata, "12 01 ff", "SlotMetadata.title", ruleUTF8},
		{"surrogate in UTF-8", metadata, "12 03 eda080", "SlotMetadata.title", ruleUTF8},
		{"unknown field", entry, "10 01 40 01", "Entry.8", ruleUnknown},
		{"unknown field of 4 bytes", entry, "45 00000000", "Entry.8", ruleUnknown},
		{"unknown kind of record", record, "08 01 10 01 a206 00", "Record.100", ruleUnknown},
		{"unknown field deep inside", entry, "3a 04 2a 02 20 01", "Entry.proposal.endorsements[0].4", ruleUnknown},
		{"unknown enum value", holder, "08 05", "Holder.kind", ruleUnknownEnum},
		{"negative enum value", holder, "08 ffffffffffffffffff01", "Holder.kind", ruleUnknownEnum},
		{"group", entry, "0b 0c", "Entry.1", ruleGroup},
		{"group of an unknown field", entry, "43 44", "Entry.8", ruleGroup},
		{"end of a group", entry, "0c", "Entry.1", ruleGroup},
		{"wire type 6", entry, "0e", "Entry.1", ruleWireType},
		{"wire type 7", entry, "0f", "Entry.1", ruleWireType},
		{"number as bytes", entry, "12 01 01", "Entry.sequence", ruleWireType},
		{"number as 8 bytes", entry, "11 0100000000000000", "Entry.sequence", ruleWireType},
		{"bytes as number", entry, "08 01", "Entry.account", ruleWireType},
		{"message as number", entry, "38 01", "Entry.proposal", ruleWireType},
		{"field number 0", entry, "00 01", "Entry", ruleNumber},
		{"field number 2^29", entry, "8080808010 01", "Entry", ruleNumber},
		{"field number of 61 bits", entry, "f8ffffffffffffffff01 01", "Entry", ruleNumber},
		{"tag without value", entry, "10", "Entry.sequence", ruleTruncated},
		{"half a varint", entry, "10 80", "Entry.sequence", ruleTruncated},
		{"half a tag", entry, "80", "Entry", ruleTruncated},
		{"no length", entry, "0a", "Entry.account", ruleTruncated},
		{"bytes too short", entry, "0a 02 01", "Entry.account", ruleTruncated},
		{"length of 2^64 - 1", entry, "0a ffffffffffffffffff01", "Entry.account", ruleTruncated},
		{"message longer than the one around it", entry, "3a 02 0a 01 01", "Entry.proposal.nonce", ruleTruncated},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := proto.Clone(tt.message)
			err := Unmarshal(unhex(t, tt.bytes), m)
			checkViolation(t, err, tt.path, tt.rule)
			if !proto.Equal(m, tt.message) {
				t.Errorf("the message is not empty: %v", m)
			}
		})
	}
}

// checkViolation checks that an error names the rule and the path, and wraps
// the right sentinels.
func checkViolation(t *testing.T, err error, path string, rule rule) {
	t.Helper()
	var v *violation
	if !errors.As(err, &v) {
		t.Fatalf("got %v, want a violation", err)
	}
	if v.rule != rule {
		t.Errorf("rule: got %q, want %q", v.rule, rule)
	}
	if want := " " + path + ": not in the canonical encoding: " + string(rule); !strings.Contains(err.Error(), want) {
		t.Errorf("got %q, want it to have %q", err, want)
	}
	if !errors.Is(err, ErrNotCanonical) {
		t.Error("the error does not wrap ErrNotCanonical")
	}
	unknown := rule == ruleUnknown || rule == ruleUnknownEnum
	if errors.Is(err, ErrUnknownField) != unknown {
		t.Errorf("wraps ErrUnknownField: %t, want %t", !unknown, unknown)
	}
}

func TestUnmarshalResets(t *testing.T) {
	m := &recordv1.Entry{Sequence: 1, Records: [][]byte{{1}}}
	if err := Unmarshal(unhex(t, "28 02"), m); err != nil {
		t.Fatal(err)
	}
	if want := (&recordv1.Entry{Author: 2}); !proto.Equal(m, want) {
		t.Errorf("read over another: got %v, want %v", m, want)
	}
	if err := Unmarshal(unhex(t, "28 00"), m); err == nil || !proto.Equal(m, &recordv1.Entry{}) {
		t.Errorf("after a failure: got %v, %v, want it empty", m, err)
	}
}

func TestUnmarshalCopies(t *testing.T) {
	b := unhex(t, "0a 02 0102")
	m := &recordv1.Entry{}
	if err := Unmarshal(b, m); err != nil {
		t.Fatal(err)
	}
	clear(b)
	if !bytes.Equal(m.GetAccount(), []byte{1, 2}) {
		t.Error("the message shares its bytes with the input")
	}
}

func TestMarshalRefuses(t *testing.T) {
	unknown := &recordv1.Proposal{}
	unknown.ProtoReflect().SetUnknown(unhex(t, "c03e 01"))
	// The protobuf library keeps it, and does not read it.
	otherType := &recordv1.Holder{}
	if err := proto.Unmarshal(unhex(t, "0a 01 00"), otherType); err != nil || len(otherType.ProtoReflect().GetUnknown()) == 0 {
		t.Fatalf("%v, %v", otherType, err)
	}
	for _, tt := range []struct {
		name    string
		message proto.Message
		path    string
		rule    rule
	}{
		{"unknown field", unknown, "Proposal.1000", ruleUnknown},
		{"unknown field inside", &recordv1.Entry{Proposal: unknown}, "Entry.proposal.1000", ruleUnknown},
		{"known field of another type", otherType, "Holder.1", ruleUnknown},
		{"unknown enum value", &recordv1.Holder{Kind: 9}, "Holder.kind", ruleUnknownEnum},
		{"invalid UTF-8", &recordv1.Login{Password: "\xff"}, "Login.password", ruleUTF8},
		{"too large", &recordv1.Entry{Account: make([]byte, MaxSize)}, "Entry", ruleSize},
		{"too many elements", &recordv1.Entry{Records: make([][]byte, MaxElements+1)}, "Entry.records[1048576]", ruleElements},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, err := Marshal(tt.message)
			if b != nil {
				t.Errorf("got %x", b)
			}
			checkViolation(t, err, tt.path, tt.rule)
		})
	}
	for name, m := range map[string]proto.Message{"nil": nil, "nil pointer": (*recordv1.Entry)(nil)} {
		if b, err := Marshal(m); b != nil || !errors.Is(err, ErrNotCanonical) {
			t.Errorf("%s: got %x, %v", name, b, err)
		}
	}
}

func TestLimits(t *testing.T) {
	if err := Unmarshal(make([]byte, MaxSize+1), &recordv1.Entry{}); err == nil {
		t.Error("a message beyond the limit is read")
	} else {
		checkViolation(t, err, "Entry", ruleSize)
	}
	for _, n := range []int{MaxElements, MaxElements + 1} {
		b := bytes.Repeat([]byte{0x12, 0}, n) // empty fields of a Secret
		err := Unmarshal(b, &recordv1.Secret{})
		if n == MaxElements && err != nil {
			t.Errorf("%d elements: %v", n, err)
		} else if n > MaxElements {
			checkViolation(t, err, "Secret.fields[1048576]", ruleElements)
		}
	}
	largest := &recordv1.Entry{Account: make([]byte, MaxSize-5)} // a tag and 4 bytes of length
	b, err := Marshal(largest)
	if err != nil || len(b) != MaxSize {
		t.Fatalf("got %d bytes, %v, want 64 MiB", len(b), err)
	}
	if err := Unmarshal(b, &recordv1.Entry{}); err != nil {
		t.Error(err)
	}
}

// What an error says must not be what the message says: records hold secrets.
func TestErrorsHoldNoValues(t *testing.T) {
	_, err := Marshal(&recordv1.Login{Password: "hunter2\xff"})
	if err == nil || strings.Contains(err.Error(), "hunter") {
		t.Errorf("got %v", err)
	}
}

func BenchmarkUnmarshal(b *testing.B) {
	for _, tt := range large() {
		b.Run(tt.name, func(b *testing.B) {
			encoded, err := Marshal(tt.message)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(encoded)))
			b.ReportAllocs()
			m := tt.message.ProtoReflect().New().Interface()
			for b.Loop() {
				if err := Unmarshal(encoded, m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkMarshal(b *testing.B) {
	for _, tt := range large() {
		b.Run(tt.name, func(b *testing.B) {
			for b.Loop() {
				encoded, err := Marshal(tt.message)
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(int64(len(encoded)))
			}
		})
	}
}

type named struct {
	name    string
	message proto.Message
}

// large has messages of several MiB: one with 10,000 sub-messages, one with
// 10,000 records.
func large() []named {
	statement, entry := &recordv1.RecoveredStatement{}, &recordv1.Entry{}
	for i := range 10000 {
		statement.DeviceShares = append(statement.DeviceShares, &recordv1.SlotShare{
			Slot: make([]byte, 16), Version: uint64(i + 1), SealedDeviceShare: make([]byte, 400),
		})
		entry.Records = append(entry.Records, make([]byte, 400))
	}
	return []named{{"10000-messages", statement}, {"10000-records", entry}}
}

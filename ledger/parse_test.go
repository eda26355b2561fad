package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"gitlab.com/yawning/secp256k1-voi"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
)

// specimen is a valid message and how it is read.
type specimen struct {
	message proto.Message
	parse   func(proto.Message) error
}

// specimens has every kind of record and every statement.
func specimens(t *testing.T) map[string]specimen {
	w := play(t, goldenHistory+" "+laterHistory)
	all := map[string]specimen{}
	for _, e := range w.entries {
		for _, r := range e.Records() {
			all[string(r.ProtoReflect().WhichOneof(kindOneof).Name())] = specimen{r, func(m proto.Message) error {
				b, err := marshal(m)
				must(t, err)
				_, err = ParseRecord(b)
				return err
			}}
		}
		if p := e.Proposal(); p != nil {
			all["entry"] = specimen{e.message, func(m proto.Message) error {
				body, err := marshal(m)
				must(t, err)
				b, err := marshal(&recordv1.SignedEntry{Entry: body, Signature: make([]byte, 64)})
				must(t, err)
				_, err = ParseEntry(b)
				return err
			}}
		}
		if e.recovered != nil {
			all["statement"] = specimen{e.recovered.statement, func(m proto.Message) error {
				b, err := marshal(m)
				must(t, err)
				_, err = parseRecovered(&recordv1.Recovered{Statement: b, RootSignature: make([]byte, 64)})
				return err
			}}
		}
	}
	r := w.request("s")
	all["request"] = specimen{r.request.Message(), func(m proto.Message) error {
		_, err := NewRecoveryRequest(m.(*recordv1.RecoveryRequest), r.keys.sign)
		return err
	}}
	k := w.keys()
	all["device request"] = specimen{w.deviceRequest(k), func(m proto.Message) error {
		_, err := NewDeviceRequest(m.(*recordv1.DeviceRequest), k.sign)
		return err
	}}
	approval := w.approval(r, member(1))
	approval.Vetoes = [][]byte{w.bytes(32)}
	all["approval"] = specimen{approval, func(m proto.Message) error {
		_, err := NewApproval(m.(*recordv1.Approval), r.keys.sign)
		return err
	}}
	device := &recordv1.Holder{Kind: recordv1.Holder_KIND_DEVICE, Number: 1}
	a, err := ParseAttestation(w.attestWith(device, w.state.Head(), r.keys))
	must(t, err)
	all["attestation"] = specimen{a.message, func(m proto.Message) error {
		_, err := NewAttestation(m.(*recordv1.Attestation), r.keys.sign)
		return err
	}}
	first, err := NewActivity(w.state.Account(), ActivityEnd{}, w.now, []byte("request"), [32]byte{1})
	must(t, err)
	second, err := NewActivity(w.state.Account(), first.End(), w.now, []byte("request"), [32]byte{1})
	must(t, err)
	all["activity"] = specimen{second.message, func(m proto.Message) error {
		b, err := marshal(m)
		must(t, err)
		_, err = ParseActivity(b)
		return err
	}}
	return all
}

// admitted lists what may be changed in a field without a fault: everything else
// must be refused. "any" is any content that is not empty.
var admitted = map[string]string{
	"Server.url":                       "empty",
	"EpochPrepared.identifier":         "zero",
	"EpochPrepared.sheet_key":          "empty",
	"ContactBound.contact":             "absent",
	"GenerationKeys.device_share_key":  "any empty",
	"Entry.proposal":                   "absent",
	"Entry.records":                    "", // exact bytes of a message
	"Entry.time":                       "zero",
	"Proposal.expiry":                  "zero",
	"RecoveryRequest.time":             "zero",
	"DeviceRequest.time":               "zero",
	"Approval.not_before":              "zero",
	"Attestation.time":                 "zero",
	"Attestation.epoch":                "zero",
	"Activity.time":                    "zero",
	"Activity.request":                 "any",
	"DeviceKeys.sealed_name":           "any",
	"DeviceRenamed.sealed_name":        "any",
	"SealedToDevice.sealed":            "any",
	"SealedToEpoch.sealed":             "any",
	"KeyBackup.sealed":                 "any",
	"GenerationKeys.metadata_key":      "any",
	"EpochPrepared.sealed_master_key":  "any",
	"SplitSecret.sealed_device_share":  "any",
	"SlotPut.sealed_metadata":          "any",
	"SlotPut.sealed_backup_share":      "any",
	"SlotShare.sealed_device_share":    "any",
	"RecoveredStatement.seed_share":    "any",
	"RecoveredStatement.generations":   "",
	"RecoveredStatement.device_shares": "",
}

// TestEveryField changes every field of every record and statement to every
// wrong value there is for its type, and wants a refusal.
func TestEveryField(t *testing.T) {
	all := specimens(t)
	if len(all) != 16+7 {
		t.Fatalf("%d specimens", len(all))
	}
	changes := 0
	for name, s := range all {
		if err := s.parse(s.message); err != nil {
			t.Fatalf("%s: unchanged: %v", name, err)
		}
		eachChange(s.message.ProtoReflect(), func(field protoreflect.FieldDescriptor, change string) {
			changes++
			full := string(field.ContainingMessage().Name()) + "." + string(field.Name())
			err := s.parse(s.message)
			if isAdmitted(field, full, change) {
				if err != nil {
					t.Errorf("%s: %s %s: %v", name, full, change, err)
				}
				return
			}
			var rule *RuleError
			if !errors.As(err, &rule) && !errors.Is(err, ErrNewer) {
				t.Errorf("%s: %s %s: %v", name, full, change, err)
			}
		})
		if err := s.parse(s.message); err != nil {
			t.Fatalf("%s: not as it was: %v", name, err)
		}
	}
	if changes < 600 {
		t.Errorf("only %d changes", changes)
	}
}

func isAdmitted(field protoreflect.FieldDescriptor, full, change string) bool {
	words := strings.Fields(admitted[full])
	if slices.Contains(words, change) {
		return true
	}
	content := change == "shorter" || change == "longer" || change == "zeros"
	if content && slices.Contains(words, "any") {
		return true
	}
	// Hashes, nonces, tags and signatures are any bytes of their length.
	return change == "zeros" && !strings.HasSuffix(string(field.Name()), "_key") && !strings.HasSuffix(full, "Request.server") &&
		inside[protoreflect.FullName(full)] == nil
}

// eachChange changes one field after the other, calls f, and changes it back.
func eachChange(m protoreflect.Message, f func(field protoreflect.FieldDescriptor, change string)) {
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if fd.ContainingOneof() != nil { // the kind of a record
			eachChange(v.Message(), f)
			return true
		}
		if fd.IsList() {
			for i := range v.List().Len() {
				if fd.Message() != nil {
					eachChange(v.List().Get(i).Message(), f)
					continue
				}
				old := v.List().Get(i)
				for change, bad := range changes(fd, old) {
					v.List().Set(i, bad)
					f(fd, change)
				}
				v.List().Set(i, old)
			}
			return true
		}
		if fd.Message() != nil {
			eachChange(v.Message(), f)
			m.Clear(fd)
			f(fd, "absent")
			m.Set(fd, v)
			return true
		}
		for change, bad := range changes(fd, v) {
			m.Set(fd, bad)
			f(fd, change)
		}
		m.Set(fd, v)
		return true
	})
}

func changes(fd protoreflect.FieldDescriptor, v protoreflect.Value) map[string]protoreflect.Value {
	switch fd.Kind() {
	case protoreflect.BytesKind:
		b := v.Bytes()
		all := map[string][]byte{
			"empty":   {},
			"shorter": b[:len(b)-1],
			"longer":  append(slices.Clone(b), 1),
			"zeros":   make([]byte, len(b)),
		}
		if len(b) == 33 {
			all["uncompressed"] = slices.Clone(b)
			if point, err := secp256k1.NewPointFromBytes(b); err == nil {
				all["uncompressed"] = point.UncompressedBytes()
			}
			all["off the curve"] = append([]byte{2}, make([]byte, 32)...)
			all["hybrid"] = append([]byte{6}, b[1:]...)
			all["beyond the field"] = append([]byte{2}, bytes.Repeat([]byte{0xff}, 32)...)
		}
		values := map[string]protoreflect.Value{}
		for change, bad := range all {
			values[change] = protoreflect.ValueOfBytes(bad)
		}
		return values
	case protoreflect.Uint64Kind:
		return map[string]protoreflect.Value{
			"zero": protoreflect.ValueOfUint64(0),
			"max":  protoreflect.ValueOfUint64(math.MaxUint64),
		}
	case protoreflect.EnumKind:
		return map[string]protoreflect.Value{"unspecified": protoreflect.ValueOfEnum(0)}
	case protoreflect.StringKind:
		return map[string]protoreflect.Value{
			"empty": protoreflect.ValueOfString(""),
			"long":  protoreflect.ValueOfString(strings.Repeat("x", maxURL+1)),
		}
	}
	panic(fd.FullName())
}

// TestTruncated cuts every entry and statement at every length.
func TestTruncated(t *testing.T) {
	w := play(t, goldenHistory+" "+laterHistory)
	for _, e := range w.entries {
		for n := range e.Bytes() {
			if got, err := ParseEntry(e.Bytes()[:n]); err == nil || got != nil {
				t.Fatalf("entry %d cut to %d bytes is read", e.Sequence(), n)
			}
		}
	}
}

// TestNotCanonical writes one entry in ways that protobuf admits and we do not.
func TestNotCanonical(t *testing.T) {
	w := play(t, "G E")
	e := w.entries[1]
	field := func(number protowire.Number, b []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), b)
	}
	cat := func(parts ...[]byte) []byte { return slices.Concat(parts...) }
	body, signature := field(1, e.body), field(2, e.signature)
	account := field(1, e.message.Account)
	record := e.message.Records[0]
	withRecord := func(record []byte) []byte {
		m := proto.CloneOf(e.message)
		m.Records = [][]byte{record}
		b, err := marshal(m)
		must(t, err)
		return cat(field(1, b), signature)
	}
	withBody := func(b []byte) []byte { return cat(field(1, b), signature) }
	suite := []byte{0x08, 1, 0x10, 1} // version 1, suite 1
	for _, c := range []struct {
		name  string
		bytes []byte
		rule  Rule // empty for ErrNewer
	}{
		{"nothing", nil, RuleField},
		{"fields in another order", cat(signature, body), RuleEncoding},
		{"a field twice", cat(body, body, signature), RuleEncoding},
		{"bytes behind", cat(body, signature, []byte{0}), RuleEncoding},
		{"unknown field", cat(body, signature, field(3, []byte("x"))), ""},
		{"long varint", cat([]byte{0x0a, byte(len(e.body)) | 0x80, byte(len(e.body)>>7) | 0x80, 0}, e.body, signature), RuleEncoding},
		{"signature of 63 bytes", cat(body, field(2, e.signature[:63])), RuleField},
		{"unknown field of the entry", withBody(cat(e.body, field(15, []byte("x")))), ""},
		{"default written out", withBody(cat(account, []byte{0x10, 0})), RuleEncoding},
		{"record: unknown kind", withRecord(cat(suite, field(26, nil))), ""},
		{"record: unknown kind between", withRecord(cat(suite, field(9, nil), record[4:])), ""},
		{"record: version 2", withRecord(cat([]byte{0x08, 2}, record[2:])), ""},
		{"record: version 2 in an unknown form", withRecord(cat([]byte{0x08, 2}, field(10, []byte{0xff}))), ""},
		{"record: suite 2", withRecord(cat([]byte{0x08, 1, 0x10, 2}, record[4:])), ""},
		{"record: no version", withRecord(record[2:]), ""},
		{"record: no suite", withRecord(cat(record[:2], record[4:])), ""},
		{"record: version as bytes", withRecord(cat(field(1, []byte{1, 1}), record[2:])), RuleEncoding},
		{"record: version cut off", withRecord([]byte{0x08}), RuleEncoding},
		{"record: no kind", withRecord(suite), RuleShape},
		{"record: two kinds", withRecord(cat(record, field(14, nil))), RuleEncoding},
		{"record: suite before version", withRecord(cat(record[2:4], record[:2], record[4:])), RuleEncoding},
		{"record: unknown field in a kind", withRecord(cat(suite, field(14, cat([]byte{0x08, 1}, field(15, nil))))), ""},
		{"record: empty", withRecord(nil), ""},
		{"record: half a tag", withRecord([]byte{0x80}), RuleEncoding},
		{"unknown enum value", withRecord(cat(suite, field(13, field(2, []byte{0x08, 99})))), ""},
	} {
		got, err := ParseEntry(c.bytes)
		if got != nil {
			t.Errorf("%s: is read", c.name)
		}
		if c.rule == "" && !errors.Is(err, ErrNewer) || c.rule != "" && (!errors.Is(err, &RuleError{Rule: c.rule}) || errors.Is(err, ErrNewer)) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestSizeLimit(t *testing.T) {
	t.Parallel()
	if _, err := ParseEntry(make([]byte, MaxEntrySize+1)); !errors.Is(err, &RuleError{Rule: RuleSize}) {
		t.Error(err)
	}
	w := play(t, "G E")
	put := putOne(w)
	put.SealedMetadata = make([]byte, MaxEntrySize)
	if e, err := w.draft(put).sign(); !errors.Is(err, &RuleError{Rule: RuleSize}) || e != nil {
		t.Error(err)
	}
	put.SealedMetadata = make([]byte, MaxEntrySize-1024)
	if err := w.apply(w.draft(put)); err != nil {
		t.Error(err)
	}
}

// TestNewRecord refuses what is no record.
func TestNewRecord(t *testing.T) {
	if b, err := NewRecord(&recordv1.Policy{}); err == nil || b != nil {
		t.Error("a policy is no record")
	}
	if b, err := NewRecord(&recordv1.Genesis{Server: &recordv1.Server{Url: "\xff"}}); err == nil || b != nil {
		t.Error("text that is not UTF-8 has no canonical form")
	}
	if r, err := ParseRecord([]byte{0x08, 1, 0x10, 1, 0x5a, 0}); err == nil || r != nil {
		t.Error("an empty EpochPrepared is read")
	}
}

// TestEntryKeepsItsBytes: no alias of what was given, and the same bytes back.
func TestEntryKeepsItsBytes(t *testing.T) {
	w := play(t, "G E D P:a P:a")
	for i, e := range w.entries {
		given := slices.Clone(e.Bytes())
		read, err := ParseEntry(given)
		must(t, err)
		clear(given)
		if !bytes.Equal(read.Bytes(), e.Bytes()) || read.Hash() != e.Hash() || read.Author() != 1 || read.Head().Sequence != uint64(i+1) {
			t.Errorf("entry %d", i+1)
		}
		account, named := read.Account()
		if account != w.state.Account() || named != (i > 0) {
			t.Errorf("entry %d belongs to %v", i+1, account)
		}
		if i > 0 && read.Previous() != w.entries[i-1].Hash() || i == 0 && read.Previous() != (Hash{}) {
			t.Errorf("entry %d follows %v", i+1, read.Previous())
		}
	}
}

func TestIDs(t *testing.T) {
	id := AccountID{1, 2, 0xff}
	got, err := ParseAccountID(id.String())
	if err != nil || got != id {
		t.Errorf("%v: %v", got, err)
	}
	for _, bad := range []string{"", id.String()[2:], id.String() + "00", "x" + id.String()[1:]} {
		if _, err := ParseAccountID(bad); err == nil {
			t.Errorf("%q is read", bad)
		}
	}
	if got := fmt.Sprint(Head{Sequence: 7, Hash: Hash{0xab, 0xcd}}); got != "7 (abcd0000)" {
		t.Error(got)
	}
}

package ledger

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
)

var update = flag.Bool("update", false, "write the files of testdata/golden anew")

// goldenHistory has every kind of record. Its bytes are frozen: they are what
// version 1 is.
const goldenHistory = `G E:1of1+sheet~1h B1 R1 RS RH C D D D P:a P:a
	L2 E T X3 U2 X2 W:a Y:5 S V:r Q:r/H P:b`

// laterHistory goes on with the kinds that came later, so that what was frozen
// before them stays as it is.
const laterHistory = `N5`

// TestGolden compares the bytes of one history and of one of each statement with
// the annotated files, and reads the files back.
func TestGolden(t *testing.T) {
	w := newWorld(t, 1)
	history(w, goldenHistory)
	if *update {
		old, _ := filepath.Glob("testdata/golden/*.txt")
		for _, name := range old {
			must(t, os.Remove(name))
		}
	}
	goldenStatements(t, w)
	history(w, laterHistory)
	k := w.keys()
	request, err := NewDeviceRequest(w.deviceRequest(k), k.sign)
	must(t, err)
	parsed, err := ParseDeviceRequest(request)
	must(t, err)
	golden(t, "device-request", (&recordv1.SignedDeviceRequest{}).ProtoReflect().Descriptor(), request, parsed.ID())
	var folded []*Entry
	kinds := map[protoreflect.Name]bool{}
	steps := strings.Fields(goldenHistory + " " + laterHistory)
	if len(steps) != len(w.entries) {
		t.Fatalf("%d steps made %d entries", len(steps), len(w.entries))
	}
	for i, e := range w.entries {
		kind := e.Records()[0].ProtoReflect().WhichOneof(kindOneof).Name()
		kinds[kind] = true
		name := fmt.Sprintf("%02d-%s", i+1, strings.ReplaceAll(string(kind), "_", "-"))
		b := golden(t, name, (&recordv1.SignedEntry{}).ProtoReflect().Descriptor(), e.Bytes(), e.Hash())
		read, err := ParseEntry(b)
		must(t, err)
		folded = append(folded, read)
	}
	if want := kindOneof.Fields().Len(); len(kinds) != want {
		t.Errorf("%d kinds of records, not all %d", len(kinds), want)
	}
	s, err := Fold(folded...)
	must(t, err)
	if s.Head() != w.state.Head() {
		t.Errorf("head %v, not %v", s.Head(), w.state.Head())
	}
}

func goldenStatements(t *testing.T, w *world) {
	w.author = w.state.ActiveDevices()[0].Number
	b := w.attest(&recordv1.Holder{Kind: recordv1.Holder_KIND_DEVICE, Number: w.author}, w.state.Head())
	golden(t, "attestation", (&recordv1.SignedAttestation{}).ProtoReflect().Descriptor(), b, Hash{})

	r := w.request("s")
	golden(t, "recovery-request", (&recordv1.SignedRecoveryRequest{}).ProtoReflect().Descriptor(), r.request.Bytes(), r.request.ID())

	m := w.approval(r, member(1))
	m.Head = &recordv1.ProvedHead{Device: b, Server: w.attest(serverHolder, w.state.Head())}
	m.Vetoes = [][]byte{bytes.Repeat([]byte{5}, 32)}
	golden(t, "approval", (&recordv1.SignedApproval{}).ProtoReflect().Descriptor(), w.signApproval(m), Hash{})

	first, err := NewActivity(w.state.Account(), ActivityEnd{}, w.now, []byte("request"), [32]byte{1})
	must(t, err)
	second, err := NewActivity(w.state.Account(), first.End(), w.now.Add(time.Second), []byte("another"), [32]byte{2})
	must(t, err)
	golden(t, "activity", (&recordv1.Activity{}).ProtoReflect().Descriptor(), second.Bytes(), second.Hash())
}

// golden compares bytes with those of a file and returns the file's. The file
// has the hash on a line of its own, if there is one.
func golden(t *testing.T, name string, md protoreflect.MessageDescriptor, b []byte, hash Hash) []byte {
	t.Helper()
	path := filepath.Join("testdata/golden", name+".txt")
	text := annotate(b, md)
	if hash != (Hash{}) {
		text = fmt.Sprintf("# hash %v\n%s", hash, text)
	}
	if *update {
		must(t, os.MkdirAll(filepath.Dir(path), 0o777))
		must(t, os.WriteFile(path, []byte(text), 0o666))
	}
	want, err := os.ReadFile(path)
	must(t, err)
	read := unannotate(t, string(want))
	if !bytes.Equal(read, b) || string(want) != text {
		t.Errorf("%s: the bytes have changed", path)
	}
	return read
}

// inside says which bytes fields hold the exact bytes of a message.
var inside = map[protoreflect.FullName]protoreflect.ProtoMessage{
	"SignedEntry.entry":             &recordv1.Entry{},
	"Entry.records":                 &recordv1.Record{},
	"Recovered.statement":           &recordv1.RecoveredStatement{},
	"RecoveredStatement.request":    &recordv1.SignedRecoveryRequest{},
	"RecoveredStatement.approvals":  &recordv1.SignedApproval{},
	"SignedRecoveryRequest.request": &recordv1.RecoveryRequest{},
	"SignedDeviceRequest.request":   &recordv1.DeviceRequest{},
	"SignedApproval.approval":       &recordv1.Approval{},
	"SignedAttestation.attestation": &recordv1.Attestation{},
	"ProvedHead.device":             &recordv1.SignedAttestation{},
	"ProvedHead.server":             &recordv1.SignedAttestation{},
	"SignedShareEnvelope.envelope":  &recordv1.ShareEnvelope{},
	"SignedServerHalf.half":         &recordv1.ServerHalf{},
}

// annotate writes a message as hexadecimal, one field a line: its tag and, after
// a space, its number or its length and bytes. What is in a message stands
// indented under it.
func annotate(b []byte, md protoreflect.MessageDescriptor) string {
	var out strings.Builder
	annotateTo(&out, b, md, "")
	return out.String()
}

func annotateTo(out *strings.Builder, b []byte, md protoreflect.MessageDescriptor, indent string) {
	for len(b) > 0 {
		number, wireType, n := protowire.ConsumeTag(b)
		size := protowire.ConsumeFieldValue(number, wireType, b[n:])
		tag, value := b[:n], b[n:n+size]
		b = b[n+size:]
		fd := md.Fields().ByNumber(number)
		name := string(md.Name()) + "." + string(fd.Name())
		if wireType == protowire.VarintType {
			v, _ := protowire.ConsumeVarint(value)
			fmt.Fprintf(out, "%s%x %x  # %s = %d\n", indent, tag, value, name, v)
			continue
		}
		content, n := protowire.ConsumeBytes(value)
		length := value[:n-len(content)]
		inner := fd.Message()
		if m, ok := inside[protoreflect.FullName(name)]; ok {
			inner = m.ProtoReflect().Descriptor()
		}
		if inner != nil {
			fmt.Fprintf(out, "%s%x %x  # %s: %s\n", indent, tag, length, name, inner.Name())
			annotateTo(out, content, inner, indent+"  ")
			continue
		}
		text := ""
		if fd.Kind() == protoreflect.StringKind {
			text = fmt.Sprintf(" = %q", content)
		}
		fmt.Fprintf(out, "%s%x %x %x  # %s%s\n", indent, tag, length, content, name, text)
	}
}

func unannotate(t testing.TB, text string) []byte {
	t.Helper()
	var all []byte
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		b, err := hex.DecodeString(strings.Join(strings.Fields(line), ""))
		must(t, err)
		all = append(all, b...)
	}
	return all
}

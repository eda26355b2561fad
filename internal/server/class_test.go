package server

import (
	"crypto/rand"
	"crypto/sha256"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/gen/zeropass/api/v1/apiv1connect"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/signing"
)

// appends is an Append of one entry with these records.
func appends(t *testing.T, records ...proto.Message) *apiv1.SignedRequest {
	t.Helper()
	key, err := signing.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	draft := ledger.Draft{Account: &ledger.AccountID{1}, Previous: ledger.Head{Sequence: 1}, Time: time.Unix(1e9, 0), Author: 1}
	for _, r := range records {
		b, err := ledger.NewRecord(r)
		if err != nil {
			t.Fatal(err)
		}
		draft.Records = append(draft.Records, b)
	}
	e, err := draft.Sign(key)
	if err != nil {
		t.Fatal(err)
	}
	body, err := proto.Marshal(&apiv1.AppendRequest{Entries: [][]byte{e.Bytes()}, Attestation: []byte("any")})
	if err != nil {
		t.Fatal(err)
	}
	return &apiv1.SignedRequest{Body: body}
}

func TestClassOf(t *testing.T) {
	slot := &recordv1.SlotDeleted{Slot: make([]byte, 16)}
	lock := &recordv1.DeviceLocked{Device: 2}
	veto := &recordv1.RecoveryVetoed{Request: make([]byte, 32)}
	large := appends(t, slot)
	large.Body = append(large.Body, make([]byte, smallRequest)...)
	largeLock := appends(t, slot, lock)
	padding, err := proto.Marshal(&apiv1.AppendRequest{Attestation: make([]byte, smallRequest)})
	if err != nil {
		t.Fatal(err)
	}
	largeLock.Body = append(padding, largeLock.Body...)
	const add = apiv1connect.ServerServiceAppendProcedure
	for name, c := range map[string]struct {
		procedure string
		message   *apiv1.SignedRequest
		want      class
	}{
		"a lock":            {add, appends(t, lock), classUrgent},
		"a veto":            {add, appends(t, veto), classUrgent},
		"a lock at the end": {add, appends(t, slot, slot, lock), classUrgent},
		"a large lock":      {add, largeLock, classUrgent},
		"a deletion":        {add, appends(t, slot), classDaily},
		"a large backup":    {add, large, classBulk},
		"garbage":           {add, &apiv1.SignedRequest{Body: []byte{0xff, 0xff, 0xff}}, classDaily},
		"a recovery":        {apiv1connect.ServerServiceStartRecoveryProcedure, &apiv1.SignedRequest{}, classUrgent},
		"an approval":       {apiv1connect.ServerServiceApproveProcedure, large, classUrgent},
		"an answer":         {apiv1connect.ServerServiceConfirmProcedure, &apiv1.SignedRequest{}, classDaily},
		"a sync":            {apiv1connect.ServerServiceEntriesProcedure, &apiv1.SignedRequest{}, classDaily},
		"a reveal":          {apiv1connect.ServerServiceRevealProcedure, &apiv1.SignedRequest{}, classReveal},
		"a large reveal":    {apiv1connect.ServerServiceRevealProcedure, large, classBulk},
		"a few shares":      {apiv1connect.ServerServiceSealedSharesProcedure, &apiv1.SignedRequest{Body: make([]byte, 2<<10)}, classDaily},
		"many shares":       {apiv1connect.ServerServiceSealedSharesProcedure, &apiv1.SignedRequest{Body: make([]byte, 4<<10)}, classBulk},
		"a proposed lock":   {apiv1connect.ServerServiceProposeProcedure, appends(t, lock), classReveal},
	} {
		if got := classOf(c.procedure, c.message); got != c.want {
			t.Errorf("%s is %s, not %s", name, classNames[got], classNames[c.want])
		}
	}
}

// FuzzAppendsUrgent reads what nobody has checked.
func FuzzAppendsUrgent(f *testing.F) {
	f.Add([]byte{0x0a, 0x04, 0x0a, 0x02, 0x32, 0x00})
	f.Fuzz(func(t *testing.T, body []byte) {
		before := string(body)
		urgent := appendsUrgent(body)
		if string(body) != before {
			t.Error("it was changed")
		}
		// What the strict reader takes is seen alike.
		q := &apiv1.AppendRequest{}
		if proto.Unmarshal(body, q) != nil {
			return
		}
		entries, err := parseEntries(q.Entries)
		if err != nil {
			return
		}
		strict := slices.ContainsFunc(entries, func(e *ledger.Entry) bool {
			return slices.ContainsFunc(e.Records(), func(r *recordv1.Record) bool {
				return r.GetDeviceLocked() != nil || r.GetRecoveryVetoed() != nil || r.GetRecovered() != nil
			})
		})
		if strict != urgent {
			t.Errorf("%d entries: %v, strictly %v", len(entries), urgent, strict)
		}
	})
}

func TestAskerOf(t *testing.T) {
	account, key := make([]byte, 32), make([]byte, signing.PublicKeySize)
	_, _ = rand.Read(account)
	_, _ = rand.Read(key)
	asks := func(h *apiv1.RequestHeader) *apiv1.SignedRequest {
		b, err := proto.Marshal(h)
		if err != nil {
			t.Fatal(err)
		}
		return &apiv1.SignedRequest{Header: b}
	}
	for name, c := range map[string]struct {
		request *apiv1.SignedRequest
		want    [32]byte
	}{
		"account":              {asks(&apiv1.RequestHeader{Server: key, Account: account, SignKey: key, Nonce: account}), [32]byte(account)},
		"none":                 {asks(&apiv1.RequestHeader{Server: account, SignKey: key}), sha256.Sum256(key)},
		"account of two bytes": {asks(&apiv1.RequestHeader{Account: []byte{1, 2}, SignKey: key}), sha256.Sum256(key)},
		"no header":            {&apiv1.SignedRequest{Header: []byte{0xff}}, [32]byte{}},
		"no message":           {nil, [32]byte{}},
	} {
		if who := askerOf(c.request, "127.0.0.1:1"); who.account != c.want || who.remote.IsValid() {
			t.Errorf("%s: %x of %v", name, who.account, who.remote)
		}
	}
	if who := askerOf(nil, "192.0.2.1:1"); who.remote.String() != "192.0.2.1/32" {
		t.Errorf("the remote is %v", who.remote)
	}
}

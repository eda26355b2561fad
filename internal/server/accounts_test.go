package server_test

import (
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/gen/zeropass/api/v1/apiv1connect"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/client"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/signing"
)

func TestIdentify(t *testing.T) {
	w := newWorld(t)
	named, err := client.Identify(t.Context(), w.http.Client(), w.http.URL, rand.Reader)
	w.ok(err)
	if string(named.SignKey) != string(w.keys.SignKey().Bytes()) || string(named.SealKey) != string(w.keys.SealKey().Bytes()) {
		t.Error("the server names other keys")
	}
}

func TestCreateAccount(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	d := w.device()
	genesis := w.genesis(d, nil)
	ask := func(by *device, name string, e *ledger.Entry) error {
		_, _, err := w.client().CreateAccount(ctx, api.Identity{Key: by.sign}, &apiv1.CreateAccountRequest{Name: name, Entry: e.Bytes()})
		return err
	}
	w.ok(ask(d, "Ada Lovelace", genesis))
	w.ok(ask(d, "Ada Lovelace", genesis))
	w.wait(time.Hour)
	w.ok(ask(d, "ada lovelace", genesis)) // old by now, but it stands

	other := w.device()
	w.refused(ask(other, "ADA LOVELACE", w.genesis(other, nil)), api.ErrNameTaken)
	w.refused(ask(d, "bob", genesis), api.ErrAccountExists)
	w.refused(ask(other, "bob", genesis), api.ErrUnknownDevice)
	stale := w.genesis(other, nil)
	w.wait(2*time.Minute + time.Second)
	w.refused(ask(other, "bob", stale), api.ErrEntryTime)
	foreign := w.genesis(other, func(g *recordv1.Genesis) { g.Server.SignKey = d.confirm.PublicKey().Bytes() })
	w.refused(ask(other, "bob", foreign), api.ErrWrongServer)
	_, _, err := w.client().CreateAccount(ctx, api.Identity{Key: d.sign}, &apiv1.CreateAccountRequest{Name: "bob", Entry: []byte{1}})
	w.refused(err, api.ErrEntryRefused)
	for _, name := range []string{"", " bob", "bob\n", "b\x00b", strings.Repeat("b", api.MaxName+1), "e\u0301"} {
		w.refused(ask(other, name, w.genesis(other, nil)), api.ErrMalformed)
	}
}

// What is wrong with a request itself is refused whatever it asks for.
func TestRequestsRefused(t *testing.T) {
	w := newWorld(t)
	owner, _ := w.family()
	d := owner.device(1)
	rpc := apiv1connect.NewServerServiceClient(w.http.Client(), w.http.URL)
	body := &apiv1.EntriesRequest{Nonce: nonce()}

	ask := func(now time.Time, who api.Identity, body proto.Message, change func(*apiv1.SignedRequest)) error {
		request, hash, err := api.NewRequest(apiv1connect.ServerServiceEntriesProcedure, w.keys.SignKey(), who, body, now, rand.Reader)
		w.ok(err)
		if change != nil {
			change(request)
		}
		_, err = rpc.Entries(t.Context(), connect.NewRequest(request))
		return api.FromConnect(w.keys.SignKey(), hash, err)
	}
	unsigned := func(err error, want api.Reason) {
		t.Helper()
		var refusal *api.Refusal
		if !errors.As(err, &refusal) || refusal.Reason != want || refusal.Signed {
			t.Errorf("got %v, want %q without a signature", err, want)
		}
	}
	w.ok(ask(w.clock(), d.identity(), body, nil))
	unsigned(ask(w.clock(), d.identity(), body, func(r *apiv1.SignedRequest) { r.Signature[5] ^= 1 }), api.ErrBadSignature)
	unsigned(ask(w.clock(), d.identity(), body, func(r *apiv1.SignedRequest) { r.Body = append(r.Body, 0) }), api.ErrBadSignature)
	unsigned(ask(w.clock(), d.identity(), body, func(r *apiv1.SignedRequest) { r.Header = []byte{1} }), api.ErrMalformed)

	for _, off := range []time.Duration{-api.MaxClockSkew - time.Millisecond, api.MaxClockSkew + time.Millisecond} {
		w.refused(ask(w.clock().Add(off), d.identity(), body, nil), api.ErrClock)
	}
	w.ok(ask(w.clock().Add(-api.MaxClockSkew), d.identity(), body, nil))
	w.ok(ask(w.clock().Add(api.MaxClockSkew), d.identity(), body, nil))

	w.refused(ask(w.clock(), d.identity(), &apiv1.EntriesRequest{Nonce: []byte("short")}, nil), api.ErrMalformed)
	w.refused(ask(w.clock(), d.identity(), &apiv1.RevealRequest{Purpose: "wrong message"}, nil), api.ErrMalformed)
	w.refused(ask(w.clock(), d.identity(), &apiv1.Recovery{Quorum: 3}, nil), api.ErrNeedsNewerProgram)
	w.refused(ask(w.clock(), api.Identity{Key: d.sign}, body, nil), api.ErrMalformed)
	w.refused(ask(w.clock(), api.Identity{Account: &ledger.AccountID{1}, Device: 1, Key: d.sign}, body, nil), api.ErrUnknownAccount)
	w.refused(ask(w.clock(), api.Identity{Account: &owner.id, Device: 2, Key: d.sign}, body, nil), api.ErrUnknownDevice)
	w.refused(ask(w.clock(), api.Identity{Account: &owner.id, Device: 1, Key: d.confirm}, body, nil), api.ErrUnknownDevice)
	w.refused(ask(w.clock(), api.Identity{Account: &owner.id, Key: d.confirm}, body, nil), api.ErrUnknownRecovery)
	w.refused(ask(w.clock(), d.identity(), &apiv1.SendMessageRequest{Message: &apiv1.Message{Body: make([]byte, 65<<10)}}, nil), api.ErrTooLarge)

	request, hash, err := api.NewRequest(apiv1connect.ServerServiceInboxProcedure, w.keys.SignKey(), d.identity(), &apiv1.InboxRequest{}, w.clock(), rand.Reader)
	w.ok(err)
	_, err = rpc.Entries(t.Context(), connect.NewRequest(request))
	if err := api.FromConnect(w.keys.SignKey(), hash, err); !errors.Is(err, api.ErrMalformed) {
		t.Errorf("a request for another procedure: %v", err)
	}
	other := must(signing.GenerateKey(rand.Reader))
	request, hash, err = api.NewRequest(apiv1connect.ServerServiceEntriesProcedure, other.PublicKey(), d.identity(), body, w.clock(), rand.Reader)
	w.ok(err)
	_, err = rpc.Entries(t.Context(), connect.NewRequest(request))
	w.refused(api.FromConnect(w.keys.SignKey(), hash, err), api.ErrWrongServer)
}

// What changes something is taken once.
func TestReplay(t *testing.T) {
	w := newWorld(t)
	owner, _ := w.family()
	owner.store(1, 1, "secret")
	d := owner.device(1)
	rpc := apiv1connect.NewServerServiceClient(w.http.Client(), w.http.URL)
	body := &apiv1.RevealRequest{Slots: []*apiv1.SlotVersion{owner.version(1, 1)}, Purpose: api.PurposeGet}
	request, hash, err := api.NewRequest(apiv1connect.ServerServiceRevealProcedure, w.keys.SignKey(), d.identity(), body, w.clock(), rand.Reader)
	w.ok(err)
	api.Confirm(request, apiv1.Confirmation_KEY_CONFIRM, 1, d.confirm)
	_, err = rpc.Reveal(t.Context(), connect.NewRequest(request))
	w.ok(err)
	for range 3 {
		_, err = rpc.Reveal(t.Context(), connect.NewRequest(request))
		w.refused(api.FromConnect(w.keys.SignKey(), hash, err), api.ErrReplayed)
		w.wait(30 * time.Second)
	}
	w.restart()
	rpc = apiv1connect.NewServerServiceClient(w.http.Client(), w.http.URL)
	_, err = rpc.Reveal(t.Context(), connect.NewRequest(request))
	w.refused(api.FromConnect(w.keys.SignKey(), hash, err), api.ErrReplayed)
}

func TestLockedAndRevokedDevices(t *testing.T) {
	w := newWorld(t)
	owner, _ := w.family()
	second := owner.addDevice()
	entries := func() error {
		_, err := w.client().Entries(t.Context(), second.identity(), &apiv1.EntriesRequest{Nonce: nonce()})
		return err
	}
	w.ok(entries())
	owner.add(&recordv1.DeviceLocked{Device: 2})
	w.refused(entries(), api.ErrDeviceLocked)
	w.refused(owner.send(second, nil, nil), api.ErrDeviceLocked)
	// Alone because the other is locked: the confirm key counts after the period.
	if err := owner.send(owner.device(1), []*ledger.Entry{owner.draft(owner.device(1), &recordv1.DeviceUnlocked{Device: 2})}, nil); !errors.Is(err, api.ErrEntryRefused) {
		t.Errorf("unlocked at once: %v", err)
	}
	w.wait(waitingPeriod)
	owner.add(&recordv1.DeviceUnlocked{Device: 2})
	w.ok(entries())
	owner.add(&recordv1.DeviceLocked{Device: 2})
	w.wait(waitingPeriod)
	owner.revoke(second)
	w.refused(entries(), api.ErrDeviceRevoked)
}

func TestEntriesInPages(t *testing.T) {
	w := newWorld(t)
	owner, _ := w.family()
	for i := range 3 {
		owner.store(byte(i), 1, strings.Repeat("x", api.PageSize/2))
	}
	var got [][]byte
	for pages := 1; ; pages++ {
		n := nonce()
		page, err := w.client().Entries(t.Context(), owner.device(1).identity(), &apiv1.EntriesRequest{After: uint64(len(got)), Nonce: n})
		w.ok(err)
		got = append(got, page.Entries...)
		attestation := must(ledger.ParseAttestation(page.Attestation))
		if attestation.Head() != owner.state.Head() || !attestation.Answers(n) || owner.state.CheckAttestation(attestation) != nil {
			t.Errorf("page %d attests %v", pages, attestation.Head())
		}
		if !page.More {
			if pages < 2 {
				t.Error("all fits into one page, so this tests nothing")
			}
			break
		}
	}
	if len(got) != len(owner.entries) {
		t.Fatalf("%d entries, want %d", len(got), len(owner.entries))
	}
	for i, e := range owner.entries {
		if string(got[i]) != string(e.Bytes()) {
			t.Errorf("entry %d has other bytes", i+1)
		}
	}
	page, err := w.client().Entries(t.Context(), owner.device(1).identity(), &apiv1.EntriesRequest{After: 1 << 63, Nonce: nonce()})
	if w.ok(err); len(page.Entries) != 0 || page.More {
		t.Error("there are entries beyond the last")
	}
}

func TestAttest(t *testing.T) {
	w := newWorld(t)
	owner, contacts := w.family()
	d, head := owner.device(1), owner.state.Head()
	attestation := func(change func(*recordv1.Attestation)) []byte {
		a := &recordv1.Attestation{
			Account: owner.id[:], Epoch: 1, Sequence: head.Sequence, Head: head.Hash[:], Time: uint64(w.clock().UnixMilli()),
			Nonce: nonce(), Holder: &recordv1.Holder{Kind: recordv1.Holder_KIND_DEVICE, Number: 1},
		}
		if change != nil {
			change(a)
		}
		return must(ledger.NewAttestation(a, d.sign))
	}
	attest := func(b []byte) (*apiv1.AttestAnswer, error) {
		return w.client().Attest(t.Context(), d.identity(), &apiv1.AttestRequest{Attestation: b, Nonce: nonce()})
	}
	own := attestation(nil)
	answer, err := attest(own)
	w.ok(err)
	if len(answer.Attestations) != 1 || string(answer.Attestations[0]) != string(own) {
		t.Errorf("got %d attestations", len(answer.Attestations))
	}
	_, err = attest(attestation(func(a *recordv1.Attestation) { a.Holder.Number = 2 }))
	w.refused(err, api.ErrMalformed)
	_, err = attest(attestation(func(a *recordv1.Attestation) { a.Account = contacts[0].id[:] }))
	w.refused(err, api.ErrBadSignature)
	_, err = attest(attestation(func(a *recordv1.Attestation) { a.Head = random(32) }))
	w.refused(err, api.ErrHeadMoved)
	_, err = attest([]byte("garbage"))
	w.refused(err, api.ErrMalformed)
	answer, err = attest(nil)
	if w.ok(err); len(answer.Attestations) != 1 || string(answer.Attestations[0]) != string(own) {
		t.Error("what was refused took the place of what was taken")
	}
	owner.store(1, 1, "one")
	_, err = attest(attestation(nil)) // of an entry that is not the newest any more
	w.ok(err)
	honest := d.sign
	d.sign = contacts[0].device(1).sign
	forged := attestation(nil)
	d.sign = honest
	_, err = attest(forged)
	w.refused(err, api.ErrBadSignature)
}

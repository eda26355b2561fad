package recovery

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"zeropass.dev/zeropass/canonical"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/signing"
	"zeropass.dev/zeropass/slip39"
)

func TestRequest(t *testing.T) {
	w := newAccount(t, 40, "one")
	k := w.keyring()
	r := w.request(k)
	m := r.Message()
	if r.Account() != w.account() || !r.SignKey().Equal(k.sign.PublicKey()) || !r.SealKey().Equal(k.seal.PublicKey()) ||
		!bytes.Equal(m.ConfirmKey, k.confirm.PublicKey().Bytes()) || !bytes.Equal(m.Server, w.server.sign.PublicKey().Bytes()) || !r.Time().Equal(w.now) {
		t.Errorf("%v", m)
	}
	ok(t, w.state.CheckRequest(r))
}

func TestParseEnvelope(t *testing.T) {
	w := newAccount(t, 41, "one")
	want := w.envelope(1, 2)
	got, err := ParseEnvelope(w.signEnvelope(want))
	if err != nil || !proto.Equal(got, want) {
		t.Fatalf("%v", err)
	}
	if due := DueAt(got, w.now); due.Sub(w.now) != 72*time.Hour {
		t.Errorf("due %v", due)
	}
	for name, change := range map[string]func(*recordv1.ShareEnvelope){
		"account":       func(e *recordv1.ShareEnvelope) { e.Account = e.Account[:31] },
		"epoch":         func(e *recordv1.ShareEnvelope) { e.Epoch = 0 },
		"no member":     func(e *recordv1.ShareEnvelope) { e.Member = 0 },
		"member":        func(e *recordv1.ShareEnvelope) { e.Member = 4 },
		"members":       func(e *recordv1.ShareEnvelope) { e.Members = 17 },
		"no quorum":     func(e *recordv1.ShareEnvelope) { e.Quorum = 0 },
		"quorum":        func(e *recordv1.ShareEnvelope) { e.Quorum = 4 },
		"no period":     func(e *recordv1.ShareEnvelope) { e.WaitingPeriod = 0 },
		"period":        func(e *recordv1.ShareEnvelope) { e.WaitingPeriod = 1 << 40 },
		"share key":     func(e *recordv1.ShareEnvelope) { e.ShareKey = e.ShareKey[:32] },
		"root key":      func(e *recordv1.ShareEnvelope) { e.RootKey = nil },
		"server":        func(e *recordv1.ShareEnvelope) { e.Server = nil },
		"signer":        func(e *recordv1.ShareEnvelope) { e.Device = 2 },
		"signer's key":  func(e *recordv1.ShareEnvelope) { e.Devices[0].SignKey = w.server.sign.PublicKey().Bytes() },
		"no signer key": func(e *recordv1.ShareEnvelope) { e.Devices[0].SignKey = nil },
	} {
		e := w.envelope(1, 2)
		change(e)
		if got, err := ParseEnvelope(w.signEnvelope(e)); got != nil || !errors.Is(err, ErrEnvelope) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var outer recordv1.SignedShareEnvelope
	ok(t, canonical.Unmarshal(w.signEnvelope(want), &outer))
	outer.Envelope = append(outer.Envelope, 0)
	for name, b := range map[string][]byte{
		"nothing":     {1},
		"a byte more": must[[]byte](t)(canonical.Marshal(&outer)),
	} {
		if got, err := ParseEnvelope(b); got != nil || !errors.Is(err, ErrEnvelope) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCheckRequest(t *testing.T) {
	w, other := newAccount(t, 42, "one"), newAccount(t, 43, "one")
	request := w.request(w.keyring())
	ok(t, CheckRequest(w.envelope(1, 1), request))

	moved := w.envelope(1, 1)
	moved.Server = other.state.Server()
	if err := CheckRequest(moved, request); !errors.Is(err, ErrOtherServer) || !errors.Is(err, ErrRequest) {
		t.Errorf("another server: %v", err)
	}
	for name, r := range map[string]*ledger.RecoveryRequest{
		"another account":      other.request(other.keyring()),
		"an owner's key":       w.request(&keyring{sign: w.devices[1].sign, seal: w.devices[1].seal, confirm: w.signKey()}),
		"an owner's, confirms": w.request(&keyring{sign: w.signKey(), seal: w.devices[1].seal, confirm: w.devices[1].sign}),
	} {
		if err := CheckRequest(w.envelope(1, 1), r); !errors.Is(err, ErrRequest) || errors.Is(err, ErrOtherServer) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestApprovalsCount(t *testing.T) {
	w := newAccount(t, 44, "one")
	k := w.keyring()
	request := w.request(k)
	veto := w.draft(1, &recordv1.RecoveryVetoed{Request: idBytes(request)})
	ok(t, w.state.Apply(veto))
	terms := w.terms(request)
	if len(terms.Vetoes) != 1 {
		t.Fatal("no veto")
	}
	sheet := w.epochs[1].sheet
	approvals := map[string]*ledger.Approval{
		"contact": must[*ledger.Approval](t)(Approve(w.stored(1, 1), request, terms)),
		"paper":   must[*ledger.Approval](t)(ApproveOnPaper(w.epochs[1].members[2], 1, request, terms)),
		"sheet":   must[*ledger.Approval](t)(ApproveWithSheet(sheet.Key, 1, request, terms)),
	}
	for name, a := range approvals {
		if err := w.state.CheckApproval(a, request, w.now.Add(time.Hour)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		head, named := a.Head()
		if named != (name == "contact") || named && head != w.state.Head() {
			t.Errorf("%s names the head %v, %v", name, head, named)
		}
		if !a.NotBefore().Equal(w.now) || !a.Expiry().Equal(w.now.Add(24*time.Hour)) || len(a.Vetoes()) != 1 || a.Vetoes()[0] != veto.Hash() {
			t.Errorf("%s: other terms", name)
		}
	}
	// A contact that was never shown a head names none.
	fresh := w.stored(1, 2)
	fresh.HeadDevice, fresh.HeadServer = nil, nil
	a := must[*ledger.Approval](t)(Approve(fresh, request, terms))
	if _, named := a.Head(); named {
		t.Error("a head from nowhere")
	}
}

func idBytes(r *ledger.RecoveryRequest) []byte {
	id := r.ID()
	return id[:]
}

func TestApproveRefuses(t *testing.T) {
	w, other := newAccount(t, 45, "one"), newAccount(t, 46, "one")
	request := w.request(w.keyring())
	terms := w.terms(request)
	for name, test := range map[string]struct {
		change func(*recordv1.StoredShare)
		want   error
	}{
		"no envelope":            {func(s *recordv1.StoredShare) { s.Envelope = nil }, ErrEnvelope},
		"another's envelope":     {func(s *recordv1.StoredShare) { s.Envelope = other.signEnvelope(other.envelope(1, 1)) }, ErrRequest},
		"half a share":           {func(s *recordv1.StoredShare) { s.Share = nil }, ErrWrongShare},
		"another member's share": {func(s *recordv1.StoredShare) { s.Share = w.stored(1, 2).Share }, ErrWrongShare},
		"a wrong share": {func(s *recordv1.StoredShare) {
			s.Share = must[[]byte](t)(spoiled(t, w, w.epochs[1].members[0]).MarshalBinary())
		}, ErrWrongShare},
		"two heads": {func(s *recordv1.StoredShare) {
			s.HeadServer = w.attest(w.entries[2].Head(), &recordv1.Holder{Kind: recordv1.Holder_KIND_SERVER}, w.server.sign)
		}, &ledger.RuleError{Rule: ledger.RuleApproval}},
	} {
		stored := w.stored(1, 1)
		test.change(stored)
		if a, err := Approve(stored, request, terms); a != nil || !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if a, err := ApproveOnPaper(w.epochs[1].server, 1, request, terms); a != nil || !errors.Is(err, ErrWrongShare) {
		t.Errorf("the server's share on paper: %v", err)
	}
	terms.Expiry = terms.NotBefore.Add(-time.Second)
	if a, err := ApproveOnPaper(w.epochs[1].members[2], 1, request, terms); a != nil || err == nil {
		t.Errorf("expired before it is valid: %v", err)
	}
}

func TestShareReachesOnlyTheNewDevice(t *testing.T) {
	w := newAccount(t, 47, "one")
	k := w.keyring()
	request, later := w.request(k), w.request(k)
	share := w.epochs[1].members[1]
	approval := w.approve(1, 2, request)
	sealed := must[[]byte](t)(SealShare(w.rand, share, 1, request))
	got, err := OpenShare(k.seal, request, approval, sealed)
	if err != nil || !got.Equal(share) {
		t.Fatalf("%v", err)
	}

	wrong := must[[]byte](t)(SealShare(w.rand, spoiled(t, w, share), 1, request))
	sheet := must[*ledger.Approval](t)(ApproveWithSheet(w.epochs[1].sheet.Key, 1, request, w.terms(request)))
	for name, test := range map[string]struct {
		key      *keyring
		request  *ledger.RecoveryRequest
		approval *ledger.Approval
		sealed   []byte
	}{
		"another device":            {w.keyring(), request, approval, sealed},
		"another request":           {k, later, w.approve(1, 2, later), sealed},
		"the approval of another":   {k, later, approval, sealed},
		"another contact's":         {k, request, w.approve(1, 1, request), sealed},
		"a sheet's approval":        {k, request, sheet, sealed},
		"another share than signed": {k, request, approval, wrong},
		"damaged":                   {k, request, approval, sealed[:len(sealed)-1]},
	} {
		if got, err := OpenShare(test.key.seal, test.request, test.approval, test.sealed); got != nil || !errors.Is(err, ErrSealedShare) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if b, err := SealShare(w.rand, w.epochs[1].device, 1, request); b != nil || !errors.Is(err, ErrWrongShare) {
		t.Errorf("the devices' share: %v", err)
	}
	got.Erase()
	if b, err := SealShare(w.rand, got, 1, request); b != nil || !errors.Is(err, slip39.ErrErased) {
		t.Errorf("an erased share: %v", err)
	}
	if b, err := SealShare(strings.NewReader(""), share, 1, request); b != nil || err == nil {
		t.Errorf("without randomness: %v", err)
	}
}

func TestCheckHeads(t *testing.T) {
	w := newAccount(t, 48, "one")
	short := must[*ledger.State](t)(ledger.Fold(w.entries[:len(w.entries)-1]...))
	request := w.request(w.keyring())
	newest, earlier := w.state.Head(), w.entries[3].Head()
	elsewhere := ledger.Head{Sequence: newest.Sequence, Hash: ledger.Hash{1}}
	stranger := w.signKey()
	oldServer, newServer := w.server.sign, w.signKey()

	// approve makes contact 1's approval that names a head as somebody attested it.
	approve := func(head ledger.Head, device uint64, deviceKey, serverKey *signing.PrivateKey) *ledger.Approval {
		stored := w.stored(1, 1)
		stored.HeadDevice = w.attest(head, &recordv1.Holder{Kind: recordv1.Holder_KIND_DEVICE, Number: device}, deviceKey)
		stored.HeadServer = w.attest(head, &recordv1.Holder{Kind: recordv1.Holder_KIND_SERVER}, serverKey)
		return must[*ledger.Approval](t)(Approve(stored, request, w.terms(request)))
	}
	owner := w.devices[1].sign
	for name, test := range map[string]struct {
		state                    *ledger.State
		approval                 *ledger.Approval
		kept, missing, discarded int
		known                    bool
	}{
		"newest head":               {w.state, approve(newest, 1, owner, oldServer), 1, 0, 0, false},
		"earlier head":              {w.state, approve(earlier, 1, owner, oldServer), 1, 0, 0, false},
		"no head":                   {w.state, must[*ledger.Approval](t)(ApproveOnPaper(w.epochs[1].members[2], 1, request, w.terms(request))), 1, 0, 0, false},
		"newer than shown":          {short, approve(newest, 1, owner, oldServer), 1, 1, 0, true},
		"another branch":            {w.state, approve(elsewhere, 1, owner, oldServer), 1, 1, 0, true},
		"unknown device, not shown": {w.state, approve(elsewhere, 2, stranger, oldServer), 1, 1, 0, false},
		"unknown device, shown":     {w.state, approve(newest, 2, stranger, oldServer), 0, 0, 1, false},
		"no server, not shown":      {w.state, approve(elsewhere, 1, owner, stranger), 0, 0, 1, false},
		"no server, shown":          {w.state, approve(newest, 1, owner, stranger), 0, 0, 1, false},
		"no device, not shown":      {w.state, approve(elsewhere, 1, stranger, oldServer), 0, 0, 1, false},
		"no device, shown":          {w.state, approve(newest, 1, stranger, oldServer), 0, 0, 1, false},
		"nobody":                    {w.state, approve(elsewhere, 2, stranger, newServer), 0, 0, 1, false},
	} {
		h, err := CheckHeads(test.state, request, []*ledger.Approval{test.approval})
		if len(h.Kept) != test.kept || len(h.Missing) != test.missing || len(h.Discarded) != test.discarded {
			t.Errorf("%s: %+v", name, h)
			continue
		}
		var missing *MissingHeadError
		if errors.As(err, &missing) != (test.missing > 0) || errors.Is(err, ErrMissingHead) != (test.missing > 0) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if test.missing > 0 {
			head, _ := test.approval.Head()
			m := missing.Missing[0]
			if missing.Shown != test.state.Head() || m.Head != head || m.Member != 1 || m.Known != test.known || !m.Time.Equal(w.now) ||
				strings.Contains(err.Error(), "does not even have") == test.known {
				t.Errorf("%s: %v", name, err)
			}
		}
		if test.discarded > 0 && (h.Discarded[0].Approval != test.approval || h.Discarded[0].Reason == "") {
			t.Errorf("%s: %+v", name, h.Discarded[0])
		}
	}

	// Two accounts have nothing to say about each other's ledgers.
	other := newAccount(t, 50, "one")
	foreign := other.approve(1, 1, other.request(other.keyring()))
	if h, err := CheckHeads(w.state, request, []*ledger.Approval{foreign}); err != nil || len(h.Discarded) != 1 {
		t.Errorf("another account's head: %+v, %v", h, err)
	}

	// One gap stops the recovery, whatever the others say; the rest is listed.
	h, err := CheckHeads(short, request, []*ledger.Approval{
		approve(earlier, 1, owner, oldServer), approve(newest, 1, stranger, oldServer), approve(newest, 1, owner, oldServer),
	})
	if !errors.Is(err, ErrMissingHead) || len(h.Kept) != 2 || len(h.Discarded) != 1 || len(h.Missing) != 1 {
		t.Errorf("%+v, %v", h, err)
	}
}

// A server that the account has left signed earlier heads.
func TestCheckHeadsAfterTheServerChanged(t *testing.T) {
	w := newAccount(t, 49, "one")
	stored := w.stored(1, 1)
	w.server = w.keyring()
	w.apply(&recordv1.ServerKeyChanged{Server: &recordv1.Server{
		Url: "https://other.test", SignKey: w.server.sign.PublicKey().Bytes(), SealKey: w.server.seal.PublicKey().Bytes(),
	}})
	request := w.request(w.keyring())
	a := must[*ledger.Approval](t)(Approve(stored, request, w.terms(request)))
	h, err := CheckHeads(w.state, request, []*ledger.Approval{a})
	if err != nil || len(h.Kept) != 1 {
		t.Errorf("%+v, %v", h, err)
	}
}

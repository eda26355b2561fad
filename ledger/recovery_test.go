package ledger

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/signing"
)

// statement spoils a RecoveredStatement before the root key signs it.
func statement(name string, rule Rule, spoil func(w *world, r *recovering, st *recordv1.RecoveredStatement)) forgery {
	return statementAfter(name, "", rule, spoil)
}

func statementAfter(name, then string, rule Rule, spoil func(w *world, r *recovering, st *recordv1.RecoveredStatement)) forgery {
	return forgery{name, recoverable + "P:a P:b P:c W:c " + then, rule, func(w *world, bad bool) *draft {
		r := w.request("r")
		st := w.statement(r, member(1), member(2))
		if bad {
			spoil(w, r, st)
		}
		return w.recovered(st)
	}}
}

// approval spoils member 2's approval before it signs.
func approval(name string, rule Rule, spoil func(w *world, a *recordv1.Approval)) forgery {
	return statement(name, rule, func(w *world, r *recovering, st *recordv1.RecoveredStatement) {
		a := w.approval(r, member(2))
		spoil(w, a)
		st.Approvals[1] = w.signApproval(a)
	})
}

var recoveryForgeries = []forgery{
	statement("another epoch", RuleEpoch, func(w *world, r *recovering, st *recordv1.RecoveredStatement) { st.Epoch = 2 }),
	statement("another account's request", RuleRequest, func(w *world, r *recovering, st *recordv1.RecoveredStatement) {
		st.Request = resign(w, r, func(m *recordv1.RecoveryRequest) { m.Account = bytes.Repeat([]byte{1}, 32) })
	}),
	statement("another server's request", RuleRequest, func(w *world, r *recovering, st *recordv1.RecoveredStatement) {
		st.Request = resign(w, r, func(m *recordv1.RecoveryRequest) { m.Server = w.signKey().PublicKey().Bytes() })
	}),
	statement("another request of the same device", RuleApproval, func(w *world, r *recovering, st *recordv1.RecoveredStatement) {
		st.Request = resign(w, r, func(m *recordv1.RecoveryRequest) { m.Nonce = w.bytes(16) })
	}),
	statement("request that the new device did not sign", RuleRequest, func(w *world, r *recovering, st *recordv1.RecoveredStatement) {
		m := &recordv1.SignedRecoveryRequest{}
		must(w.t, read(st.Request, m))
		m.Signature = w.devices[1].sign.Sign(signing.NewContext(recoveryRequestKind).Bytes(m.Request))
		st.Request, _ = marshal(m)
	}),
	statement("request with a key of the account", RuleKeyReused, func(w *world, r *recovering, st *recordv1.RecoveredStatement) {
		st.Request = resign(w, r, func(m *recordv1.RecoveryRequest) { m.ConfirmKey = w.devices[1].confirm.PublicKey().Bytes() })
	}),
	statement("other confirm key than the request's", RuleStatement, func(w *world, r *recovering, st *recordv1.RecoveredStatement) {
		st.Keys.ConfirmKey = w.signKey().PublicKey().Bytes()
	}),
	statement("other seal key than the request's", RuleStatement, func(w *world, r *recovering, st *recordv1.RecoveredStatement) {
		st.Keys.SealKey = w.signKey().PublicKey().Bytes()
	}),
	statement("sign key of another", RuleSignature, func(w *world, r *recovering, st *recordv1.RecoveredStatement) {
		st.Keys.SignKey = w.signKey().PublicKey().Bytes()
	}),
	statement("one approval is missing", RuleApprovals, func(w *world, r *recovering, st *recordv1.RecoveredStatement) { st.Approvals = st.Approvals[:1] }),
	statement("one approval twice", RuleApprovals, func(w *world, r *recovering, st *recordv1.RecoveredStatement) { st.Approvals[1] = st.Approvals[0] }),
	statement("one member with two approvals", RuleApprovals, func(w *world, r *recovering, st *recordv1.RecoveredStatement) {
		a := w.approval(r, member(1))
		a.Expiry++
		st.Approvals[1] = w.signApproval(a)
	}),
	statement("an approval too many that is spoilt", RuleApproval, func(w *world, r *recovering, st *recordv1.RecoveredStatement) {
		a := w.approval(r, member(3))
		a.Request = w.bytes(32)
		st.Approvals = append(st.Approvals, w.signApproval(a))
	}),
	approval("approval of another request", RuleApproval, func(w *world, a *recordv1.Approval) { a.Request = w.bytes(32) }),
	approval("approval for another account", RuleApproval, func(w *world, a *recordv1.Approval) { a.Account = w.bytes(32) }),
	approval("approval of another sign key", RuleApproval, func(w *world, a *recordv1.Approval) { a.SignKey = w.signKey().PublicKey().Bytes() }),
	approval("approval of another seal key", RuleApproval, func(w *world, a *recordv1.Approval) { a.SealKey = w.signKey().PublicKey().Bytes() }),
	approval("approval too early", RuleWindow, func(w *world, a *recordv1.Approval) { a.NotBefore++ }),
	approval("approval too late", RuleWindow, func(w *world, a *recordv1.Approval) { a.NotBefore, a.Expiry = a.NotBefore-2, a.NotBefore-1 }),
	approval("approval with a veto that is none", RuleVetoes, func(w *world, a *recordv1.Approval) { a.Vetoes = append(a.Vetoes, w.bytes(32)) }),
	statement("approval in another epoch", RuleEpoch, func(w *world, r *recovering, st *recordv1.RecoveredStatement) {
		a := w.approval(r, member(2))
		a.Epoch = 2
		w.epochs[2] = w.epochs[1]
		st.Approvals[1] = w.signApproval(a)
	}),
	statement("approval signed by another member", RuleApproval, func(w *world, r *recovering, st *recordv1.RecoveredStatement) {
		b, err := NewApproval(w.approval(r, member(2)), w.epochs[1].shares[2])
		must(w.t, err)
		st.Approvals[1] = b
	}),
	statement("approval signed by the server", RuleApproval, func(w *world, r *recovering, st *recordv1.RecoveredStatement) {
		b, err := NewApproval(w.approval(r, member(2)), w.server.sign)
		must(w.t, err)
		st.Approvals[1] = b
	}),
	statementAfter("approval before the veto", "V:r", RuleVetoes, func(w *world, r *recovering, st *recordv1.RecoveredStatement) {
		a := w.approval(r, member(2))
		a.Vetoes = nil
		st.Approvals[1] = w.signApproval(a)
	}),
	statementAfter("vetoes in another order", "D V:r @2 V:r", RuleVetoes, func(w *world, r *recovering, st *recordv1.RecoveredStatement) {
		a := w.approval(r, member(2))
		slices.Reverse(a.Vetoes)
		st.Approvals[1] = w.signApproval(a)
	}),
	statementAfter("one of the vetoes", "D V:r @2 V:r", RuleVetoes, func(w *world, r *recovering, st *recordv1.RecoveredStatement) {
		a := w.approval(r, member(2))
		a.Vetoes = a.Vetoes[1:]
		st.Approvals[1] = w.signApproval(a)
	}),
	statement("device number is taken", RuleDevice, func(w *world, r *recovering, st *recordv1.RecoveredStatement) { w.devices[1], st.Device = r.keys, 1 }),
	statement("device number skips one", RuleDevice, func(w *world, r *recovering, st *recordv1.RecoveredStatement) { w.devices[3], st.Device = r.keys, 3 }),
	statement("generation is not the next", RuleGeneration, func(w *world, r *recovering, st *recordv1.RecoveredStatement) {
		st.Generation.Number, st.Keys.Generation = 3, 3
	}),
	statement("name under an old generation", RuleGeneration, func(w *world, r *recovering, st *recordv1.RecoveredStatement) { st.Keys.Generation = 1 }),
	statement("metadata key is missing", RuleGeneration, func(w *world, r *recovering, st *recordv1.RecoveredStatement) { st.Generations = nil }),
	statement("an old device-share key", RuleField, func(w *world, r *recovering, st *recordv1.RecoveredStatement) {
		st.Generations[0].DeviceShareKey = w.sealed()
	}),
	statement("new generation for an old device", RuleSealedTo, func(w *world, r *recovering, st *recordv1.RecoveredStatement) {
		st.Generation = w.generation(2, true, []*Device{{Number: 1}, {Number: 2}}, 1)
	}),
	statement("new generation without backup", RuleBackup, func(w *world, r *recovering, st *recordv1.RecoveredStatement) { st.Generation.Backups = nil }),
	statement("no seed share", RuleField, func(w *world, r *recovering, st *recordv1.RecoveredStatement) { st.SeedShare = nil }),
	statement("device share is missing", RuleStatement, func(w *world, r *recovering, st *recordv1.RecoveredStatement) { st.DeviceShares = st.DeviceShares[1:] }),
	statement("the last device share is missing", RuleStatement, func(w *world, r *recovering, st *recordv1.RecoveredStatement) {
		st.DeviceShares = st.DeviceShares[:len(st.DeviceShares)-1]
	}),
	statement("a device share too many", RuleStatement, func(w *world, r *recovering, st *recordv1.RecoveredStatement) {
		last := &recordv1.SlotShare{Slot: bytes.Repeat([]byte{0xff}, 16), Version: 1, SealedDeviceShare: w.sealed()}
		st.DeviceShares = append(st.DeviceShares, last)
	}),
	statement("device shares out of order", RuleField, func(w *world, r *recovering, st *recordv1.RecoveredStatement) { slices.Reverse(st.DeviceShares) }),
	statement("device share of a deleted slot", RuleStatement, func(w *world, r *recovering, st *recordv1.RecoveredStatement) {
		id := w.slot("c")
		st.DeviceShares[0] = &recordv1.SlotShare{Slot: id[:], Version: 1, SealedDeviceShare: w.sealed()}
		slices.SortFunc(st.DeviceShares, func(a, b *recordv1.SlotShare) int { return bytes.Compare(a.Slot, b.Slot) })
	}),
	statementAfter("device share of an old version", "P:a", RuleStatement, func(w *world, r *recovering, st *recordv1.RecoveredStatement) {
		for _, share := range st.DeviceShares {
			share.Version = 1
		}
	}),
	recoveredEntry("signed by a device instead of the root key", RuleRootSignature, func(w *world, d *draft, st []byte) {
		d.records[0], _ = NewRecord(&recordv1.Recovered{Statement: st, RootSignature: w.devices[1].sign.Sign(RecoveredContext(w.state.Account(), st))})
	}),
	recoveredEntry("signed for another account", RuleRootSignature, func(w *world, d *draft, st []byte) {
		d.records[0], _ = NewRecord(&recordv1.Recovered{Statement: st, RootSignature: w.epochs[1].root.Sign(RecoveredContext(AccountID{1}, st))})
	}),
	recoveredEntry("appended by an old device", RuleAuthor, func(w *world, d *draft, st []byte) { d.author, d.key = 1, w.devices[1].sign }),
}

// recoveredEntry spoils the entry around a good statement.
func recoveredEntry(name string, rule Rule, spoil func(w *world, d *draft, statement []byte)) forgery {
	return forgery{name, recoverable + "P:a", rule, func(w *world, bad bool) *draft {
		st := w.statement(w.request("r"), member(1), member(2))
		d := w.recovered(st)
		if bad {
			b, err := marshal(st)
			must(w.t, err)
			spoil(w, d, b)
		}
		return d
	}}
}

// resign changes a request and signs it again with its own key.
func resign(w *world, r *recovering, change func(*recordv1.RecoveryRequest)) []byte {
	m := &recordv1.RecoveryRequest{}
	outer := &recordv1.SignedRecoveryRequest{}
	must(w.t, read(r.request.Bytes(), outer))
	must(w.t, read(outer.Request, m))
	change(m)
	b, err := NewRecoveryRequest(m, r.keys.sign)
	must(w.t, err)
	return b
}

func TestRecoveredStandsAlone(t *testing.T) {
	w := play(t, recoverable)
	d := w.recovered(w.statement(w.request("r"), member(1), member(2)))
	d.records = append(d.records, w.draft(&recordv1.EpochCommitted{Epoch: 1}).records[0])
	if err := w.apply(d); !errors.Is(err, &RuleError{Rule: RuleShape}) {
		t.Errorf("with another record: %v", err)
	}
	d.records = d.records[:1]
	d.propose(nil)
	if err := w.apply(d); !errors.Is(err, &RuleError{Rule: RuleShape}) {
		t.Errorf("with a proposal: %v", err)
	}
}

// TestApprovalBeforeTheCommit: it counts from the commit on, and not before.
func TestApprovalBeforeTheCommit(t *testing.T) {
	w := play(t, "G E B1 B2 R1 R2 RS")
	r := w.request("r")
	m := w.approval(r, member(1))
	a, err := ParseApproval(w.signApproval(m))
	must(t, err)
	if err := w.state.CheckApproval(a, r.request, w.now); !errors.Is(err, &RuleError{Rule: RuleNotCommitted}) {
		t.Error(err)
	}
	history(w, "C")
	if err := w.state.CheckApproval(a, r.request, w.now); err != nil {
		t.Error(err)
	}
	for after, good := range map[time.Duration]bool{-time.Millisecond: false, 24 * time.Hour: true, 24*time.Hour + time.Millisecond: false} {
		if err := w.state.CheckApproval(a, r.request, w.now.Add(after)); (err == nil) != good {
			t.Errorf("after %v: %v", after, err)
		}
	}
	if a.Request() != r.request.ID() || !a.NotBefore().Equal(w.now) || !a.Expiry().Equal(w.now.Add(24*time.Hour)) || a.Vetoes() != nil || a.Message().Epoch != 1 {
		t.Error("the approval is not as it was made")
	}
	if device, server := a.Attestations(); device != nil || server != nil {
		t.Error("the approval names a head")
	}
	if !r.request.SignKey().Equal(r.keys.sign.PublicKey()) || !r.request.SealKey().Equal(r.keys.seal.PublicKey()) || !r.request.Time().Equal(w.now) {
		t.Error("the request is not as it was made")
	}
}

// TestRecoveryHandsOver follows what a recovery changes.
func TestRecoveryHandsOver(t *testing.T) {
	w := play(t, recoverable+"D P:a P:b E Q:r/13")
	s := w.state
	for n, want := range map[uint64]Status{1: Revoked, 2: Revoked, 3: Active} {
		if d, _ := s.Device(n); d.Status != want {
			t.Errorf("device %d is %v", n, d.Status)
		}
	}
	if s.Prepared() != nil || s.InUse().Number != 1 || !s.InUse().RevokedSince || s.Generation() != 2 {
		t.Error("the prepared epoch is not void, or the account does not ask for a new one")
	}
	r, ok := s.Recovered(w.request("r").request.ID())
	if !ok || r.Device != 3 || r.Epoch != 1 || len(s.Recoveries()) != 1 {
		t.Errorf("recovered: %v %v", r, ok)
	}
	sealed, generation, sealer, ok := s.DeviceShare(w.slot("a"), 1)
	if !ok || generation != 2 || sealer != 3 || bytes.Equal(sealed, s.Versions(w.slot("a"))[0].Secret.SealedDeviceShare) {
		t.Error("the device share is not the new device's")
	}
	if metadata, deviceShare, author, ok := s.GenerationKeys(1, 3); !ok || metadata == nil || deviceShare != nil || author != 3 {
		t.Error("generation 1 is not sealed to the new device by itself, without a device-share key")
	}
	if _, author, ok := s.SeedShare(1, 3); !ok || author != 3 {
		t.Error("the new device has no share of the seed")
	}
	if got := len(s.OpenedBy(1)); got != 0 {
		t.Errorf("device 1 still opens %d slots", got)
	}
	history(w, "P:a")
	if _, _, sealer, _ := s.DeviceShare(w.slot("a"), 1); sealer != 3 {
		t.Error("a later version has the recovery's device share")
	}
	if got := len(s.OpenedBy(3)); got != 2 {
		t.Errorf("the new device opens %d slots", got)
	}
}

// TestApprovalHead checks what an approval's head must be, and when it is proved.
func TestApprovalHead(t *testing.T) {
	w := play(t, recoverable+"P:a")
	r := w.request("r")
	device := &recordv1.Holder{Kind: recordv1.Holder_KIND_DEVICE, Number: 1}
	unknown := &recordv1.Holder{Kind: recordv1.Holder_KIND_DEVICE, Number: 7}
	good := w.state.Head()
	other := Head{Sequence: good.Sequence, Hash: Hash{1}}
	for _, c := range []struct {
		name           string
		device, server []byte
		rule           Rule // of ParseApproval
		proved         bool
	}{
		{"proved", w.attest(device, good), w.attest(serverHolder, good), "", true},
		{"not in the ledger", w.attest(device, other), w.attest(serverHolder, other), "", true},
		{"two heads", w.attest(device, good), w.attest(serverHolder, other), RuleApproval, false},
		{"two devices", w.attest(device, good), w.attest(device, good), RuleApproval, false},
		{"two servers", w.attest(serverHolder, good), w.attest(serverHolder, good), RuleApproval, false},
		{"not an attestation", []byte{1, 2, 3}, w.attest(serverHolder, good), RuleEncoding, false},
		{"no server", w.attest(device, good), nil, RuleField, false},
		{"unknown device", w.attestWith(unknown, good, w.devices[1]), w.attest(serverHolder, good), "", false},
		{"device's key is wrong", w.attestWith(device, good, w.server), w.attest(serverHolder, good), "", false},
		{"server's key is wrong", w.attest(device, good), w.attestWith(serverHolder, good, w.devices[1]), "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := w.approval(r, member(1))
			m.Head = &recordv1.ProvedHead{Device: c.device, Server: c.server}
			b, err := NewApproval(m, w.epochs[1].shares[0])
			if c.rule != "" {
				if !errors.Is(err, &RuleError{Rule: c.rule}) || b != nil {
					t.Fatalf("refused by %v, not by %s", err, c.rule)
				}
				return
			}
			must(t, err)
			a, err := ParseApproval(b)
			must(t, err)
			if head, proved := w.state.ProvedHead(a); proved != c.proved || proved != (head != Head{}) {
				t.Errorf("proved: %v, %v", head, proved)
			}
			if err := w.state.CheckApproval(a, r.request, w.now); err != nil {
				t.Errorf("the head is not for CheckApproval: %v", err)
			}
		})
	}
}

// TestPaperAndSheetNameNoHead: nobody can have shown them one.
func TestPaperAndSheetNameNoHead(t *testing.T) {
	w := play(t, "G E:1of1+sheet B1=paper R1 RS C")
	head := &recordv1.ProvedHead{
		Device: w.attest(&recordv1.Holder{Kind: recordv1.Holder_KIND_DEVICE, Number: 1}, w.state.Head()),
		Server: w.attest(serverHolder, w.state.Head()),
	}
	r := w.request("r")
	m := w.approval(r, sheetHolder)
	m.Head = head
	if _, err := NewApproval(m, w.epochs[1].sheet); !errors.Is(err, &RuleError{Rule: RuleField}) {
		t.Errorf("sheet: %v", err)
	}
	m = w.approval(r, member(1))
	m.Head = head
	a, err := ParseApproval(w.signApproval(m))
	must(t, err)
	if err := w.state.CheckApproval(a, r.request, w.now); !errors.Is(err, &RuleError{Rule: RuleApproval}) {
		t.Errorf("paper: %v", err)
	}
}

// attest is the holder's attestation of a head at this moment.
func (w *world) attest(h *recordv1.Holder, head Head) []byte {
	return w.attestWith(h, head, &keys{sign: w.holderKey(w.state.inUse, h)})
}

func (w *world) attestWith(h *recordv1.Holder, head Head, k *keys) []byte {
	account := w.state.Account()
	b, err := NewAttestation(&recordv1.Attestation{
		Account:  account[:],
		Epoch:    w.state.inUse,
		Sequence: head.Sequence,
		Head:     head.Hash[:],
		Time:     uint64(w.now.Add(time.Second).UnixMilli()),
		Nonce:    w.bytes(idSize),
		Holder:   h,
	}, k.sign)
	must(w.t, err)
	return b
}

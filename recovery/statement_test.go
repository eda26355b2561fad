package recovery

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"zeropass.dev/zeropass/aead"
	"zeropass.dev/zeropass/canonical"
	"zeropass.dev/zeropass/credential"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/seed"
	"zeropass.dev/zeropass/signing"
	"zeropass.dev/zeropass/slip39"
)

// recovering is a new device with everything that it has been given.
type recovering struct {
	*world
	k        *keyring
	recovery Recovery
}

// recover asks with a new device, lets contacts 1 and 2 approve, and takes what the
// server releases.
func (w *world) recover() *recovering {
	w.t.Helper()
	epoch := w.state.InUse().Number
	r := &recovering{world: w, k: w.keyring()}
	request := w.request(r.k)
	shares := []*slip39.Share{w.epochs[epoch].server}
	var approvals []*ledger.Approval
	for _, number := range []uint64{1, 2} {
		approval := w.approve(epoch, number, request)
		sealed := must[[]byte](w.t)(SealShare(w.rand, w.epochs[epoch].members[number-1], epoch, request))
		shares = append(shares, must[*slip39.Share](w.t)(OpenShare(r.k.seal, request, approval, sealed)))
		approvals = append(approvals, approval)
	}
	heads, err := CheckHeads(w.state, request, approvals)
	ok(w.t, err)
	w.now = w.now.Add(time.Hour)
	r.recovery = Recovery{
		State:       w.state,
		Request:     request,
		Approvals:   heads.Kept,
		Now:         w.now,
		DeviceShare: must[*slip39.Share](w.t)(RestoreDeviceShare(shares, w.state, epoch)),
		Backup:      w.backup(epoch, shares...),
		Server:      w.released,
		Name:        "new laptop",
	}
	return r
}

// finish appends the record as the new device.
func (r *recovering) finish(record *recordv1.Recovered) error {
	r.t.Helper()
	number := r.state.NextDevice()
	r.devices[number] = r.k
	e := r.draft(number, record)
	if err := r.state.Apply(e); err != nil {
		return err
	}
	r.entries = append(r.entries, e)
	return nil
}

func (r *recovering) record() (*recordv1.Recovered, []Lost) {
	r.t.Helper()
	record, lost, err := NewRecovered(r.t.Context(), r.rand, r.recovery)
	ok(r.t, err)
	return record, lost
}

func TestRecoveredHandsTheAccountOver(t *testing.T) {
	w := newAccount(t, 60, titles(7)...)
	old := w.device(1)
	for round := uint64(2); round <= 3; round++ { // a recovery after a recovery
		r := w.recover()
		record, lost := r.record()
		if len(lost) != 0 {
			t.Fatalf("%v", lost)
		}
		ok(t, r.finish(record))
		if got := w.state.ActiveDevices(); len(got) != 1 || got[0].Number != round || w.state.Generation() != round {
			t.Fatalf("active are %v in generation %d", got, w.state.Generation())
		}
		// The whole ledger folds from its bytes.
		var parsed []*ledger.Entry
		for _, e := range w.entries {
			parsed = append(parsed, must[*ledger.Entry](t)(ledger.ParseEntry(e.Bytes())))
		}
		if again := must[*ledger.State](t)(ledger.Fold(parsed...)); again.Head() != w.state.Head() {
			t.Fatal("another head")
		}

		device := w.device(round)
		own := must[*slip39.Share](t)(device.SeedShare(1))
		w.wantOpened(Open(t.Context(), w.state, 1, device, w.released))
		w.wantOpened(Open(t.Context(), w.state, 1, device, w.backup(1, own, w.epochs[1].members[0], w.epochs[1].members[2])))
		w.wantOpened(Open(t.Context(), w.state, 1, w.backup(1, own, w.epochs[1].sheet.Share), w.released))
		if !own.Equal(w.epochs[1].device) {
			t.Error("another share of group 1")
		}
		r.wantName(device, "new laptop")
	}
	// What was revoked opens nothing of what the recovery sealed.
	put := w.state.LiveSlots()[0].Put(1)
	revoked := must[*Device](t)(NewDevice(w.state, 1, w.devices[1].seal))
	if share, err := revoked.Share(put); share != nil || !errors.Is(err, ErrNoKey) {
		t.Errorf("the revoked device: %v", err)
	}
	if share, err := old.Share(put); share != nil || !errors.Is(err, ErrNoKey) {
		t.Errorf("the device as it was before: %v", err)
	}
}

// wantName wants the new device's name to open under its generation.
func (r *recovering) wantName(device *Device, want string) {
	r.t.Helper()
	d, _ := r.state.Device(device.Number())
	key := must[*aead.Key](r.t)(device.MetadataKey(d.Keys.Generation))
	account := r.account()
	c := signing.Sealing{
		Kind: "device-name", Account: account[:], Object: d.Keys.SignKey, Role: "name",
		Recipient: credential.GenerationName(d.Keys.Generation),
	}.Context()
	if name, err := key.Open(c, d.Keys.SealedName); err != nil || string(name) != want {
		r.t.Errorf("name %q, %v", name, err)
	}
}

func TestRecoveredBySheetAndPaper(t *testing.T) {
	for name, approve := range map[string]func(w *world, r *ledger.RecoveryRequest) ([]*ledger.Approval, []*slip39.Share){
		"sheet": func(w *world, r *ledger.RecoveryRequest) ([]*ledger.Approval, []*slip39.Share) {
			sheet := w.epochs[1].sheet
			key := must[*signing.PrivateKey](t)(ParseSheetKey(must[string](t)(SheetKeyWords(sheet.Key, sheet.Share))))
			a := must[*ledger.Approval](t)(ApproveWithSheet(key, 1, r, w.terms(r)))
			return []*ledger.Approval{a}, []*slip39.Share{must[*slip39.Share](t)(ParseShare(QRText(sheet.Share)))}
		},
		"paper and a contact": func(w *world, r *ledger.RecoveryRequest) ([]*ledger.Approval, []*slip39.Share) {
			a := must[*ledger.Approval](t)(ApproveOnPaper(w.epochs[1].members[2], 1, r, w.terms(r)))
			return []*ledger.Approval{a, w.approve(1, 2, r)}, w.epochs[1].members[1:]
		},
	} {
		w := newAccount(t, 61, "one", "two")
		r := &recovering{world: w, k: w.keyring()}
		request := w.request(r.k)
		approvals, shares := approve(w, request)
		shares = append(shares, w.epochs[1].server)
		r.recovery = Recovery{
			State: w.state, Request: request, Approvals: approvals, Now: w.now,
			DeviceShare: must[*slip39.Share](t)(RestoreDeviceShare(shares, w.state, 1)),
			Backup:      w.backup(1, shares...), Server: w.released, Name: name,
		}
		record, lost := r.record()
		if len(lost) != 0 {
			t.Errorf("%s: %v", name, lost)
		}
		ok(t, r.finish(record))
		w.wantOpened(Open(t.Context(), w.state, 1, w.device(2), w.released))
	}
}

// A damaged slot must not keep the others, nor may it pass for a whole one.
func TestRecoveredListsWhatIsLost(t *testing.T) {
	w := newWorld(t, 62, nil)
	w.prepare(2, 3, false)
	other := must[*seed.Keys](t)(must[*seed.Seed](t)(seed.New(w.bytes(32), w.bytes(32))).Keys())
	elsewhere, err := other.Master().SlotKey(1, 1)
	ok(t, err)
	w.putDamaged(map[string]func(*credential.Put){
		"slot key": func(p *credential.Put) { p.SlotKey = elsewhere },
	}, map[string]func(*recordv1.SlotPut){
		"device hash": func(p *recordv1.SlotPut) { p.Secret.DeviceShareHash[0] ^= 1 },
	}, "fine", "slot key", "device hash", "server has none", "also fine")
	w.commit(1)
	delete(w.released.shares(), slotVersion{1, w.slots["server has none"], 1})

	r := w.recover()
	record, lost := r.record()
	var wrongShare *credential.WrongShareError
	for _, l := range lost {
		switch l.Slot {
		case w.slots["slot key"]:
			if !errors.Is(l.Err, seed.ErrSlotKey) {
				t.Errorf("slot key: %v", l.Err)
			}
		case w.slots["device hash"]:
			if !errors.As(l.Err, &wrongShare) {
				t.Errorf("device hash: %v", l.Err)
			}
		case w.slots["server has none"]:
			if !errors.Is(l.Err, ErrNoShare) {
				t.Errorf("server has none: %v", l.Err)
			}
		default:
			t.Errorf("lost %v: %v", l.Slot, l.Err)
		}
	}
	if len(lost) != 3 {
		t.Errorf("%d lost", len(lost))
	}
	ok(t, r.finish(record))
	opened, err := Open(t.Context(), w.state, 1, w.device(2), w.released)
	ok(t, err)
	w.wantSlot(w.find(opened, "fine"), "fine")
	w.wantSlot(w.find(opened, "also fine"), "also fine")
	for _, l := range lost {
		for _, o := range opened {
			if o.Slot == l.Slot && (o.Secret != nil || o.Metadata == nil || !errors.As(o.Err, &wrongShare)) {
				t.Errorf("%v: %v", o.Slot, o.Err)
			}
		}
	}
}

// A metadata key whose backup is damaged takes its titles with it, and no more.
func TestRecoveredWithoutAMetadataKey(t *testing.T) {
	w := newAccount(t, 63, "one")
	backup, _, _ := w.state.GenerationBackup(1, 1)
	backup.Sealed[70] ^= 1
	r := w.recover()
	record, lost := r.record()
	if len(lost) != 1 || lost[0].Generation != 1 || !errors.Is(lost[0].Err, seed.ErrOpen) {
		t.Fatalf("%v", lost)
	}
	ok(t, r.finish(record))
	opened, err := Open(t.Context(), w.state, 1, w.device(2), w.released)
	ok(t, err)
	if o := opened[0]; o.Metadata != nil || o.Secret.GetLogin().GetPassword() != "password of one" || !errors.Is(o.Err, credential.ErrOpen) {
		t.Errorf("%v", o.Err)
	}
}

func TestNewRecoveredRefuses(t *testing.T) {
	w := newAccount(t, 64, "one", "two")
	first := w.recover()
	w.newEpoch()
	rule := func(r ledger.Rule) error { return &ledger.RuleError{Rule: r} }
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, test := range map[string]struct {
		change func(*Recovery)
		ctx    context.Context
		rand   io.Reader
		want   error
	}{
		"keys of an earlier epoch":   {change: func(r *Recovery) { r.Backup = first.recovery.Backup }, want: ErrStatement},
		"keys under a wrong number":  {change: func(r *Recovery) { r.Backup = NewBackup(w.state, 2, first.recovery.Backup.Keys()) }, want: ErrStatement},
		"an earlier devices' share":  {change: func(r *Recovery) { r.DeviceShare = first.recovery.DeviceShare }, want: ErrStatement},
		"the server's share for it":  {change: func(r *Recovery) { r.DeviceShare = w.epochs[2].server }, want: ErrStatement},
		"no devices' share":          {change: func(r *Recovery) { r.DeviceShare = nil }, want: ErrStatement},
		"a device for the server":    {change: func(r *Recovery) { r.Server = w.device(1) }, want: ErrStatement},
		"one approval":               {change: func(r *Recovery) { r.Approvals = r.Approvals[:1] }, want: ErrStatement},
		"one approval twice":         {change: func(r *Recovery) { r.Approvals[1] = r.Approvals[0] }, want: ErrStatement},
		"approvals of another":       {change: func(r *Recovery) { r.Approvals = first.recovery.Approvals }, want: rule(ledger.RuleApproval)},
		"too late":                   {change: func(r *Recovery) { r.Now = r.Now.Add(48 * time.Hour) }, want: rule(ledger.RuleWindow)},
		"keys of a device":           {change: func(r *Recovery) { r.Request = w.request(w.devices[1]) }, want: rule(ledger.RuleKeyReused)},
		"before the epoch commits":   {change: func(r *Recovery) { r.State = must[*ledger.State](t)(ledger.Fold(w.entries[:3]...)) }, want: ErrStatement},
		"nobody waits for it":        {ctx: cancelled, want: context.Canceled},
		"no randomness":              {rand: strings.NewReader(""), want: io.EOF},
		"not enough randomness":      {rand: strings.NewReader(strings.Repeat("x", 100)), want: io.ErrUnexpectedEOF},
		"randomness ends with slots": {rand: &locked{r: io.LimitReader(w.rand, 248)}, want: io.EOF},
	} {
		r := w.recover()
		if test.change != nil {
			test.change(&r.recovery)
		}
		ctx, random := t.Context(), w.rand
		if test.ctx != nil {
			ctx = test.ctx
		}
		if test.rand != nil {
			random = test.rand
		}
		record, lost, err := NewRecovered(ctx, random, r.recovery)
		if record != nil || lost != nil || !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What the statement holds is what the design lists, and its signature is the root
// key's over exactly these bytes.
func TestStatement(t *testing.T) {
	w := newAccount(t, 65, "one", "two")
	r := w.recover()
	record, _ := r.record()
	if !w.rootKey(1).Verify(ledger.RecoveredContext(w.account(), record.Statement), record.RootSignature) {
		t.Error("not signed by the root key")
	}
	st := &recordv1.RecoveredStatement{}
	ok(t, canonical.Unmarshal(record.Statement, st))
	if st.Epoch != 1 || st.Device != 2 || len(st.Approvals) != 2 || len(st.Generations) != 1 || len(st.DeviceShares) != 2 ||
		st.Generation.Number != 2 || len(st.Generation.MetadataKeys) != 1 || len(st.Generation.DeviceShareKeys) != 1 || len(st.Generation.Backups) != 1 ||
		st.Generations[0].DeviceShareKey != nil || st.Keys.Generation != 2 {
		t.Errorf("%v", st)
	}
	for name, change := range map[string]func(*recordv1.Recovered){
		"statement": func(r *recordv1.Recovered) {
			spoil := proto.CloneOf(st)
			spoil.SeedShare = append(spoil.SeedShare, 0)
			r.Statement = must[[]byte](t)(canonical.Marshal(spoil))
		},
		"signature": func(r *recordv1.Recovered) {
			r.RootSignature = w.devices[1].sign.Sign(ledger.RecoveredContext(w.account(), r.Statement))
		},
	} {
		spoiled := proto.CloneOf(record)
		change(spoiled)
		if err := r.finish(spoiled); !errors.Is(err, &ledger.RuleError{Rule: ledger.RuleRootSignature}) {
			t.Errorf("%s: %v", name, err)
		}
	}
	ok(t, r.finish(record))
}

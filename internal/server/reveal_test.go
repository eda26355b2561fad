package server_test

import (
	"bytes"
	"testing"
	"time"

	"zeropass.dev/zeropass/canonical"
	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/gen/zeropass/api/v1/apiv1connect"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/server"
	"zeropass.dev/zeropass/internal/store/sqlite"
	"zeropass.dev/zeropass/ledger"
)

const (
	bySign    = apiv1.Confirmation_KEY_SIGN
	byConfirm = apiv1.Confirmation_KEY_CONFIRM
)

func TestReveal(t *testing.T) {
	w := newWorld(t)
	owner, _ := w.family()
	d := owner.device(1)
	owner.store(1, 1, "one")
	owner.store(1, 2, "two")
	owner.add(&recordv1.SlotDeleted{Slot: owner.version(1, 1).Slot})
	for version, want := range map[uint64]string{1: "one", 2: "two"} { // old and deleted ones open until their epoch ends
		got, err := owner.reveal(d, owner.version(1, version), d.confirms(byConfirm))
		if w.ok(err); got != want {
			t.Errorf("version %d is %q, want %q", version, got, want)
		}
	}
	w.restart() // shares are decrypted with the key of the key file
	_, err := owner.reveal(d, owner.version(1, 1), d.confirms(byConfirm))
	w.ok(err)
}

// What a server remembers of an account, much or little, it takes back when the store
// says otherwise.
func TestRevealOfWhatHasChangedElsewhere(t *testing.T) {
	for name, limit := range map[string]func(*server.Server){
		"everything": nil,
		"summaries":  func(s *server.Server) { s.Remember(1, 1<<20) },
		"one ledger": func(s *server.Server) { s.Remember(1, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{limit: limit}
			w.begin(t)
			revealElsewhere(w)
		})
	}
}

func revealElsewhere(w *world) {
	owner, contacts := w.family()
	d := owner.device(1)
	owner.store(1, 1, "one")
	second := owner.addDevice()
	elsewhere := w.beside()
	reveal := func(by *device, slot byte, confirm *device) error {
		// Somebody else asks, for whom there is to be room.
		_, err := elsewhere.SealedShares(w.t.Context(), contacts[0].first().identity(), nil)
		w.ok(err)
		q := &apiv1.RevealRequest{Slots: []*apiv1.SlotVersion{owner.version(slot, 1)}, Purpose: api.PurposeGet}
		_, _, err = elsewhere.Reveal(w.t.Context(), by.identity(), q, confirm.confirms(bySign))
		return err
	}
	w.ok(reveal(second, 1, d))
	w.refused(reveal(second, 1, second), api.ErrConfirmationWrong)
	owner.store(2, 1, "two")
	w.ok(reveal(second, 2, d))
	owner.add(&recordv1.DeviceLocked{Device: 2})
	w.refused(reveal(second, 1, d), api.ErrDeviceLocked)
	w.refused(reveal(d, 1, second), api.ErrConfirmationWrong)

	operator := must(sqlite.OpenBeside(w.t.Context(), w.database()))
	defer func() { w.ok(operator.Close()) }()
	w.ok(operator.Lock(w.t.Context(), owner.id, w.clock()))
	w.refused(reveal(d, 1, second), api.ErrAccountLocked)
	w.ok(operator.Remove(w.t.Context(), owner.id, w.clock()))
	w.refused(reveal(d, 1, second), api.ErrUnknownAccount)
}

// Where there is no room for every ledger, what reveals need of the others stays in
// memory, and where there is no room for that either, everything is read again.
func TestMemoryOfAccounts(t *testing.T) {
	w := &world{limit: func(s *server.Server) { s.Remember(1, 1<<20) }}
	w.begin(t)
	owner, contacts := w.family()
	d := owner.device(1)
	owner.store(1, 1, "one")
	reveal := func() {
		t.Helper()
		got, err := owner.reveal(d, owner.version(1, 1), d.confirms(byConfirm))
		if w.ok(err); got != "one" {
			t.Errorf("revealed %q", got)
		}
	}
	remembers := func(a *account, folded, summary bool) {
		t.Helper()
		if f, s := w.server.Remembers(a.id); f != folded || s != summary {
			t.Errorf("a ledger in memory: %v, a summary: %v", f, s)
		}
	}
	contacts[0].prepare(true)
	contacts[1].prepare(true)
	writes := func(c *account) { w.ok(c.write(byte(c.state.Head().Sequence))) }
	writes(contacts[0])
	remembers(owner, false, true)
	w.ok(owner.looks())
	reveal()
	remembers(owner, false, true) // neither took more
	owner.store(2, 1, "two")
	reveal()
	remembers(owner, true, false)
	remembers(contacts[0], false, true)

	w.limit = func(s *server.Server) { s.Remember(1, 1) }
	w.restart()
	for range 2 {
		writes(contacts[0])
		writes(contacts[1])
		remembers(owner, false, false)
		reveal()
	}
}

func TestSecondFactor(t *testing.T) {
	w := newWorld(t)
	owner, contacts := w.family()
	d := owner.device(1)
	owner.store(1, 1, "secret")
	reveal := func(by *device, confirm func(*apiv1.SignedRequest)) error {
		_, err := owner.reveal(by, owner.version(1, 1), confirm)
		return err
	}
	w.refused(reveal(d, nil), api.ErrConfirmationMissing)
	w.refused(reveal(d, d.confirms(bySign)), api.ErrConfirmationWrong)
	forged := *d
	forged.confirm = contacts[0].device(1).confirm
	w.refused(reveal(d, forged.confirms(byConfirm)), api.ErrConfirmationWrong)
	w.refused(reveal(d, func(r *apiv1.SignedRequest) {
		other := must(apiRequest(w, d)) // another request's confirmation
		d.confirms(byConfirm)(other)
		r.Confirmations = other.Confirmations
	}), api.ErrConfirmationWrong)
	w.ok(reveal(d, d.confirms(byConfirm)))
	w.wait(24 * time.Hour) // wrong ones were counted

	second := owner.addDevice()
	w.refused(reveal(d, d.confirms(byConfirm)), api.ErrConfirmationWrong)
	w.ok(reveal(d, second.confirms(bySign)))
	w.ok(reveal(second, d.confirms(bySign)))

	// A thief who locks the others must wait before the one that is left counts.
	owner.add(&recordv1.DeviceLocked{Device: 2})
	w.refused(reveal(d, second.confirms(bySign)), api.ErrConfirmationWrong)
	refusal := w.refused(reveal(d, d.confirms(byConfirm)), api.ErrPeriodNotOver)
	if refusal.RetryAfter != waitingPeriod {
		t.Errorf("retry after %v, want %v", refusal.RetryAfter, waitingPeriod)
	}
	w.wait(waitingPeriod)
	w.ok(reveal(d, d.confirms(byConfirm)))
	w.refused(reveal(second, d.confirms(bySign)), api.ErrDeviceLocked)
}

// apiRequest is some other request of a device.
func apiRequest(w *world, d *device) (*apiv1.SignedRequest, error) {
	r, _, err := api.NewRequest(apiv1connect.ServerServiceRevealProcedure, w.keys.SignKey(), d.identity(), &apiv1.RevealRequest{}, w.clock(), zeros{})
	return r, err
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func TestRevealRefused(t *testing.T) {
	w := newWorld(t)
	owner, _ := w.family()
	d := owner.device(1)
	owner.store(1, 1, "secret")
	owner.store(2, 1, "secret")
	ask := func(purpose string, slots ...*apiv1.SlotVersion) error {
		_, _, err := w.client().Reveal(t.Context(), d.identity(), &apiv1.RevealRequest{Slots: slots, Purpose: purpose}, d.confirms(byConfirm))
		return err
	}
	one, two := owner.version(1, 1), owner.version(2, 1)
	w.refused(ask(api.PurposeGet, owner.version(3, 1)), api.ErrUnknownSlot)
	w.refused(ask(api.PurposeGet, owner.version(1, 2)), api.ErrUnknownSlot)
	w.refused(ask(api.PurposeGet, &apiv1.SlotVersion{Slot: one.Slot, Version: 1, Epoch: 2}), api.ErrUnknownSlot)
	w.refused(ask(api.PurposeGet, &apiv1.SlotVersion{Slot: []byte("short"), Version: 1, Epoch: 1}), api.ErrMalformed)
	w.refused(ask(api.PurposeGet, one, two), api.ErrMalformed)
	w.refused(ask("curiosity", one), api.ErrMalformed)
	w.refused(ask(api.PurposeExport), api.ErrMalformed)
	w.refused(ask(api.PurposeExport, one, one), api.ErrMalformed)
	w.ok(ask(api.PurposeExport, one, two))

	// The seed share is no slot's, whatever one calls it.
	w.refused(ask(api.PurposeGet, &apiv1.SlotVersion{Slot: make([]byte, 16), Epoch: 1}), api.ErrMalformed)
}

func TestRevealPolicy(t *testing.T) {
	w := newWorld(t)
	owner, _ := w.family()
	d := owner.device(1)
	owner.store(1, 1, "secret")
	reveal := func() error {
		_, err := owner.reveal(d, owner.version(1, 1), d.confirms(byConfirm))
		return err
	}
	for range 5 {
		w.ok(reveal())
	}
	refusal := w.refused(reveal(), api.ErrRateLimited)
	if refusal.RetryAfter != time.Hour {
		t.Errorf("retry after %v, want an hour", refusal.RetryAfter)
	}
	w.restart()
	w.refused(reveal(), api.ErrRateLimited)
	w.wait(time.Hour)
	// A stricter policy counts at once.
	owner.add(&recordv1.PolicyChanged{Policy: &recordv1.Policy{RevealsPerHour: 1, RevealsPerDay: 8}})
	w.ok(reveal())
	w.refused(reveal(), api.ErrRateLimited)
	w.wait(time.Hour)
	w.ok(reveal())
	w.wait(time.Hour)
	w.ok(reveal())
	w.wait(time.Hour)
	w.refused(reveal(), api.ErrRateLimited) // eight in a day
}

// The activity log has the exact requests, chained, before anything leaves.
func TestActivityLog(t *testing.T) {
	w := newWorld(t)
	owner, contacts := w.family()
	d := owner.device(1)
	owner.store(1, 1, "secret")
	n, _ := activityOf(owner)
	_, err := owner.reveal(d, owner.version(1, 1), d.confirms(byConfirm))
	w.ok(err)
	_, err = owner.reveal(d, owner.version(1, 1), contacts[0].device(1).confirms(byConfirm))
	w.refused(err, api.ErrConfirmationWrong)
	_, err = owner.reveal(d, owner.version(1, 1), nil)
	w.refused(err, api.ErrConfirmationMissing)

	entries, head := activityOf(owner)
	if len(entries) != len(n)+2 {
		t.Fatalf("%d entries more, want the reveal and the wrong second factor", len(entries)-len(n))
	}
	var previous *ledger.Activity
	for _, activity := range entries {
		w.ok(activity.Follows(owner.id, previous))
		previous = activity
	}
	if string(head) != string(hashBytes(previous.Hash())) {
		t.Error("the server names another end of the log")
	}
	request, body, err := api.ParseLogged(entries[len(n)].Request())
	w.ok(err)
	asked := &apiv1.RevealRequest{}
	w.ok(canonical.Unmarshal(body, asked))
	if request.Header.Procedure != apiv1connect.ServerServiceRevealProcedure || asked.Purpose != api.PurposeGet || len(request.Confirmations()) != 1 {
		t.Errorf("the log has %v, %v", request.Header, asked)
	}
	// Of an append it keeps no shares: they are to be destroyed one day.
	first, body, err := api.ParseLogged(entries[2].Request())
	if w.ok(err); first.Header.Procedure != apiv1connect.ServerServiceAppendProcedure || len(body) != 0 {
		t.Errorf("of %s the log has a body of %d bytes", first.Header.Procedure, len(body))
	}
	page, err := w.client().ActivityLog(t.Context(), d.identity(), &apiv1.ActivityLogRequest{After: 1 << 63, Nonce: nonce()})
	if w.ok(err); len(page.Entries) != 0 || page.More {
		t.Error("there are activities beyond the last")
	}
}

func activityOf(a *account) ([]*ledger.Activity, []byte) {
	a.w.t.Helper()
	answer, err := a.client().ActivityLog(a.w.t.Context(), a.first().identity(), &apiv1.ActivityLogRequest{Nonce: nonce()})
	a.w.ok(err)
	var entries []*ledger.Activity
	for _, b := range answer.Entries {
		entries = append(entries, must(ledger.ParseActivity(b)))
	}
	return entries, answer.Head
}

func hashBytes(h ledger.Hash) []byte { return h[:] }

// The database alone opens nothing: shares are in it neither open nor in the form
// in which devices sealed them to the server, which its key file opens.
func TestDatabaseAlone(t *testing.T) {
	w := newWorld(t)
	owner, _ := w.family()
	d := owner.device(1)
	owner.store(1, 1, "secret")
	answer, hash, err := w.client().Reveal(t.Context(), d.identity(), &apiv1.RevealRequest{
		Slots: []*apiv1.SlotVersion{owner.version(1, 1)}, Purpose: api.PurposeExport,
	}, d.confirms(byConfirm))
	w.ok(err)
	opened, err := api.OpenReveal(d.seal, api.RevealPlace{Account: owner.id, Request: hash, Device: 1}, answer.Sealed)
	w.ok(err)
	database := w.backup()
	if !bytes.Contains(database, owner.entries[len(owner.entries)-1].Bytes()[:64]) {
		t.Fatal("not even the ledger is in the database, so this tests nothing")
	}
	if bytes.Contains(database, opened.Shares[0].Share) {
		t.Error("a share stands open in the database")
	}
	for id, share := range owner.sealed {
		if bytes.Contains(database, share.Sealed) {
			t.Errorf("the database keeps %v as it was sealed to the server", id)
		}
	}
}
